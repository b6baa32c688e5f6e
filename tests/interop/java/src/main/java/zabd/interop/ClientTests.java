package zabd.interop;

import static zabd.interop.Harness.check;
import static zabd.interop.Harness.equal;
import static zabd.interop.Harness.eventually;
import static zabd.interop.Harness.refused;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.ClientInfo;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;

/** The operations of the stock client. */
final class ClientTests {
    private static final byte[] EMPTY = new byte[0];

    private ClientTests() {}

    static void run() throws Exception {
        try (Client a = new Client(10_000); Client b = new Client(10_000)) {
            Harness.test("client-data", 20, () -> data(a.zk, b.zk));
            Harness.test("client-modes", 20, () -> modes(a.zk));
            Harness.test("client-errors", 20, () -> errors(a.zk));
            Harness.test("client-multi", 20, () -> multi(a.zk));
            Harness.test("client-multi-errors", 20, () -> multiErrors(a.zk));
            Harness.test("client-multi-read", 20, () -> multiRead(a.zk));
            Harness.test("client-acl", 20, () -> acl(a.zk));
            Harness.test("client-whoami", 20, () -> whoAmI());
            Harness.test("client-ephemerals", 20, () -> ephemerals(a.zk));
            Harness.test("client-count", 20, () -> count(a.zk));
            Harness.test("client-async-order", 30, () -> asyncOrder(a.zk));
            Harness.test("client-quota", 20, () -> quota(a.zk));
            Harness.test("client-expiry", 40, () -> expiry(a.zk));
            Harness.test("client-session-password", 40, () -> takeOver());
            Harness.test("client-config", 20, () -> config(a.zk));
        }
    }

    static String create(ZooKeeper zk, String path, String data, CreateMode mode) throws Exception {
        return zk.create(path, data.getBytes(), Ids.OPEN_ACL_UNSAFE, mode);
    }

    static String create(ZooKeeper zk, String path) throws Exception {
        return create(zk, path, "", CreateMode.PERSISTENT);
    }

    private static void data(ZooKeeper a, ZooKeeper b) throws Exception {
        Stat created = new Stat();
        equal(a.create("/cd", "x".getBytes(), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, created), "/cd", "path");
        Stat read = new Stat();
        b.sync("/cd");
        equal(b.getData("/cd", false, read), "x".getBytes(), "data");
        equal(read, created, "stat of create2 and of getData");
        Stat set = a.setData("/cd", null, 0);
        equal(set.getVersion(), 1, "version");
        equal(set.getDataLength(), 0, "length");
        check(set.getMzxid() > created.getMzxid(), "mzxid grows");
        byte[] nothing = a.getData("/cd", false, null);
        check(nothing == null || nothing.length == 0, "null data");
        create(a, "/cd/b");
        create(a, "/cd/a");
        equal(new TreeSet<>(a.getChildren("/cd", false)), new TreeSet<>(List.of("a", "b")), "children");
        Stat stat = new Stat();
        a.getChildren("/cd", false, stat);
        equal(stat.getNumChildren(), 2, "numChildren");
        equal(stat.getCversion(), 2, "cversion");
        equal(a.exists("/cd/none", false), null, "exists of nothing");
        a.delete("/cd/a", 0);
        a.delete("/cd/b", -1);
        a.delete("/cd", 1);
    }

    private static void modes(ZooKeeper zk) throws Exception {
        create(zk, "/modes");
        equal(create(zk, "/modes/s", "", CreateMode.PERSISTENT_SEQUENTIAL), "/modes/s0000000000", "sequential");
        equal(create(zk, "/modes/e", "", CreateMode.EPHEMERAL_SEQUENTIAL), "/modes/e0000000001", "ephemeral");
        equal(zk.exists("/modes/e0000000001", false).getEphemeralOwner(), zk.getSessionId(), "owner");
        create(zk, "/modes/c", "", CreateMode.CONTAINER);
        equal(zk.exists("/modes/c", false).getEphemeralOwner(), 0L, "owner of a container");
        Stat stat = new Stat();
        zk.create("/modes/t", EMPTY, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, stat, 3_600_000);
        equal(stat.getEphemeralOwner(), 0L, "owner of a znode with a TTL");
        equal(zk.create("/modes/ts", EMPTY, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, stat,
                3_600_000), "/modes/ts0000000004", "sequential with a TTL");
        create(zk, "/modes/c/kid");
        zk.delete("/modes/c/kid", -1);
        eventually(15, "container reaped", () -> zk.exists("/modes/c", false) == null);
    }

