import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Comparator;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.zookeeper.data.Stat;

/**
 * Holds something of Curator's again and again, and writes down when.
 *
 * <p>Arguments: HOSTS KIND PATH ROUNDS FILE NAME, as for contend.py. KIND is lock, read, write, semaphore (of two),
 * latch or selector.
 */
public final class Contend {
    private static final int HOLD_MS = 10;
    private static final int FAILURES_MAX = 100;

    private static CuratorFramework client;
    private static String path;
    private static Path log;
    private static String name;

    public static void main(String[] arguments) throws Exception {
        connect(arguments[0]);
        String kind = arguments[1];
        path = arguments[2];
        log = Path.of(arguments[4]);
        name = arguments[5];
        int failures = 0;
        int left = Integer.parseInt(arguments[3]);
        while (left > 0) {
            try {
                once(kind);
                left--;
            } catch (Exception e) {
                // Begun again with a new session: the connection or the session is lost.
                if (++failures > FAILURES_MAX) {
                    throw e;
                }
                client.close();
                connect(arguments[0]);
            }
        }
        client.close();
    }

    private static void connect(String hosts) {
        client = Clients.start(hosts, 4_000, 10_000, 20);
    }

    private static void once(String kind) throws Exception {
        switch (kind) {
            case "lock" -> held(new InterProcessMutex(client, path), "lock-", "w");
            case "read" -> held(new InterProcessReadWriteLock(client, path).readLock(), null, "r");
            case "write" -> held(new InterProcessReadWriteLock(client, path).writeLock(), "__WRIT__", "w");
            case "semaphore" -> {
                InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(client, path, 2);
                Lease lease = semaphore.acquire();
                hold(0, "w");
                semaphore.returnLease(lease);
            }
            case "latch" -> {
                try (LeaderLatch latch = new LeaderLatch(client, path, name)) {
                    latch.start();
                    latch.await();
                    hold(lowest("latch-"), "w");
                }
            }
            case "selector" -> {
                java.util.concurrent.CountDownLatch done = new java.util.concurrent.CountDownLatch(1);
                LeaderSelector selector = new LeaderSelector(client, path, new LeaderSelectorListenerAdapter() {
                    @Override
                    public void takeLeadership(CuratorFramework framework) throws Exception {
                        hold(lowest("lock-"), "w");
                        done.countDown();
                    }
                });
                selector.setId(name);
                selector.start();
                if (!done.await(120, TimeUnit.SECONDS)) {
                    throw new IllegalStateException("never leader");
                }
                selector.close();
            }
            default -> throw new IllegalArgumentException(kind);
        }
    }

    private static void held(InterProcessLock lock, String mark, String kind) throws Exception {
        lock.acquire();
        try {
            hold(mark == null ? 0 : lowest(mark), kind);
        } finally {
            lock.release();
        }
    }

    /** The transaction that made the first in line: who holds it asks. */
    private static long lowest(String mark) throws Exception {
        String first = client.getChildren().forPath(path).stream()
                .filter(node -> node.contains(mark))
                .min(Comparator.comparing((String node) -> node.substring(node.length() - 10)))
                .orElseThrow();
        Stat stat = client.checkExists().forPath(path + "/" + first);
        if (stat.getEphemeralOwner() != client.getZookeeperClient().getZooKeeper().getSessionId()) {
            throw new IllegalStateException("the session was lost meanwhile");
        }
        return stat.getCzxid();
    }

    private static void hold(long token, String kind) throws Exception {
        append("enter " + name + " " + token + " " + kind);
        Thread.sleep(HOLD_MS);
        append("leave " + name + " " + token + " " + kind);
    }

    private static void append(String line) throws Exception {
        byte[] bytes = (line + "\n").getBytes(StandardCharsets.UTF_8);
        Files.write(log, bytes, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }
}
