import java.io.FileInputStream;
import java.nio.file.Path;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;

/** Prints what Properties.load makes of the files 0.properties to (n-1).properties, one line a file. */
public class PropertiesDump {
    public static void main(String[] args) throws Exception {
        int files = Integer.parseInt(args[1]);
        StringBuilder out = new StringBuilder();
        for (int at = 0; at < files; at++) {
            Properties read = new Properties();
            try (FileInputStream in = new FileInputStream(Path.of(args[0], at + ".properties").toFile())) {
                read.load(in);
                Map<String, String> sorted = new TreeMap<>();
                read.forEach((key, value) -> sorted.put(hex((String) key), hex((String) value)));
                sorted.forEach((key, value) -> out.append(key).append('=').append(value).append(';'));
            } catch (IllegalArgumentException malformed) {
                out.append("malformed");
            }
            out.append('\n');
        }
        System.out.print(out);
    }

    /** UTF-16 units in hexadecimal; a surrogate without its other half as U+FFFD. */
    private static String hex(String text) {
        StringBuilder out = new StringBuilder();
        for (int at = 0; at < text.length(); at++) {
            char unit = text.charAt(at);
            boolean paired = Character.isHighSurrogate(unit) && at + 1 < text.length()
                    && Character.isLowSurrogate(text.charAt(at + 1))
                || Character.isLowSurrogate(unit) && at > 0
                    && Character.isHighSurrogate(text.charAt(at - 1));
            out.append(String.format("%04x", Character.isSurrogate(unit) && !paired ? 0xfffd : (int) unit));
        }
        return out.toString();
    }
}