    private static void errors(ZooKeeper zk) throws Exception {
        create(zk, "/ce");
        create(zk, "/ce/e", "", CreateMode.EPHEMERAL);
        KeeperException e = refused(Code.NODEEXISTS, () -> create(zk, "/ce"), "create again");
        equal(e.getPath(), "/ce", "path in the exception");
        refused(Code.NONODE, () -> create(zk, "/ce/x/y"), "no parent");
        refused(Code.NOCHILDRENFOREPHEMERALS, () -> create(zk, "/ce/e/x"), "child of an ephemeral");
        refused(Code.NOTEMPTY, () -> zk.delete("/ce", -1), "delete with children");
        refused(Code.BADVERSION, () -> zk.setData("/ce", EMPTY, 3), "set at a wrong version");
        refused(Code.BADVERSION, () -> zk.delete("/ce/e", 3), "delete at a wrong version");
        refused(Code.NONODE, () -> zk.getData("/ce/x", false, null), "get of nothing");
        refused(Code.NONODE, () -> zk.setData("/ce/x", EMPTY, -1), "set of nothing");
        refused(Code.NONODE, () -> zk.getACL("/ce/x", new Stat()), "acl of nothing");
        refused(Code.NONODE, () -> zk.getChildren("/ce/x", false), "children of nothing");
        refused(Code.INVALIDACL, () -> zk.create("/ce/x", EMPTY, Collections.emptyList(), CreateMode.PERSISTENT),
                "empty acl");
        refused(Code.NOWATCHER, () -> zk.removeWatches("/ce", ev -> { }, org.apache.zookeeper.Watcher.WatcherType.Any,
                false), "remove a watcher that is not there");
        check(zk.getState().isConnected(), "still connected");
    }

