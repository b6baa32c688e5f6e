package zabd.interop;

import static zabd.interop.Harness.check;
import static zabd.interop.Harness.equal;
import static zabd.interop.Harness.eventually;

import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;

/** Curator's caches, fed by another session's changes. */
@SuppressWarnings("deprecation") // The older caches are what much software still uses.
final class CacheTests {
    private CacheTests() {}

    static void run() {
        Harness.test("curator-cache", 60, CacheTests::curatorCache);
        Harness.test("curator-cache-churn", 60, CacheTests::churn);
        Harness.test("curator-node-cache", 30, CacheTests::nodeCache);
        Harness.test("curator-path-children-cache", 30, CacheTests::pathChildrenCache);
        Harness.test("curator-tree-cache", 30, CacheTests::treeCache);
    }

    private static String next(BlockingQueue<String> events) throws InterruptedException {
        String event = events.poll(5, TimeUnit.SECONDS);
        return event == null ? "nothing" : event;
    }

    /** The cache on persistent recursive watches: events in order, data with them. */
    private static void curatorCache() throws Exception {
        try (Curators clients = new Curators(2)) {
            CuratorFramework writer = clients.get(1);
            writer.create().creatingParentsIfNeeded().forPath("/cache/curator/old", "0".getBytes());
            BlockingQueue<String> events = new LinkedBlockingQueue<>();
            CountDownLatch initialized = new CountDownLatch(1);
            try (CuratorCache cache = CuratorCache.build(clients.get(0), "/cache/curator")) {
                cache.listenable().addListener(CuratorCacheListener.builder()
                        .forInitialized(initialized::countDown)
                        .build());
                cache.listenable().addListener(CuratorCacheListener.builder()
                        .forCreates(node -> events.add("+ " + node.getPath() + " " + new String(node.getData())))
                        .forChanges((old, node) -> events.add("= " + node.getPath() + " " + new String(node.getData())))
                        .forDeletes(node -> events.add("- " + node.getPath()))
                        .afterInitialized()
                        .build());
                cache.start();
                check(initialized.await(10, TimeUnit.SECONDS), "initialized");
                equal(cache.get("/cache/curator/old").get().getData(), "0".getBytes(), "what was there");
                writer.create().forPath("/cache/curator/a", "1".getBytes());
                equal(next(events), "+ /cache/curator/a 1", "event");
                writer.create().forPath("/cache/curator/a/b", "2".getBytes());
                equal(next(events), "+ /cache/curator/a/b 2", "event");
                writer.setData().forPath("/cache/curator/a", "3".getBytes());
                equal(next(events), "= /cache/curator/a 3", "event");
                writer.delete().forPath("/cache/curator/a/b");
                equal(next(events), "- /cache/curator/a/b", "event");
                writer.delete().deletingChildrenIfNeeded().forPath("/cache/curator/a");
                equal(next(events), "- /cache/curator/a", "event");
                equal(cache.size(), 2, "size");
            }
        }
    }

    /** After any amount of change the cache is what the tree is. */
    private static void churn() throws Exception {
        try (Curators clients = new Curators(2)) {
            CuratorFramework writer = clients.get(1);
            writer.create().creatingParentsIfNeeded().forPath("/cache/churn");
            try (CuratorCache cache = CuratorCache.build(clients.get(0), "/cache/churn")) {
                cache.start();
                for (int i = 0; i < 200; i++) {
                    String path = "/cache/churn/" + i % 20;
                    if (writer.checkExists().forPath(path) == null) {
                        writer.create().forPath(path, String.valueOf(i).getBytes());
                    } else if (i % 3 == 0) {
                        writer.delete().forPath(path);
                    } else {
                        writer.setData().forPath(path, String.valueOf(i).getBytes());
                    }
                }
                writer.create().forPath("/cache/churn/last", "last".getBytes());
                eventually(20, "the last change cached", () -> cache.get("/cache/churn/last").isPresent());
                List<String> children = writer.getChildren().forPath("/cache/churn");
                eventually(10, "same size", () -> cache.size() == children.size() + 1);
                for (String child : children) {
                    byte[] data = writer.getData().forPath("/cache/churn/" + child);
                    eventually(10, "same data", () -> java.util.Arrays.equals(
                            cache.get("/cache/churn/" + child).orElseThrow().getData(), data));
                }
            }
        }
    }

