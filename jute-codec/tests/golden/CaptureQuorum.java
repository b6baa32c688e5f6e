import java.io.*;
import java.net.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import org.apache.jute.*;
import org.apache.zookeeper.*;
import org.apache.zookeeper.proto.*;
import org.apache.zookeeper.server.DataTree;
import org.apache.zookeeper.server.quorum.QuorumPacket;
import org.apache.zookeeper.server.util.SerializeUtils;

/**
 * Starts three voters and an observer of Apache ZooKeeper on loopback, makes them elect, synchronise and broadcast,
 * and writes down what they say to each other. Run by capture.sh; arguments: the directory to write to, and one for
 * scratch. Properties: servers, the class path of servers of another release, and release, its number.
 *
 * Each server finds the others under their names at addresses of its own, where a proxy listens that knows by the
 * address who calls whom: s2 is 127.1.0.2 to itself and 127.2.1.2 to s1. All four have the same configuration and
 * nothing of what they say has to be changed on its way. Needs a Linux, where all of 127.0.0.0/8 is loopback.
 */
public class CaptureQuorum {
    static final int QUORUM_PORT = 2888;
    static final int ELECTION_PORT = 3888;
    static final int CLIENT_PORT = 2181;
    static final int SERVERS = 4;
    static final int OBSERVER = 4;
    static final int SESSION_TIMEOUT_MS = 20_000;
    static final String[] TYPES = {null, "REQUEST", "PROPOSAL", "ACK", "COMMIT", "PING", "REVALIDATE", "SYNC",
            "INFORM", "COMMITANDACTIVATE", "NEWLEADER", "FOLLOWERINFO", "UPTODATE", "DIFF", "TRUNC", "SNAP",
            "OBSERVERINFO", "LEADERINFO", "ACKEPOCH", "INFORMANDACTIVATE"};

    static String own(int server) {
        return "127.1.0." + server;
    }

    /** Keeps what is read through it. */
    static class Tee extends FilterInputStream {
        final ByteArrayOutputStream taken = new ByteArrayOutputStream();

        Tee(InputStream in) {
            super(in);
        }

        @Override
        public int read() throws IOException {
            int b = in.read();
            if (b >= 0) {
                taken.write(b);
            }
            return b;
        }

        @Override
        public int read(byte[] bytes, int from, int length) throws IOException {
            int read = in.read(bytes, from, length);
            if (read > 0) {
                taken.write(bytes, from, read);
            }
            return read;
        }

        byte[] take() {
            byte[] bytes = taken.toByteArray();
            taken.reset();
            return bytes;
        }
    }

    /** A connection between two servers, and what was said on it, in order. */
    class Link {
        final int from;
        final int to;
        final int port;
        final List<String> lines = Collections.synchronizedList(new ArrayList<>());
        final Map<String, Integer> seen = new ConcurrentHashMap<>();

        Link(int from, int to, int port) {
            this.from = from;
            this.to = to;
            this.port = port;
        }

        /** Pings and votes are repeated all the time: a few of each will do. */
        void note(String direction, String name, byte[] bytes) {
            String line = direction + " " + name + " " + HexFormat.of().formatHex(bytes);
            String kind = name.equals("PING") ? direction + name + bytes.length : line;
            boolean repeats = name.equals("PING") || name.equals("notification");
            if (seen.merge(kind, 1, Integer::sum) <= (name.equals("PING") ? 2 : 1) || !repeats) {
                lines.add(line);
            }
        }

        void pump(String direction, Socket in, Socket out) {
            try (in; out) {
                Tee tee = new Tee(new BufferedInputStream(in.getInputStream()));
                DataInputStream data = new DataInputStream(tee);
                if (port == ELECTION_PORT && direction.equals(">")) {
                    data.readLong();
                    data.readLong();
                    data.readFully(new byte[data.readInt()]);
                    pass(direction, "initial", tee, out);
                }
                while (true) {
                    if (port == ELECTION_PORT) {
                        data.readFully(new byte[data.readInt()]);
                        pass(direction, "notification", tee, out);
                        continue;
                    }
                    QuorumPacket packet = new QuorumPacket();
                    BinaryInputArchive.getArchive(tee).readRecord(packet, "packet");
                    String type = TYPES[packet.getType()];
                    if (type.equals("PROPOSAL") && hold) {
                        tee.take();
                        continue;
                    }
                    pass(direction, type, tee, out);
                    if (type.equals("SNAP")) {
                        BinaryInputArchive archive = BinaryInputArchive.getArchive(tee);
                        SerializeUtils.deserializeSnapshot(new DataTree(), archive, new HashMap<>());
                        archive.readString("signature");
                        pass(direction, "snapshot", tee, out);
                    }
                }
            } catch (IOException ended) {
                // A server has closed the connection, or was killed.
            }
        }

