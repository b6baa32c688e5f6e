import java.io.*;
import java.nio.charset.*;
import java.util.*;

/**
 * Decodes strings as the Java server does: each line of standard input is the bytes of one, in hexadecimal digits;
 * the line for it on standard output is the decoded string in standard UTF-8, a space, and the string as it is written.
 * With ZooKeeper's jars on the class path its own classes decode and write.
 */
public class Strings {
    interface Archive {
        String read(byte[] bytes) throws Exception;

        byte[] write(String text) throws Exception;
    }

    static class Jdk implements Archive {
        public String read(byte[] bytes) {
            return new String(bytes, StandardCharsets.UTF_8);
        }

        public byte[] write(String text) {
            return text.getBytes(Charset.forName("CESU-8"));
        }
    }

    static class ZooKeeper implements Archive {
        final Class<?> input = Class.forName("org.apache.jute.BinaryInputArchive");
        final Class<?> output = Class.forName("org.apache.jute.BinaryOutputArchive");

        ZooKeeper() throws ClassNotFoundException {
        }

        public String read(byte[] bytes) throws Exception {
            ByteArrayOutputStream framed = new ByteArrayOutputStream();
            DataOutputStream data = new DataOutputStream(framed);
            data.writeInt(bytes.length);
            data.write(bytes);
            Object archive = input.getMethod("getArchive", InputStream.class)
                    .invoke(null, new ByteArrayInputStream(framed.toByteArray()));
            return (String) input.getMethod("readString", String.class).invoke(archive, "s");
        }

        public byte[] write(String text) throws Exception {
            ByteArrayOutputStream framed = new ByteArrayOutputStream();
            Object archive = output.getMethod("getArchive", OutputStream.class).invoke(null, framed);
            output.getMethod("writeString", String.class, String.class).invoke(archive, text, "s");
            byte[] bytes = framed.toByteArray();
            return Arrays.copyOfRange(bytes, 4, bytes.length);
        }
    }

    public static void main(String[] args) throws Exception {
        Archive archive;
        try {
            archive = new ZooKeeper();
        } catch (ClassNotFoundException noJars) {
            archive = new Jdk();
        }
        HexFormat hex = HexFormat.of();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        PrintStream out = new PrintStream(new BufferedOutputStream(System.out));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String text = archive.read(hex.parseHex(line));
            out.println(hex.formatHex(text.getBytes(StandardCharsets.UTF_8)) + " "
                    + hex.formatHex(archive.write(text)));
        }
        out.flush();
    }
}
