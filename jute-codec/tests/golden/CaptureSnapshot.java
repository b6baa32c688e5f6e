import java.io.*;
import java.net.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import org.apache.zookeeper.*;
import org.apache.zookeeper.data.*;

/**
 * Fills a tree in Apache ZooKeeper with one node of each kind, restarts the server over it with a session still alive,
 * and writes down the snapshot file that it makes then. Run by capture.sh; arguments: the directory to write to, and
 * one for scratch.
 */
public class CaptureSnapshot {
    static Process server(Path dir, int port) throws Exception {
        Files.createDirectories(dir);
        Path file = dir.resolve("zoo.cfg");
        Files.writeString(file, "dataDir=" + dir + "\ntickTime=2000\nclientPortAddress=127.0.0.1\nclientPort=" + port + "\n");
        List<String> command = List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xmx256m", "-Dfile.encoding=UTF-8", "-Dzookeeper.admin.enableServer=false",
                "-Dzookeeper.extendedTypesEnabled=true", "-Dzookeeper.preAllocSize=64",
                "-cp", System.getProperty("java.class.path"), "org.apache.zookeeper.server.ZooKeeperServerMain", file.toString());
        return new ProcessBuilder(command).redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.appendTo(dir.resolve("output").toFile())).start();
    }

    static void fill(ZooKeeper client) throws Exception {
        List<ACL> open = ZooDefs.Ids.OPEN_ACL_UNSAFE;
        client.addAuthInfo("digest", "name:word".getBytes(StandardCharsets.UTF_8));
        client.create("/null", null, open, CreateMode.PERSISTENT);
        client.create("/empty", new byte[0], open, CreateMode.PERSISTENT);
        client.create("/binary", new byte[] {0, -1, 47, 10, -128}, ZooDefs.Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        client.create("/\u00e9t\u00e9", "\u00e9".getBytes(StandardCharsets.UTF_8), open, CreateMode.PERSISTENT);
        client.create("/\u00e9t\u00e9/\u4e2d\u6587", null, ZooDefs.Ids.READ_ACL_UNSAFE, CreateMode.PERSISTENT);
        client.create("/\u00e9t\u00e9!", null, open, CreateMode.PERSISTENT);
        List<ACL> two = Arrays.asList(new ACL(ZooDefs.Perms.ALL, new Id("ip", "127.0.0.1")), new ACL(ZooDefs.Perms.READ, ZooDefs.Ids.ANYONE_ID_UNSAFE));
        client.create("/lists", null, open, CreateMode.PERSISTENT);
        client.setACL("/lists", two, -1);
        client.setData("/lists", "second".getBytes(StandardCharsets.UTF_8), -1);
        client.create("/container", null, open, CreateMode.CONTAINER);
        client.create("/container/child", null, open, CreateMode.PERSISTENT);
        client.create("/ttl", null, open, CreateMode.PERSISTENT_WITH_TTL, new Stat(), 3_600_000);
        client.create("/ephemeral", "mine".getBytes(StandardCharsets.UTF_8), open, CreateMode.EPHEMERAL);
        client.create("/lists/gone", null, open, CreateMode.PERSISTENT);
        client.delete("/lists/gone", -1);
        client.create("/zookeeper/quota/lists", null, open, CreateMode.PERSISTENT);
        client.create("/zookeeper/quota/lists/zookeeper_limits", "count=9,bytes=99".getBytes(StandardCharsets.UTF_8), open, CreateMode.PERSISTENT);
        client.create("/zookeeper/quota/lists/zookeeper_stats", "count=0,bytes=0".getBytes(StandardCharsets.UTF_8), open, CreateMode.PERSISTENT);
    }

    static ZooKeeper connect(int port) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper client = new ZooKeeper("127.0.0.1:" + port, 30_000, event -> {
            if (event.getState() == Watcher.Event.KeeperState.SyncConnected) {
                connected.countDown();
            }
        });
        if (!connected.await(60, TimeUnit.SECONDS)) {
            throw new IllegalStateException("no server on port " + port);
        }
        return client;
    }

    static String newest(Path dir) throws IOException {
        try (var files = Files.list(dir.resolve("version-2"))) {
            return files.map(file -> file.getFileName().toString()).filter(name -> name.startsWith("snapshot."))
                    .max(Comparator.comparingLong(name -> Long.parseUnsignedLong(name.substring(9), 16))).orElseThrow();
        }
    }

    public static void main(String[] args) throws Exception {
        Path dir = Path.of(args[1]).resolve("snapshot");
        int port;
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            port = socket.getLocalPort();
        }
        Process server = server(dir, port);
        try {
            fill(connect(port));
        } finally {
            server.destroyForcibly().waitFor();
        }
        server = server(dir, port);
        try {
            // Serving again means that the snapshot of the restart is written.
            connect(port);
        } finally {
            server.destroyForcibly().waitFor();
        }
        String name = newest(dir);
        try (PrintStream out = new PrintStream(Path.of(args[0]).resolve("server.snapshot").toFile(), "UTF-8")) {
            out.println("# A tree with one node of each kind as a server saved it: the snapshot file " + name + ".");
            String hex = HexFormat.of().formatHex(Files.readAllBytes(dir.resolve("version-2").resolve(name)));
            for (int at = 0; at < hex.length(); at += 120) {
                out.println(hex.substring(at, Math.min(hex.length(), at + 120)));
            }
        }
        System.exit(0);
    }
}