        void pass(String direction, String name, Tee tee, Socket out) throws IOException {
            byte[] bytes = tee.take();
            note(direction, name, bytes);
            out.getOutputStream().write(bytes);
        }
    }

    final Path scratch;
    final boolean reconfig;
    final List<Link> links = new CopyOnWriteArrayList<>();
    final List<ServerSocket> listeners = new ArrayList<>();
    final Process[] servers = new Process[SERVERS + 1];
    /** While it is set, no proposal reaches a follower. */
    volatile boolean hold = false;

    CaptureQuorum(Path scratch, boolean reconfig) {
        this.scratch = scratch;
        this.reconfig = reconfig;
    }

    void listen(int from, int to, int port) throws IOException {
        ServerSocket listener = new ServerSocket();
        listener.setReuseAddress(true);
        listener.bind(new InetSocketAddress("127.2." + from + "." + to, port));
        listeners.add(listener);
        start(() -> {
            while (true) {
                Socket in = listener.accept();
                start(() -> connect(new Link(from, to, port), in));
            }
        });
    }

    void connect(Link link, Socket in) throws Exception {
        for (int tries = 0; tries < 30; tries++) {
            try {
                Socket out = new Socket(own(link.to), link.port);
                in.setTcpNoDelay(true);
                out.setTcpNoDelay(true);
                links.add(link);
                start(() -> link.pump(">", in, out));
                start(() -> link.pump("<", out, in));
                return;
            } catch (ConnectException notYet) {
                // To the server that calls, its connection is there already: a leader gets time to listen.
                Thread.sleep(100);
            }
        }
        in.close();
    }

    interface Body {
        void run() throws Exception;
    }

    static void start(Body body) {
        Thread thread = new Thread(() -> {
            try {
                body.run();
            } catch (Exception ended) {
                // The capture is over, or one of its servers gone.
            }
        });
        thread.setDaemon(true);
        thread.start();
    }

    Path dir(int server) {
        return scratch.resolve("s" + server);
    }

    void configure(int server) throws IOException {
        Files.createDirectories(dir(server));
        Files.writeString(dir(server).resolve("myid"), "" + server);
        StringBuilder hosts = new StringBuilder();
        StringBuilder members = new StringBuilder();
        for (int other = 1; other <= SERVERS + 1; other++) {
            String address = other == server ? own(other) : "127.2." + server + "." + other;
            hosts.append(address + " s" + other + "\n");
            if (other <= SERVERS) {
                members.append(member(other) + (reconfig ? ";" + own(other) + ":" + CLIENT_PORT : "") + "\n");
            }
        }
        Files.writeString(dir(server).resolve("hosts"), hosts);
        String config = "dataDir=" + dir(server) + "\ntickTime=1000\ninitLimit=30\nsyncLimit=20\n"
                + "4lw.commands.whitelist=*\n";
        if (reconfig) {
            Path dynamic = dir(server).resolve("members");
            Files.writeString(dynamic, members);
            config += "reconfigEnabled=true\ndynamicConfigFile=" + dynamic + "\n";
        } else {
            config += "clientPort=" + CLIENT_PORT + "\nclientPortAddress=" + own(server) + "\n"
                    + (server == OBSERVER ? "peerType=observer\n" : "") + members;
        }
        Files.writeString(dir(server).resolve("zoo.cfg"), config);
    }

    static String member(int server) {
        return "server." + server + "=s" + server + ":" + QUORUM_PORT + ":" + ELECTION_PORT
                + (server >= OBSERVER ? ":observer" : ":participant");
    }

