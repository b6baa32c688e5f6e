import java.io.*;
import java.net.*;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.TimeUnit;
import org.apache.jute.*;
import org.apache.zookeeper.*;
import org.apache.zookeeper.data.*;
import org.apache.zookeeper.proto.*;

/**
 * Starts Apache ZooKeeper on loopback, sends it every request of the client protocol, and writes down the frames and
 * the transactions that it logged. Run by capture.sh; arguments: the directory to write to, and one for scratch.
 */
public class Capture {
    static final List<ACL> OPEN = ZooDefs.Ids.OPEN_ACL_UNSAFE;
    static final String ALL_WORDS = "4lw.commands.whitelist=*\n";

    static Process server(Path dir, String config, String main) throws Exception {
        Files.createDirectories(dir);
        Path file = dir.resolve("zoo.cfg");
        Files.writeString(file, "dataDir=" + dir + "\ntickTime=2000\n" + ALL_WORDS + config);
        List<String> command = List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xmx256m", "-Dfile.encoding=UTF-8", "-Dzookeeper.admin.enableServer=false",
                "-Dzookeeper.extendedTypesEnabled=true", "-Dzookeeper.preAllocSize=64",
                "-Dzookeeper.skipACL=" + (main.contains("quorum.Q") ? "yes" : "no"),
                "-cp", System.getProperty("java.class.path"), main, file.toString());
        return new ProcessBuilder(command).redirectErrorStream(true)
                .redirectOutput(dir.resolve("output").toFile()).start();
    }

    static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }

    static void awaitServing(int port) throws Exception {
        for (int i = 0; i < 300; i++) {
            try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
                socket.getOutputStream().write("srvr".getBytes());
                String answer = new String(socket.getInputStream().readAllBytes());
                if (answer.contains("Mode: ")) {
                    return;
                }
            } catch (ConnectException notYet) {
                // Not listening yet.
            }
            Thread.sleep(100);
        }
        throw new IllegalStateException("no server on port " + port);
    }

    /** One connection; every frame that passes is written down. */
    static class Connection implements Closeable {
        final Socket socket;
        final DataInputStream in;
        final PrintStream out;
        int xid = 0;
        ConnectResponse session;

        Connection(int port, PrintStream out) throws IOException {
            this(InetAddress.getLoopbackAddress().getHostAddress(), port, out);
        }

        Connection(String host, int port, PrintStream out) throws IOException {
            socket = new Socket(host, port);
            socket.setSoTimeout(20_000);
            in = new DataInputStream(new BufferedInputStream(socket.getInputStream()));
            this.out = out;
        }

        void note(String direction, String name, byte[] payload) {
            StringBuilder line = new StringBuilder(direction + " " + name + " ");
            line.append(String.format("%08x", payload.length));
            for (byte b : payload) {
                line.append(String.format("%02x", b));
            }
            out.println(line);
        }

        void send(String name, byte[] payload) throws IOException {
            note(">", name, payload);
            DataOutputStream data = new DataOutputStream(socket.getOutputStream());
            byte[] frame = new byte[payload.length + 4];
            java.nio.ByteBuffer.wrap(frame).putInt(payload.length).put(payload);
            data.write(frame);
            data.flush();
        }

        byte[] receive() throws IOException {
            byte[] payload = new byte[in.readInt()];
            in.readFully(payload);
            return payload;
        }

        Connection connect(String name, byte[] payload) throws IOException {
            send(name, payload);
            byte[] answer = receive();
            note("<", name, answer);
            session = new ConnectResponse();
            ByteArrayInputStream bytes = new ByteArrayInputStream(Arrays.copyOf(answer, Math.max(answer.length, 37)));
            session.deserialize(BinaryInputArchive.getArchive(bytes), "response");
            return this;
        }

        Connection connect() throws IOException {
            return connect("connect", bytes(new ConnectRequest(0, 0, 10_000, 0, new byte[16], false)));
        }

        /** Sends one request and takes frames up to its reply. */
        byte[] call(String name, int xid, int op, byte[] body) throws IOException {
            send(name, concat(bytes(new RequestHeader(xid, op)), body));
            while (true) {
                byte[] frame = receive();
                int got = java.nio.ByteBuffer.wrap(frame).getInt();
                if (got == xid || got == -2) {
                    note("<", name, frame);
                    return Arrays.copyOfRange(frame, 16, frame.length);
                }
                note("<", "event", frame);
            }
        }

        byte[] call(String name, int op, org.apache.jute.Record body) throws IOException {
            return call(name, ++xid, op, body == null ? new byte[0] : bytes(body));
        }

        @Override
        public void close() throws IOException {
            socket.close();
        }
    }

    static byte[] bytes(org.apache.jute.Record record) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        record.serialize(BinaryOutputArchive.getArchive(out), "r");
        return out.toByteArray();
    }

    static byte[] concat(byte[] head, byte[] tail) {
        byte[] all = Arrays.copyOf(head, head.length + tail.length);
        System.arraycopy(tail, 0, all, head.length, tail.length);
        return all;
    }

    static CreateRequest create(String path, String data, List<ACL> acl, CreateMode mode) {
        return new CreateRequest(path, data == null ? null : data.getBytes(), acl, mode.toFlag());
    }

    static byte[] multi(Op... ops) throws IOException {
        return bytes(new MultiOperationRecord(List.of(ops)));
    }

    static void standalone(int port, PrintStream out) throws Exception {
        Connection c = new Connection(port, out).connect();
        c.call("exists-root", 3, new ExistsRequest("/", false));
        c.call("exists-missing-watch", 3, new ExistsRequest("/a", true));
        c.call("create", 1, create("/a", "hi", OPEN, CreateMode.PERSISTENT));
        c.call("create-again", 1, create("/a", "hi", OPEN, CreateMode.PERSISTENT));
        c.call("create-null-data", 1, create("/null", null, OPEN, CreateMode.PERSISTENT));
        c.call("create-empty-data", 1, create("/empty", "", OPEN, CreateMode.PERSISTENT));
        c.call("create-sequential", 1, create("/a/s-", "", OPEN, CreateMode.PERSISTENT_SEQUENTIAL));
        c.call("create-ephemeral", 1, create("/a/e", "x", OPEN, CreateMode.EPHEMERAL));
        c.call("create-ephemeral-sequential", 15, create("/a/e-", "x", OPEN, CreateMode.EPHEMERAL_SEQUENTIAL));
        c.call("create2", 15, create("/b", "two", OPEN, CreateMode.PERSISTENT));
        c.call("create2-null-data", 15, create("/b/null", null, OPEN, CreateMode.PERSISTENT));
        c.call("create-container", 19, create("/container", "", OPEN, CreateMode.CONTAINER));
        c.call("create-ttl", 21, new CreateTTLRequest("/ttl", "t".getBytes(), OPEN,
                CreateMode.PERSISTENT_WITH_TTL.toFlag(), 86_400_000));
        c.call("create-ttl-sequential", 21, new CreateTTLRequest("/ttl-", null, OPEN,
                CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL.toFlag(), 1));
        c.call("create-non-ascii", 1, create("/\u00e9\u4e2d", "", OPEN, CreateMode.PERSISTENT));
        c.call("create-in-container", 1, create("/container/x", "", OPEN, CreateMode.PERSISTENT));
        c.call("create-under-ephemeral", 1, create("/a/e/x", "", OPEN, CreateMode.PERSISTENT));
        c.call("create-no-parent", 1, create("/no/parent", "", OPEN, CreateMode.PERSISTENT));
        c.call("create-null-acl", 1, create("/c", "", null, CreateMode.PERSISTENT));
        c.call("create-bad-flags", 1, new CreateRequest("/c", new byte[0], OPEN, 77));

        c.call("get-data-watch", 4, new GetDataRequest("/a", true));
        c.call("get-data-null", 4, new GetDataRequest("/null", false));
        c.call("get-data-empty", 4, new GetDataRequest("/empty", false));
        c.call("get-data-missing", 4, new GetDataRequest("/zz", true));
        c.call("set-data", 5, new SetDataRequest("/a", "yo".getBytes(), 0));
        c.call("set-data-null", 5, new SetDataRequest("/empty", null, -1));
        c.call("set-data-bad-version", 5, new SetDataRequest("/a", new byte[0], 7));
        c.call("set-data-root", 5, new SetDataRequest("/", "root".getBytes(), -1));

        c.call("auth-digest", -4, 100, bytes(new AuthPacket(0, "digest", "u:p".getBytes())));
        c.call("auth-digest-beyond-bmp", -4, 100,
                bytes(new AuthPacket(0, "digest", "\ud83d\ude00:p".getBytes("UTF-8"))));
        c.call("who-am-i", 107, null);
        List<ACL> several = List.of(new ACL(31, new Id("auth", "")), new ACL(1, new Id("world", "anyone")),
                new ACL(-1, new Id("ip", "10.0.0.0/8")));
        c.call("set-acl", 7, new SetACLRequest("/b", several, 0));
        c.call("set-acl-bad-version", 7, new SetACLRequest("/b", OPEN, 9));
        c.call("set-acl-invalid", 7, new SetACLRequest("/b", List.of(new ACL(1, new Id("no", "x"))), -1));
        c.call("get-acl", 6, new GetACLRequest("/b"));
        c.call("get-acl-root", 6, new GetACLRequest("/"));
        c.call("create-acl-beyond-bmp", 15, create("/acl", "", several, CreateMode.PERSISTENT));

        c.call("get-children-watch", 8, new GetChildrenRequest("/b", true));
        c.call("get-children2", 12, new GetChildren2Request("/a", false));
        c.call("get-children2-none", 12, new GetChildren2Request("/null", false));
        c.call("get-ephemerals", 103, new GetEphemeralsRequest("/"));
        c.call("get-ephemerals-none", 103, new GetEphemeralsRequest("/zz"));
        c.call("get-all-children-number", 104, new GetAllChildrenNumberRequest("/"));
        c.call("sync", 9, new SyncRequest("/a"));
        c.call("sync-null", 9, new SyncRequest(null));
        c.call("sync-beyond-bmp", c.xid += 1, 9, new byte[] {0, 0, 0, 5, '/', (byte) 0xf0, (byte) 0x9f, (byte) 0x98,
                (byte) 0x80});
        c.call("ping", -2, 11, new byte[0]);
        c.call("ping-other-xid", c.xid += 1, 11, new byte[0]);
        c.call("sasl-unconfigured", 102, new GetSASLRequest(new byte[0]));

        c.call("add-watch", 106, new AddWatchRequest("/watched", 0));
        c.call("add-watch-recursive", 106, new AddWatchRequest("/watched", 1));
        c.call("add-watch-bad-mode", 106, new AddWatchRequest("/watched", 2));
        c.call("create-watched", 1, create("/watched", "", OPEN, CreateMode.PERSISTENT));
        c.call("create-watched-child", 1, create("/watched/x", "", OPEN, CreateMode.PERSISTENT));
        c.call("check-watches", 17, new CheckWatchesRequest("/watched", 5));
        c.call("check-watches-none", 17, new CheckWatchesRequest("/zz", 3));
        c.call("remove-watches", 18, new RemoveWatchesRequest("/watched", 3));
        c.call("remove-watches-none", 18, new RemoveWatchesRequest("/watched", 3));
        c.call("get-data-watch-again", 4, new GetDataRequest("/watched/x", true));
        c.call("delete", 2, new DeleteRequest("/watched/x", 0));
        c.call("delete-missing", 2, new DeleteRequest("/watched/x", -1));
        c.call("delete-not-empty", 2, new DeleteRequest("/a", -1));

        c.call("multi", c.xid += 1, 14, multi(
                Op.check("/a", 1),
                Op.create("/m", "1".getBytes(), OPEN, CreateMode.PERSISTENT.toFlag()),
                Op.create("/m/e", null, OPEN, CreateMode.EPHEMERAL.toFlag()),
                Op.create("/m/c", new byte[0], OPEN, CreateMode.CONTAINER.toFlag()),
                Op.create("/m/t", "t".getBytes(), OPEN, CreateMode.PERSISTENT_WITH_TTL, 86_400_000),
                Op.create("/m/s-", "t".getBytes(), OPEN, CreateMode.PERSISTENT_SEQUENTIAL),
                Op.setData("/m", "2".getBytes(), 0),
                Op.delete("/m/c", -1)));
        c.call("multi-create2", c.xid += 1, 14, concat(
                concat(bytes(new MultiHeader(15, false, -1)), bytes(create("/m/2", "2", OPEN, CreateMode.PERSISTENT))),
                bytes(new MultiHeader(-1, true, -1))));
        c.call("multi-empty", c.xid += 1, 14, multi());
        c.call("multi-failed", c.xid += 1, 14, multi(
                Op.create("/n", "1".getBytes(), OPEN, CreateMode.PERSISTENT.toFlag()),
                Op.setData("/a", "never".getBytes(), -1),
                Op.check("/zz", 0),
                Op.delete("/n", -1)));
        c.call("multi-without-end", c.xid += 1, 14, bytes(new MultiHeader(15, false, -1)));
        c.call("multi-read", c.xid += 1, 22, multi(
                Op.getData("/a"), Op.getChildren("/a"), Op.getData("/zz"), Op.getData("/null")));
        c.call("multi-read-empty", c.xid += 1, 22, multi());

        c.call("delete-container-child", 2, new DeleteRequest("/container/x", -1));
        c.call("delete-container", 20, new DeleteContainerRequest("/container"));
        c.call("reconfig-standalone", 16, new ReconfigRequest(null, null, "server.1=localhost:1:2:participant", -1));
        c.call("undecodable", c.xid += 1, 4, new byte[] {0, 0, 0, 9, '/'});
        c.call("path-invalid", 1, create("a", "", OPEN, CreateMode.PERSISTENT));
        c.call("exists-null-path", 3, new ExistsRequest(null, false));

        Connection d = new Connection(port, out).connect("connect-old-client",
                Arrays.copyOf(bytes(new ConnectRequest(0, 1, 30_000, 0, new byte[16], false)), 44));
        d.call("set-watches", -8, 101, bytes(new SetWatches(1, List.of("/a", "/zz"), List.of("/b", "/never"),
                List.of("/watched"))));
        d.call("set-watches-2", -8, 105, bytes(new SetWatches2(Long.MAX_VALUE, List.of("/a"), List.of(), List.of("/a"),
                List.of("/p"), List.of("/r"))));
        d.call("set-watches-null", -8, 101, bytes(new SetWatches(1, null, List.of(), List.of())));
        d.call("create-fires-persistent", 1, create("/p", "", OPEN, CreateMode.PERSISTENT));
        d.call("create-fires-child", 1, create("/a/fires", "", OPEN, CreateMode.PERSISTENT));
        d.call("close-session-without-ephemerals", 8, -11, new byte[0]);
        d.close();

        Connection moved = new Connection(port, out).connect("connect-again",
                bytes(new ConnectRequest(0, 3, 1, c.session.getSessionId(), c.session.getPasswd(), true)));
        moved.call("delete-ephemeral", 2, new DeleteRequest("/m/e", -1));
        moved.call("close-session", 99, -11, new byte[0]);
        moved.close();
        c.close();
        new Connection(port, out).connect("connect-wrong-password",
                bytes(new ConnectRequest(0, 3, 10_000, c.session.getSessionId(), new byte[16], false))).close();

        Connection e = new Connection(port, out).connect();
        e.call("check-alone", 13, new CheckVersionRequest("/a", 0));
        e.close();
        e = new Connection(port, out).connect();
        e.call("auth-unknown-scheme", -4, 100, bytes(new AuthPacket(0, "none", new byte[0])));
        e.close();
    }

    /** An ensemble of one is the smallest server that carries out reconfig. */
    static void ensemble(int port, PrintStream out) throws Exception {
        Connection c = new Connection(port, out).connect();
        c.call("create", 1, create("/before", "x", OPEN, CreateMode.PERSISTENT));
        c.call("reconfig-add", 16, new ReconfigRequest(
                "server.2=127.0.0.1:" + freePort() + ":" + freePort() + ":observer;127.0.0.1:" + freePort(),
                null, null, -1));
        c.call("reconfig-remove", 16, new ReconfigRequest(null, "2", null, -1));
        c.call("reconfig-bad-version", 16, new ReconfigRequest(null, "2", null, 77));
        c.call("get-config", 4, new GetDataRequest("/zookeeper/config", false));
        c.call("create-after", 15, create("/after", "x", OPEN, CreateMode.EPHEMERAL));
        c.call("close-session", 9, -11, new byte[0]);
        c.close();
    }

    static void stop(Process server) throws Exception {
        server.destroy();
        server.waitFor(20, TimeUnit.SECONDS);
    }

    /** Payloads of all log files of a data directory: what stands between a record's length and its end mark. */
    static void log(Path dir, PrintStream out) throws IOException {
        File[] files = dir.resolve("version-2").toFile().listFiles((d, name) -> name.startsWith("log."));
        Arrays.sort(files, Comparator.comparingLong(f -> Long.parseLong(f.getName().substring(4), 16)));
        for (File file : files) {
            try (DataInputStream in = new DataInputStream(new FileInputStream(file))) {
                in.readFully(new byte[16]);
                while (in.available() > 12) {
                    in.readLong();
                    byte[] payload = new byte[in.readInt()];
                    if (payload.length == 0) {
                        break;
                    }
                    in.readFully(payload);
                    in.readByte();
                    StringBuilder line = new StringBuilder(java.nio.ByteBuffer.wrap(payload).getInt(28) + " ");
                    for (byte b : payload) {
                        line.append(String.format("%02x", b));
                    }
                    out.println(line);
                }
            }
        }
    }

    interface Scenario {
        void run(int port, PrintStream out) throws Exception;
    }

    static void capture(String name, Path out, Path dir, int port, String config, String main, Scenario scenario)
            throws Exception {
        Process server = server(dir, config, main);
        try {
            awaitServing(port);
            try (PrintStream frames = new PrintStream(out.resolve(name + ".frames").toFile())) {
                frames.println("# Frames of Apache ZooKeeper " + Version.getVersion() + ": > to the server, < from it.");
                scenario.run(port, frames);
            }
        } finally {
            stop(server);
        }
        try (PrintStream txns = new PrintStream(out.resolve(name + ".txns").toFile(), "UTF-8")) {
            txns.println("# Logged by Apache ZooKeeper " + Version.getVersion() + ": type, payload.");
            log(dir, txns);
        }
    }

    public static void main(String[] args) throws Exception {
        Path out = Path.of(args[0]);
        Path scratch = Path.of(args[1]);
        int port = freePort();
        capture("standalone", out, scratch.resolve("standalone"), port,
                "clientPort=" + port + "\nclientPortAddress=127.0.0.1\n",
                "org.apache.zookeeper.server.ZooKeeperServerMain", Capture::standalone);

        int client = freePort();
        Path dir = scratch.resolve("ensemble");
        Files.createDirectories(dir);
        Files.writeString(dir.resolve("myid"), "1");
        Path dynamic = dir.resolve("zoo.cfg.dynamic");
        Files.writeString(dynamic, "server.1=127.0.0.1:" + freePort() + ":" + freePort()
                + ":participant;127.0.0.1:" + client + "\n");
        capture("ensemble", out, dir, client,
                "initLimit=5\nsyncLimit=5\nstandaloneEnabled=false\nreconfigEnabled=true\ndynamicConfigFile="
                        + dynamic + "\n",
                "org.apache.zookeeper.server.quorum.QuorumPeerMain", Capture::ensemble);
    }
}
