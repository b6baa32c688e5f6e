package zabd.interop;

import static zabd.interop.ClientTests.create;
import static zabd.interop.Harness.check;
import static zabd.interop.Harness.equal;
import static zabd.interop.Harness.eventually;
import static zabd.interop.Harness.refused;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.data.Stat;

/** What clients see when the server goes and comes back. */
final class RestartTests {
    private RestartTests() {}

    static void run() {
        Harness.test("restart-client-term", 120, () -> client("restart-term", "stop"));
        Harness.test("restart-client-kill", 120, () -> client("restart-kill", "kill"));
        Harness.test("restart-recipes-term", 120, () -> recipes("recipes-term", "stop"));
        Harness.test("restart-recipes-kill", 120, () -> recipes("recipes-kill", "kill"));
    }

    private static void client(String name, String stop) throws Exception {
        String path = "/" + name;
        try (Client a = new Client(40_000); Client b = new Client(40_000)) {
            a.zk.addAuthInfo("digest", "r:s".getBytes());
            create(a.zk, path, "x", CreateMode.PERSISTENT);
            create(a.zk, path + "/eph", "", CreateMode.EPHEMERAL);
            Client.Events once = new Client.Events();
            Client.Events lasting = new Client.Events();
            Stat before = a.zk.exists(path, once);
            a.zk.addWatch(path, lasting, AddWatchMode.PERSISTENT_RECURSIVE);
            long sessionA = a.zk.getSessionId();
            long sessionB = b.zk.getSessionId();

            Harness.server(stop);
            eventually(10, "disconnected", () -> !a.zk.getState().isConnected());
            refused(Code.CONNECTIONLOSS, () -> {
                while (true) {
                    a.zk.exists(path, false);
                    Thread.sleep(10);
                }
            }, "request without a server");
            Harness.server("start");
            eventually(30, "connected", () -> a.zk.getState().isConnected() && b.zk.getState().isConnected());

            equal(a.zk.getSessionId(), sessionA, "session");
            equal(b.zk.getSessionId(), sessionB, "the other session");
            equal(a.zk.exists(path, false), before, "stat");
            equal(b.zk.exists(path + "/eph", false).getEphemeralOwner(), sessionA, "owner of the ephemeral");
            check(a.zk.whoAmI().stream().anyMatch(info -> info.getAuthScheme().equals("digest")), "still known");
            once.silent("nothing changed");
            lasting.silent("nothing changed");
            Stat after = b.zk.setData(path, "y".getBytes(), 0);
            check(after.getMzxid() > before.getMzxid(), "zxids go on");
            equal(once.next(), "NodeDataChanged " + path, "event");
            equal(lasting.next(), "NodeDataChanged " + path, "event");
            create(b.zk, path + "/kid");
            equal(lasting.next(), "NodeCreated " + path + "/kid", "event");
        }
    }

    private static void recipes(String name, String stop) throws Exception {
        String path = "/" + name;
        try (Curators clients = new Curators(2, 40_000)) {
            List<ConnectionState> states = Collections.synchronizedList(new ArrayList<>());
            clients.get(0).getConnectionStateListenable().addListener((client, state) -> states.add(state));
            clients.get(1).create().forPath(path);
            CuratorCache cache = CuratorCache.build(clients.get(0), path);
            cache.start();
            InterProcessMutex lock = new InterProcessMutex(clients.get(0), path + "-lock");
            InterProcessMutex rival = new InterProcessMutex(clients.get(1), path + "-lock");
            lock.acquire();
            LeaderLatch latch = new LeaderLatch(clients.get(0), path + "-latch");
            latch.start();
            check(latch.await(10, TimeUnit.SECONDS), "leader");
            PersistentNode node = new PersistentNode(clients.get(0), CreateMode.EPHEMERAL, false, path + "-node",
                    "x".getBytes());
            node.start();
            check(node.waitForInitialCreate(10, TimeUnit.SECONDS), "node");
            long session = clients.session(0);

            Harness.server(stop);
            eventually(10, "suspended", () -> states.contains(ConnectionState.SUSPENDED));
            Harness.server("start");
            eventually(30, "reconnected", () -> states.contains(ConnectionState.RECONNECTED));
            check(!states.contains(ConnectionState.LOST), "session not lost");

            equal(clients.session(0), session, "session");
            check(!rival.acquire(500, TimeUnit.MILLISECONDS), "lock still held");
            lock.release();
            check(rival.acquire(10, TimeUnit.SECONDS), "lock free");
            check(latch.await(20, TimeUnit.SECONDS), "leader again");
            equal(clients.get(1).checkExists().forPath(path + "-node").getEphemeralOwner(), session, "owner");
            clients.get(1).create().forPath(path + "/late", "late".getBytes());
            eventually(20, "cache goes on", () -> cache.get(path + "/late").isPresent());
            node.close();
            latch.close();
            cache.close();
        }
    }
}
