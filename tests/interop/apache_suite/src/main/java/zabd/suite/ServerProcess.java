package zabd.suite;

import java.io.File;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.zookeeper.server.quorum.QuorumPeerConfig;

/** A server outside of this JVM, with the configuration that a test has given to one inside. */
final class ServerProcess {
    /** Apache ZooKeeper's class path, where the suite runs against that; else the path of zabd. */
    private static final String APACHE = System.getenv("SUITE_APACHE");
    private static final String ZABD = System.getenv("SUITE_ZABD");
    private static final File LOG = new File(System.getenv("SUITE_LOG"));
    private static final Pattern MODE = Pattern.compile("^Mode: (\\S+)$", Pattern.MULTILINE);
    private static final long STOP_SECONDS = 30;
    /** System properties of servers whose names do not begin with `zookeeper.`. */
    private static final Set<String> PROPERTIES = Set.of("jute.maxbuffer", "readonlymode.enabled",
            "znode.container.checkIntervalMs", "znode.container.maxPerMinute",
            "znode.container.maxNeverUsedIntervalMs");
    /** Properties of clients, of the tests in this JVM, and what reading a zoo.cfg leaves behind. */
    private static final List<String> NOT_OF_SERVERS = List.of("zookeeper.serverCnxnFactory",
            "zookeeper.client", "zookeeper.sasl.client", "zookeeper.request.timeout", "zookeeper.junit",
            "zookeeper.server.", "zookeeper.group.", "zookeeper.weight.");

    private static final Set<ServerProcess> RUNNING = ConcurrentHashMap.newKeySet();

    // Of the server that was started last.
    private static volatile int lastPort;

    private final Process process;

    static {
        Runtime.getRuntime().addShutdownHook(new Thread(ServerProcess::killAll));
    }

    /** Starts a server from a zoo.cfg that gives it this port for clients. */
    ServerProcess(Path config, int port) throws IOException {
        lastPort = port;
        List<String> statics = statics(Files.readString(config));
        List<String> command = new ArrayList<>();
        if (APACHE != null) {
            command.addAll(List.of("java", "-Xmx512m", "-XX:TieredStopAtLevel=1",
                    "-Dorg.slf4j.simpleLogger.defaultLogLevel=info", "-cp", APACHE));
        } else {
            command.add(ZABD);
        }
        for (String name : new TreeSet<>(System.getProperties().stringPropertyNames())) {
            if (PROPERTIES.contains(name) || name.startsWith("zookeeper.")
                    && NOT_OF_SERVERS.stream().noneMatch(name::startsWith)) {
                command.add("-D" + name + "=" + System.getProperty(name));
            }
        }
        if (APACHE == null) {
            statics.forEach(key -> command.add("-Dzookeeper." + key));
        } else {
            // Java has no other place for them.
            Files.write(config, statics, StandardOpenOption.APPEND);
            command.add("org.apache.zookeeper.server.quorum.QuorumPeerMain");
        }
        command.add(config.toString());
        Files.writeString(LOG.toPath(), "==== " + Main.running() + ": " + String.join(" ", command) + "\n"
                + Files.readString(config), StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        process = new ProcessBuilder(command).redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.appendTo(LOG)).start();
        process.getOutputStream().close();
        RUNNING.add(this);
    }

    /** What tests set in the class that reads configurations, as keys that the file lacks. */
    private static List<String> statics(String config) {
        List<String> keys = new ArrayList<>();
        if (QuorumPeerConfig.isReconfigEnabled() && !config.contains("reconfigEnabled=")) {
            keys.add("reconfigEnabled=true");
        }
        if (!QuorumPeerConfig.isStandaloneEnabled() && config.contains("server.")
                && !config.contains("standaloneEnabled=")) {
            keys.add("standaloneEnabled=false");
        }
        return keys;
    }

    boolean isAlive() {
        return process.isAlive();
    }

    /** Waits until the server ends, by itself or not. */
    void join() throws InterruptedException {
        process.waitFor();
        RUNNING.remove(this);
    }

    /** SIGTERM, and SIGKILL if that does not help. */
    void stop() {
        process.destroy();
        try {
            if (!process.waitFor(STOP_SECONDS, TimeUnit.SECONDS)) {
                process.destroyForcibly().waitFor();
                throw new IllegalStateException("a server did not end within " + STOP_SECONDS + " s of SIGTERM");
            }
        } catch (InterruptedException e) {
            process.destroyForcibly();
            Thread.currentThread().interrupt();
        } finally {
            RUNNING.remove(this);
        }
    }

    /** Ends what a test has left running, so that the next one has its ports. */
    static void killAll() {
        for (ServerProcess server : RUNNING) {
            server.process.destroyForcibly();
            RUNNING.remove(server);
        }
    }

    /** The metrics of the server that was started last, by Java's names. */
    static Map<String, Object> metrics() {
        Map<String, Object> metrics = new HashMap<>();
        for (String line : ask(lastPort, "mntr").split("\n")) {
            String[] words = line.split("\t");
            if (words.length == 2 && words[1].matches("-?\\d{1,18}")) {
                metrics.put(words[0].replaceFirst("^zk_", ""), Long.valueOf(words[1]));
            }
        }
        return metrics;
    }

    /** What the server on this port says that it is: `leader`, `follower`, … or an empty text if it does not serve. */
    static String mode(int port) {
        Matcher mode = MODE.matcher(ask(port, "srvr"));
        return mode.find() ? mode.group(1) : "";
    }

    /** The answer to a four-letter word, or an empty text. */
    private static String ask(int port, String word) {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress("127.0.0.1", port), 1000);
            socket.setSoTimeout(1000);
            socket.getOutputStream().write(word.getBytes(StandardCharsets.US_ASCII));
            return new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            return "";
        }
    }
}
