package zabd.suite;

import java.io.File;
import java.io.IOException;
import java.lang.reflect.Field;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.zookeeper.server.quorum.Follower;
import org.apache.zookeeper.server.quorum.Leader;
import org.apache.zookeeper.server.quorum.Observer;
import org.apache.zookeeper.server.quorum.QuorumPeer;
import org.apache.zookeeper.server.quorum.QuorumPeer.LearnerType;
import org.apache.zookeeper.server.quorum.QuorumPeer.ServerState;
import org.apache.zookeeper.server.quorum.flexible.QuorumVerifier;
import org.objenesis.ObjenesisStd;

/**
 * Makes a process of every member of an ensemble: the thread of a `QuorumPeer` starts one and waits for
 * it. Which role it has, tests learn from the process.
 */
public final class OutsidePeer {
    private static final Map<QuorumPeer, ServerProcess> PROCESSES = new ConcurrentHashMap<>();
    private static final Set<QuorumPeer> ENDED = ConcurrentHashMap.newKeySet();
    // Tests only ask whether these are null.
    private static final Leader LEADER = new ObjenesisStd().newInstance(Leader.class);
    private static final Follower FOLLOWER = new ObjenesisStd().newInstance(Follower.class);
    private static final Observer OBSERVER = new ObjenesisStd().newInstance(Observer.class);

    private OutsidePeer() {}

    /** The metrics of the server. */
    public static Map<String, Object> metrics() {
        return ServerProcess.metrics();
    }

    /** The whole life of a peer's thread. */
    public static void run(QuorumPeer peer) {
        try {
            ServerProcess process;
            synchronized (PROCESSES) {
                if (ENDED.contains(peer)) {
                    return;
                }
                process = new ServerProcess(config(peer), peer.getClientPort());
                PROCESSES.put(peer, process);
            }
            while (process.isAlive()) {
                state(peer);
                Thread.sleep(50);
            }
            process.join();
        } catch (IOException e) {
            throw new IllegalStateException("cannot start a server", e);
        } catch (InterruptedException e) {
            shutdown(peer);
        } finally {
            PROCESSES.remove(peer);
            role(peer, "");
        }
    }

    /** Ends the process, and with it the peer's thread. */
    public static void shutdown(QuorumPeer peer) {
        ServerProcess process;
        synchronized (PROCESSES) {
            ENDED.add(peer);
            process = PROCESSES.get(peer);
        }
        if (process != null) {
            process.stop();
        }
    }

    /** What the server is at this moment. */
    public static ServerState state(QuorumPeer peer) {
        return role(peer, PROCESSES.containsKey(peer) ? ServerProcess.mode(peer.getClientPort()) : "");
    }

    /** Asks all servers what they are, so that a test that has just seen one serve finds its role. */
    public static void refresh() {
        PROCESSES.keySet().forEach(OutsidePeer::state);
    }

    private static ServerState role(QuorumPeer peer, String mode) {
        peer.leader = mode.equals("leader") ? LEADER : null;
        peer.follower = mode.equals("follower") ? FOLLOWER : null;
        peer.observer = mode.equals("observer") ? OBSERVER : null;
        switch (mode) {
            case "leader":
                return ServerState.LEADING;
            case "follower":
                return ServerState.FOLLOWING;
            case "observer":
                return ServerState.OBSERVING;
            default:
                return ServerState.LOOKING;
        }
    }

    /** The file that the peer was read from, or one that says what the test has set. */
    private static Path config(QuorumPeer peer) throws IOException {
        try {
            Field name = QuorumPeer.class.getDeclaredField("configFilename");
            name.setAccessible(true);
            if (name.get(peer) != null) {
                Path config = Path.of((String) name.get(peer));
                QuorumVerifier next = peer.getLastSeenQuorumVerifier();
                if (next != null && next.getVersion() > peer.getQuorumVerifier().getVersion()) {
                    // The object has read it, and removed the file.
                    Files.writeString(Path.of(config + ".dynamic.next"), next.toString());
                }
                return config;
            }
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
        File data = peer.getTxnFactory().getSnapDir().getParentFile();
        StringBuilder lines = new StringBuilder();
        lines.append("dataDir=").append(data).append('\n');
        lines.append("dataLogDir=").append(peer.getTxnFactory().getDataLogDir().getParentFile()).append('\n');
        lines.append("tickTime=").append(peer.getTickTime()).append('\n');
        lines.append("initLimit=").append(peer.getInitLimit()).append('\n');
        lines.append("syncLimit=").append(peer.getSyncLimit()).append('\n');
        lines.append("localSessionsEnabled=").append(peer.areLocalSessionsEnabled()).append('\n');
        lines.append("localSessionsUpgradingEnabled=").append(peer.isLocalSessionsUpgradingEnabled()).append('\n');
        if (peer.getLearnerType() == LearnerType.OBSERVER) {
            lines.append("peerType=observer\n");
        }
        for (String line : peer.getQuorumVerifier().toString().split("\n")) {
            if (!line.startsWith("version=")) {
                lines.append(line).append('\n');
            }
        }
        if (!lines.toString().contains(";")) {
            lines.append("clientPort=").append(peer.getClientPort()).append('\n');
        }
        Files.writeString(data.toPath().resolve("myid"), Long.toString(peer.getMyId()));
        Path config = data.toPath().resolve("zoo.cfg");
        Files.writeString(config, lines);
        return config;
    }
}