    private static void nodeCache() throws Exception {
        try (Curators clients = new Curators(2); NodeCache cache = new NodeCache(clients.get(0), "/cache/node")) {
            cache.start(true);
            equal(cache.getCurrentData(), null, "before it is made");
            clients.get(1).create().creatingParentsIfNeeded().forPath("/cache/node", "1".getBytes());
            eventually(5, "made", () -> cache.getCurrentData() != null
                    && new String(cache.getCurrentData().getData()).equals("1"));
            clients.get(1).setData().forPath("/cache/node", "2".getBytes());
            eventually(5, "changed", () -> new String(cache.getCurrentData().getData()).equals("2"));
            equal(cache.getCurrentData().getStat().getVersion(), 1, "version");
            clients.get(1).delete().forPath("/cache/node");
            eventually(5, "deleted", () -> cache.getCurrentData() == null);
        }
    }

    private static void pathChildrenCache() throws Exception {
        try (Curators clients = new Curators(2);
                PathChildrenCache cache = new PathChildrenCache(clients.get(0), "/cache/path", true)) {
            clients.get(1).create().creatingParentsIfNeeded().forPath("/cache/path/old", "0".getBytes());
            BlockingQueue<String> events = new LinkedBlockingQueue<>();
            cache.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
            cache.getListenable().addListener((client, event) -> {
                if (event.getData() != null) {
                    events.add(event.getType() + " " + event.getData().getPath());
                }
            });
            equal(cache.getCurrentData().size(), 1, "what was there");
            clients.get(1).create().forPath("/cache/path/new", "1".getBytes());
            equal(next(events), "CHILD_ADDED /cache/path/new", "event");
            clients.get(1).setData().forPath("/cache/path/old", "2".getBytes());
            equal(next(events), "CHILD_UPDATED /cache/path/old", "event");
            clients.get(1).delete().forPath("/cache/path/new");
            equal(next(events), "CHILD_REMOVED /cache/path/new", "event");
            equal(cache.getCurrentData("/cache/path/old").getData(), "2".getBytes(), "data");
        }
    }

    private static void treeCache() throws Exception {
        try (Curators clients = new Curators(2); TreeCache cache = new TreeCache(clients.get(0), "/cache/tree")) {
            clients.get(1).create().creatingParentsIfNeeded().forPath("/cache/tree/a/b/c", "1".getBytes());
            CountDownLatch initialized = new CountDownLatch(1);
            cache.getListenable().addListener((client, event) -> {
                if (event.getType() == org.apache.curator.framework.recipes.cache.TreeCacheEvent.Type.INITIALIZED) {
                    initialized.countDown();
                }
            });
            cache.start();
            check(initialized.await(10, TimeUnit.SECONDS), "initialized");
            equal(cache.getCurrentData("/cache/tree/a/b/c").getData(), "1".getBytes(), "what was there");
            clients.get(1).create().forPath("/cache/tree/a/d", "2".getBytes());
            eventually(5, "made", () -> cache.getCurrentData("/cache/tree/a/d") != null);
            clients.get(1).delete().deletingChildrenIfNeeded().forPath("/cache/tree/a/b");
            eventually(5, "deleted", () -> cache.getCurrentData("/cache/tree/a/b") == null);
            eventually(5, "children", () -> cache.getCurrentChildren("/cache/tree/a").keySet()
                    .equals(java.util.Set.of("d")));
        }
    }
}