    private static void multi(ZooKeeper zk) throws Exception {
        create(zk, "/cm");
        create(zk, "/cm/gone");
        List<OpResult> results = zk.multi(List.of(
                Op.check("/cm", 0),
                Op.create("/cm/a", "1".getBytes(), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.create("/cm/s", EMPTY, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL),
                Op.create("/cm/c", EMPTY, Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER),
                Op.create("/cm/t", EMPTY, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, 3_600_000),
                Op.setData("/cm/a", "2".getBytes(), 0),
                Op.delete("/cm/gone", 0)));
        equal(results.size(), 7, "results");
        check(results.get(0) instanceof OpResult.CheckResult, "check");
        equal(((OpResult.CreateResult) results.get(1)).getPath(), "/cm/a", "path");
        equal(((OpResult.CreateResult) results.get(2)).getPath(), "/cm/s0000000002", "sequential path");
        Stat stat = ((OpResult.SetDataResult) results.get(5)).getStat();
        equal(stat.getVersion(), 1, "version");
        equal(stat.getCzxid(), stat.getMzxid(), "one zxid");
        equal(zk.exists("/cm/c", false).getCzxid(), stat.getCzxid(), "one zxid");
        equal(zk.exists("/cm", false).getPzxid(), stat.getCzxid(), "pzxid of the parent");
        equal(zk.exists("/cm", false).getCversion(), 6, "cversion of the parent");
        equal(zk.exists("/cm/gone", false), null, "deleted");
        equal(zk.multi(List.of()).size(), 0, "an empty multi");
    }

    private static void multiErrors(ZooKeeper zk) throws Exception {
        create(zk, "/cme", "old", CreateMode.PERSISTENT);
        KeeperException e = refused(Code.BADVERSION, () -> zk.multi(List.of(
                Op.setData("/cme", "new".getBytes(), -1),
                Op.create("/cme/x", EMPTY, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.check("/cme/x", 5),
                Op.delete("/cme/x", -1))), "multi");
        List<Integer> codes = new ArrayList<>();
        for (OpResult result : e.getResults()) {
            codes.add(((OpResult.ErrorResult) result).getErr());
        }
        equal(codes, List.of(0, 0, Code.BADVERSION.intValue(), Code.RUNTIMEINCONSISTENCY.intValue()), "codes");
        equal(zk.getData("/cme", false, null), "old".getBytes(), "data");
        equal(zk.exists("/cme/x", false), null, "nothing left behind");
        equal(zk.exists("/cme", false).getCversion(), 0, "cversion");
    }

    private static void multiRead(ZooKeeper zk) throws Exception {
        create(zk, "/cmr", "x", CreateMode.PERSISTENT);
        create(zk, "/cmr/kid");
        List<OpResult> results = zk.multi(List.of(Op.getData("/cmr"), Op.getChildren("/cmr"), Op.getData("/none")));
        equal(((OpResult.GetDataResult) results.get(0)).getData(), "x".getBytes(), "data");
        equal(((OpResult.GetChildrenResult) results.get(1)).getChildren(), List.of("kid"), "children");
        equal(((OpResult.ErrorResult) results.get(2)).getErr(), Code.NONODE.intValue(), "error of one read");
    }

    private static void acl(ZooKeeper zk) throws Exception {
        try (Client owner = new Client(10_000)) {
            owner.zk.addAuthInfo("digest", "o:p".getBytes());
            owner.zk.create("/ca", EMPTY, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
            Stat stat = new Stat();
            List<ACL> acls = owner.zk.getACL("/ca", stat);
            equal(acls.size(), 1, "entries");
            equal(acls.get(0).getId().getScheme(), "digest", "scheme");
            check(acls.get(0).getId().getId().startsWith("o:"), "user");
            refused(Code.NOAUTH, () -> zk.getData("/ca", false, null), "read by another");
            refused(Code.NOAUTH, () -> create(zk, "/ca/x"), "create by another");
            List<ACL> opened = new ArrayList<>(acls);
            opened.add(new ACL(Perms.READ, Ids.ANYONE_ID_UNSAFE));
            equal(owner.zk.setACL("/ca", opened, 0).getAversion(), 1, "aversion");
            refused(Code.BADVERSION, () -> owner.zk.setACL("/ca", opened, 0), "set acl at a wrong version");
            zk.getData("/ca", false, null);
            refused(Code.NOAUTH, () -> zk.setData("/ca", EMPTY, -1), "write by another");
            // One who may read but not administrate does not see the hash.
            for (ACL shown : zk.getACL("/ca", new Stat())) {
                if (shown.getId().getScheme().equals("digest")) {
                    equal(shown.getId().getId(), "o:x", "masked hash");
                }
            }
            refused(Code.INVALIDACL, () -> zk.create("/ca2", EMPTY, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT),
                    "auth without an identity");
            refused(Code.INVALIDACL, () -> zk.create("/ca2", EMPTY,
                    Collections.singletonList(new ACL(Perms.ALL, new Id("ip", "not an address"))), CreateMode.PERSISTENT), "bad address");
        }
    }

    private static void whoAmI() throws Exception {
        try (Client c = new Client(10_000)) {
            c.zk.addAuthInfo("digest", "me:secret".getBytes());
            TreeSet<String> ids = new TreeSet<>();
            for (ClientInfo info : c.zk.whoAmI()) {
                ids.add(info.getAuthScheme() + " " + info.getUser());
            }
            equal(ids, new TreeSet<>(List.of("digest me", "ip 127.0.0.1")), "identities");
        }
    }

    private static void ephemerals(ZooKeeper zk) throws Exception {
        try (Client c = new Client(10_000)) {
            create(c.zk, "/eph");
            create(c.zk, "/eph/b", "", CreateMode.EPHEMERAL);
            create(c.zk, "/eph/a", "", CreateMode.EPHEMERAL);
            create(c.zk, "/other-eph", "", CreateMode.EPHEMERAL);
            create(zk, "/eph/foreign", "", CreateMode.EPHEMERAL);
            equal(new TreeSet<>(c.zk.getEphemerals("/eph")), new TreeSet<>(List.of("/eph/a", "/eph/b")), "below /eph");
            equal(c.zk.getEphemerals().size(), 3, "all");
        }
        equal(zk.getChildren("/eph", false), List.of("foreign"), "after the session was closed");
    }

    private static void count(ZooKeeper zk) throws Exception {
        create(zk, "/count");
        for (String path : List.of("/count/a", "/count/a/b", "/count/a/b/c", "/count/d", "/counter")) {
            create(zk, path);
        }
        equal(zk.getAllChildrenNumber("/count"), 4, "all children");
        equal(zk.getAllChildrenNumber("/count/d"), 0, "all children of a leaf");
        refused(Code.NONODE, () -> zk.getAllChildrenNumber("/count/none"), "all children of nothing");
    }

    /** Replies come in the order of the requests, also when reads and writes alternate. */
    private static void asyncOrder(ZooKeeper zk) throws Exception {
        create(zk, "/order", "-1", CreateMode.PERSISTENT);
        int rounds = 1000;
        List<String> replies = Collections.synchronizedList(new ArrayList<>());
        CountDownLatch done = new CountDownLatch(2 * rounds);
        for (int i = 0; i < rounds; i++) {
            int round = i;
            zk.setData("/order", String.valueOf(i).getBytes(), i, (code, path, context, stat) -> {
                replies.add(code == 0 ? "set " + round : "set failed " + code);
                done.countDown();
            }, null);
            zk.getData("/order", false, (code, path, context, data, stat) -> {
                replies.add(code == 0 ? "get " + new String(data) : "get failed " + code);
                done.countDown();
            }, null);
        }
        check(done.await(20, TimeUnit.SECONDS), "all replies");
        for (int i = 0; i < rounds; i++) {
            equal(replies.get(2 * i), "set " + i, "reply");
            equal(replies.get(2 * i + 1), "get " + i, "own write read");
        }
    }

    private static void quota(ZooKeeper zk) throws Exception {
        create(zk, "/quota");
        create(zk, "/zookeeper/quota/quota");
        create(zk, "/zookeeper/quota/quota/zookeeper_limits", "count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=2",
                CreateMode.PERSISTENT);
        create(zk, "/zookeeper/quota/quota/zookeeper_stats", "count=1,bytes=0", CreateMode.PERSISTENT);
        create(zk, "/quota/a");
        refused(Code.QUOTAEXCEEDED, () -> create(zk, "/quota/b"), "one node too many");
        zk.setData("/quota/a", "0123456789".getBytes(), -1);
        refused(Code.QUOTAEXCEEDED, () -> zk.setData("/quota/a", "0123456789a".getBytes(), -1), "a byte too many");
        zk.delete("/quota/a", -1);
        create(zk, "/quota/b");
        refused(Code.NOTEMPTY, () -> zk.delete("/zookeeper/quota/quota", -1), "delete a quota with its limits");
    }

    private static void expiry(ZooKeeper zk) throws Exception {
        Client c = new Client(2_000);
        create(c.zk, "/expiring", "", CreateMode.EPHEMERAL);
        long id = c.zk.getSessionId();
        // A second client of the same session closes it: the first one is told that it has expired.
        ZooKeeper twin = new ZooKeeper(Harness.ADDRESS, 2_000, ev -> { }, id, c.zk.getSessionPasswd());
        eventually(10, "twin connected", () -> twin.getState().isConnected());
        equal(twin.getSessionId(), id, "session of the twin");
        twin.close();
        eventually(15, "expired", () -> c.zk.getState() == ZooKeeper.States.CLOSED);
        refused(Code.SESSIONEXPIRED, () -> c.zk.exists("/", false), "request of an expired session");
        equal(zk.exists("/expiring", false), null, "ephemeral of an expired session");
        c.close();
    }

    /** A session with a wrong password is not given away. */
    private static void takeOver() throws Exception {
        try (Client c = new Client(10_000)) {
            create(c.zk, "/mine", "", CreateMode.EPHEMERAL);
            byte[] wrong = c.zk.getSessionPasswd().clone();
            wrong[0] ^= 1;
            ZooKeeper thief = new ZooKeeper(Harness.ADDRESS, 10_000, ev -> { }, c.zk.getSessionId(), wrong);
            eventually(15, "thief refused", () -> thief.getState() == ZooKeeper.States.CLOSED);
            refused(Code.SESSIONEXPIRED, () -> thief.exists("/", false), "request of the thief");
            thief.close();
            // The attempt may have cost the owner its connection, not its session.
            eventually(15, "the owner connected", () -> answered(c.zk));
            equal(c.zk.exists("/mine", false).getEphemeralOwner(), c.zk.getSessionId(), "still mine");
        }
    }

    private static boolean answered(ZooKeeper zk) throws Exception {
        try {
            return zk.exists("/", false) != null;
        } catch (KeeperException.ConnectionLossException e) {
            return false;
        }
    }

    private static void config(ZooKeeper zk) throws Exception {
        equal(new TreeSet<>(zk.getChildren("/", false)).contains("zookeeper"), true, "/zookeeper");
        equal(new TreeSet<>(zk.getChildren("/zookeeper", false)), new TreeSet<>(List.of("config", "quota")),
                "children of /zookeeper");
        equal(new String(zk.getConfig(false, null), StandardCharsets.UTF_8), Harness.MEMBERS, "the members");
    }
}