    void launch(int server, String... more) throws IOException {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-Xmx128m", "-XX:+UseSerialGC",
                "-Djdk.net.hosts.file=" + dir(server).resolve("hosts"), "-Dzookeeper.admin.enableServer=false",
                "-Dzookeeper.preAllocSize=64", "-Dzookeeper.skipACL=yes", "-Dzookeeper.snapshotSizeFactor=-1",
                "-cp", System.getProperty("servers", System.getProperty("java.class.path"))));
        command.addAll(List.of(more));
        command.add("org.apache.zookeeper.server.quorum.QuorumPeerMain");
        command.add(dir(server).resolve("zoo.cfg").toString());
        servers[server] = new ProcessBuilder(command).redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.appendTo(dir(server).resolve("output").toFile())).start();
    }

    void kill(int server) throws InterruptedException {
        servers[server].destroyForcibly();
        servers[server].waitFor(20, TimeUnit.SECONDS);
    }

    /** What a server says it is; empty while it serves nobody. */
    static String mode(int server) throws IOException {
        try (Socket socket = new Socket(own(server), CLIENT_PORT)) {
            socket.getOutputStream().write("srvr".getBytes());
            String answer = new String(socket.getInputStream().readAllBytes());
            return answer.lines().filter(line -> line.startsWith("Mode: ")).findFirst().orElse("");
        } catch (ConnectException notYet) {
            return "";
        }
    }

    static void await(int server) throws Exception {
        for (int tries = 0; tries < 600 && mode(server).isEmpty(); tries++) {
            Thread.sleep(100);
        }
        if (mode(server).isEmpty()) {
            throw new IllegalStateException("server " + server + " does not serve");
        }
    }

    static int awaitLeader(List<Integer> voters) throws Exception {
        for (int tries = 0; tries < 600; tries++) {
            for (int voter : voters) {
                if (mode(voter).equals("Mode: leader")) {
                    return voter;
                }
            }
            Thread.sleep(100);
        }
        throw new IllegalStateException("no leader");
    }

    static Capture.Connection client(int server, long session, byte[] password) throws Exception {
        Capture.Connection client = new Capture.Connection(own(server), CLIENT_PORT,
                new PrintStream(OutputStream.nullOutputStream()));
        client.connect("connect", Capture.bytes(
                new ConnectRequest(0, 0, SESSION_TIMEOUT_MS, session, password, false)));
        return client;
    }

    static Capture.Connection client(int server) throws Exception {
        return client(server, 0, new byte[16]);
    }

    static void create(Capture.Connection client, String path) throws IOException {
        client.call("create", 1, Capture.create(path, "data of " + path, Capture.OPEN, CreateMode.PERSISTENT));
    }

    /** Every server starts; the result is the leader. */
    int begin() throws Exception {
        for (int server = 1; server <= SERVERS; server++) {
            configure(server);
            for (int other = 1; other <= SERVERS; other++) {
                if (other != server) {
                    listen(server, other, QUORUM_PORT);
                    listen(server, other, ELECTION_PORT);
                }
            }
        }
        for (int server = 1; server <= SERVERS; server++) {
            launch(server);
        }
        for (int server = 1; server <= SERVERS; server++) {
            await(server);
        }
        return awaitLeader(List.of(1, 2, 3));
    }

    void synchronise() throws Exception {
        int leader = begin();
        List<Integer> followers = new ArrayList<>(List.of(1, 2, 3));
        followers.remove((Integer) leader);
        int first = followers.get(0);
        int second = followers.get(1);

        // REQUEST, PROPOSAL, ACK, COMMIT, INFORM, SYNC, and sessions in PINGs.
        Capture.Connection c = client(first);
        c.call("auth", -4, 100, Capture.bytes(new AuthPacket(0, "digest", "u:p".getBytes())));
        create(c, "/follower");
        c.call("set-data", 5, new SetDataRequest("/follower", null, -1));
        c.call("delete-missing", 2, new DeleteRequest("/missing", -1));
        c.call("sync", 9, new SyncRequest("/follower"));
        Capture.Connection o = client(OBSERVER);
        create(o, "/observer");
        o.call("sync", 9, new SyncRequest("/observer"));
        for (int i = 0; i < 6; i++) {
            c.call("ping", -2, 11, new byte[0]);
            o.call("ping", -2, 11, new byte[0]);
            Thread.sleep(500);
        }
        o.call("close-session", 9, -11, new byte[0]);
        o.close();

        // REVALIDATE, of a session that lives and of one that does not.
        c.close();
        Capture.Connection d = client(second, c.session.getSessionId(), c.session.getPasswd());
        create(d, "/moved");
        d.call("close-session", 9, -11, new byte[0]);
        d.close();
        try (Capture.Connection late = client(first, c.session.getSessionId(), c.session.getPasswd())) {
            if (late.session.getSessionId() == c.session.getSessionId()) {
                throw new IllegalStateException("a closed session was found alive");
            }
        } catch (EOFException refused) {
            // The server has closed the connection before its answer was on the way.
        }

        // DIFF with transactions.
        kill(OBSERVER);
        Capture.Connection l = client(leader);
        create(l, "/diff");
        launch(OBSERVER);
        await(OBSERVER);

        // SNAP. Not for the one with the larger id, which leads next and can then tell of what it has in memory.
        kill(first);
        try (var files = Files.walk(dir(first).resolve("version-2"))) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(file);
            }
        }
        launch(first);
        await(first);

        // TRUNC: nobody but the leader has its last transaction, and the next leader makes none before it is back.
        hold = true;
        l.send("create", Capture.concat(Capture.bytes(new RequestHeader(++l.xid, 1)), Capture.bytes(
                Capture.create("/trunc", "never", Capture.OPEN, CreateMode.PERSISTENT))));
        Thread.sleep(2000);
        kill(leader);
        hold = false;
        awaitLeader(followers);
        await(first);
        await(second);
        launch(leader);
        await(leader);
        await(OBSERVER);
        Capture.Connection again = client(leader);
        create(again, "/again");
        again.call("close-session", 9, -11, new byte[0]);
    }

    void reconfigure() throws Exception {
        int leader = begin();
        Capture.Connection c = client(leader == 1 ? 2 : 1);
        c.call("reconfig", 16, new ReconfigRequest(member(5) + ";" + own(5) + ":" + CLIENT_PORT, null, null, -1));
        create(c, "/after");
        Thread.sleep(2000);
    }

    /** One server with two addresses says so to the first that it calls, which is no server at all. */
    void greet() throws Exception {
        configure(1);
        Path config = dir(1).resolve("zoo.cfg");
        Files.writeString(config, Files.readString(config).replace("s1:2888:3888:participant",
                "s1:2888:3888:participant|s1:2889:3889:participant"));
        try (ServerSocket listener = new ServerSocket()) {
            listener.setReuseAddress(true);
            listener.setSoTimeout(20_000);
            listener.bind(new InetSocketAddress("127.2.1.2", ELECTION_PORT));
            launch(1, "-Dzookeeper.multiAddress.enabled=true");
            try (Socket socket = listener.accept()) {
                Tee tee = new Tee(socket.getInputStream());
                DataInputStream data = new DataInputStream(tee);
                data.readLong();
                data.readLong();
                data.readFully(new byte[data.readInt()]);
                Link link = new Link(1, 2, ELECTION_PORT);
                link.note(">", "initial", tee.take());
                links.add(link);
            }
        }
    }

    void capture(Path out, Body scenario) throws Exception {
        try {
            scenario.run();
        } finally {
            for (Process server : servers) {
                if (server != null) {
                    server.destroyForcibly();
                    server.waitFor(20, TimeUnit.SECONDS);
                }
            }
            for (ServerSocket listener : listeners) {
                listener.close();
            }
        }
        try (PrintStream packets = new PrintStream(out.toFile(), StandardCharsets.UTF_8)) {
            packets.println("# Servers of Apache ZooKeeper " + System.getProperty("release", Version.getVersion())
                    + " to each other: > to the one that listens, < from it.");
            for (Link link : links) {
                if (!link.lines.isEmpty()) {
                    packets.println("= " + (link.port == QUORUM_PORT ? "quorum" : "election") + " " + link.from + " "
                            + link.to);
                    link.lines.forEach(packets::println);
                }
            }
        }
    }

    public static void main(String[] args) throws Exception {
        Path out = Path.of(args[0]);
        String release = System.getProperty("release");
        CaptureQuorum fixed = new CaptureQuorum(Path.of(args[1], "fixed"), false);
        String file = release == null ? "quorum.packets" : "quorum-" + release + ".packets";
        fixed.capture(out.resolve(file), fixed::synchronise);
        if (release != null) {
            System.exit(0);
        }
        CaptureQuorum changing = new CaptureQuorum(Path.of(args[1], "changing"), true);
        changing.capture(out.resolve("reconfig.packets"), changing::reconfigure);
        CaptureQuorum several = new CaptureQuorum(Path.of(args[1], "several"), false);
        several.capture(out.resolve("addresses.packets"), several::greet);
        System.exit(0);
    }
}
