package zabd.interop;

import static zabd.interop.ClientTests.create;
import static zabd.interop.Harness.equal;
import static zabd.interop.Harness.refused;

import java.util.List;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/** Watches of the stock client, one-shot and persistent. */
final class WatchTests {
    private WatchTests() {}

    static void run() throws Exception {
        try (Client a = new Client(10_000); Client b = new Client(10_000)) {
            Harness.test("watch-oneshot", 20, () -> oneShot(a.zk, b.zk));
            Harness.test("watch-persistent", 20, () -> persistent(a.zk, b.zk));
            Harness.test("watch-recursive", 20, () -> recursive(a.zk, b.zk));
            Harness.test("watch-remove", 20, () -> remove(a.zk, b.zk));
            Harness.test("watch-multi", 20, () -> multi(a.zk, b.zk));
            Harness.test("watch-close", 20, () -> close(a.zk));
        }
    }

    private static void oneShot(ZooKeeper a, ZooKeeper b) throws Exception {
        Client.Events created = new Client.Events();
        Client.Events changed = new Client.Events();
        Client.Events children = new Client.Events();
        a.exists("/wo", created);
        create(b, "/wo");
        equal(created.next(), "NodeCreated /wo", "event");
        a.getData("/wo", changed, null);
        a.getChildren("/wo", children);
        b.setData("/wo", "x".getBytes(), -1);
        equal(changed.next(), "NodeDataChanged /wo", "event");
        create(b, "/wo/kid");
        equal(children.next(), "NodeChildrenChanged /wo", "event");
        b.delete("/wo/kid", -1);
        b.setData("/wo", "y".getBytes(), -1);
        changed.silent("fired once");
        children.silent("fired once");
        a.getData("/wo", changed, null);
        a.getChildren("/wo", changed);
        a.exists("/wo", changed);
        b.delete("/wo", -1);
        equal(changed.next(), "NodeDeleted /wo", "event");
        changed.silent("one watcher is told once of one event");
    }

    private static void persistent(ZooKeeper a, ZooKeeper b) throws Exception {
        Client.Events events = new Client.Events();
        a.addWatch("/wp", events, AddWatchMode.PERSISTENT);
        create(b, "/wp");
        b.setData("/wp", "x".getBytes(), -1);
        create(b, "/wp/kid");
        b.setData("/wp/kid", "x".getBytes(), -1);
        b.delete("/wp/kid", -1);
        b.delete("/wp", -1);
        create(b, "/wp");
        for (String wanted : List.of("NodeCreated /wp", "NodeDataChanged /wp", "NodeChildrenChanged /wp",
                "NodeChildrenChanged /wp", "NodeDeleted /wp", "NodeCreated /wp")) {
            equal(events.next(), wanted, "event");
        }
        events.silent("nothing more");
    }

    private static void recursive(ZooKeeper a, ZooKeeper b) throws Exception {
        Client.Events events = new Client.Events();
        a.addWatch("/wr", events, AddWatchMode.PERSISTENT_RECURSIVE);
        create(b, "/wr");
        create(b, "/wr/x");
        create(b, "/wr/x/y");
        create(b, "/wrong");
        b.setData("/wr/x/y", "1".getBytes(), -1);
        b.delete("/wr/x/y", -1);
        b.delete("/wr/x", -1);
        b.delete("/wr", -1);
        for (String wanted : List.of("NodeCreated /wr", "NodeCreated /wr/x", "NodeCreated /wr/x/y",
                "NodeDataChanged /wr/x/y", "NodeDeleted /wr/x/y", "NodeDeleted /wr/x", "NodeDeleted /wr")) {
            equal(events.next(), wanted, "event");
        }
        events.silent("nothing more");
    }

    private static void remove(ZooKeeper a, ZooKeeper b) throws Exception {
        Client.Events data = new Client.Events();
        Client.Events kids = new Client.Events();
        Client.Events lasting = new Client.Events();
        create(b, "/wx");
        a.getData("/wx", data, null);
        a.getChildren("/wx", kids);
        a.addWatch("/wx", lasting, AddWatchMode.PERSISTENT);
        a.removeWatches("/wx", data, WatcherType.Data, false);
        equal(data.next(), "DataWatchRemoved /wx", "event");
        a.removeWatches("/wx", lasting, WatcherType.Persistent, false);
        equal(lasting.next(), "PersistentWatchRemoved /wx", "event");
        refused(Code.NOWATCHER, () -> a.removeWatches("/wx", data, WatcherType.Data, false), "remove twice");
        b.setData("/wx", "x".getBytes(), -1);
        create(b, "/wx/kid");
        equal(kids.next(), "NodeChildrenChanged /wx", "the watch that was not removed");
        data.silent("removed");
        lasting.silent("removed");
        a.getData("/wx", data, null);
        a.getChildren("/wx", kids);
        a.removeAllWatches("/wx", WatcherType.Any, false);
        equal(data.next(), "DataWatchRemoved /wx", "event");
        equal(kids.next(), "ChildWatchRemoved /wx", "event");
    }

    /** A multi's events come in the order of its operations. */
    private static void multi(ZooKeeper a, ZooKeeper b) throws Exception {
        Client.Events events = new Client.Events();
        create(b, "/wm");
        create(b, "/wm/old");
        a.addWatch("/wm", events, AddWatchMode.PERSISTENT_RECURSIVE);
        b.multi(List.of(
                Op.create("/wm/new", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.setData("/wm/old", "x".getBytes(), -1),
                Op.delete("/wm/old", -1),
                Op.setData("/wm", "x".getBytes(), -1)));
        for (String wanted : List.of("NodeCreated /wm/new", "NodeDataChanged /wm/old", "NodeDeleted /wm/old",
                "NodeDataChanged /wm")) {
            equal(events.next(), wanted, "event");
        }
        refused(Code.NONODE, () -> b.multi(List.of(Op.setData("/wm", "y".getBytes(), -1), Op.delete("/wm/none", -1))),
                "refused multi");
        events.silent("a multi that was undone");
    }

    /** The ephemerals of a closed session are announced. */
    private static void close(ZooKeeper a) throws Exception {
        Client.Events events = new Client.Events();
        try (Client c = new Client(10_000)) {
            create(c.zk, "/wclose", "", CreateMode.EPHEMERAL);
            a.exists("/wclose", events);
        }
        equal(events.next(), "NodeDeleted /wclose", "event");
    }
}
