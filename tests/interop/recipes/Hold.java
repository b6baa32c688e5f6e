import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.RetryNTimes;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.data.Stat;

/**
 * Holds Curator's lock and counts with Curator's counter until its standard input ends, whatever becomes of servers.
 *
 * <p>Arguments: HOSTS LOCK COUNTER FILE NAME. What it does goes to FILE: `enter NAME` when it holds the lock and `leave
 * NAME` before it gives it up, `count NAME VALUE` when a value is its own, `kept NAME` at the end if its session and its
 * ephemeral node are those of the beginning. tests/src/holders.rs reads it; hold.c does the same.
 */
public final class Hold {
    private static final int TIMEOUT_MS = 20_000;
    private static final int HOLD_MS = 5;

    private static Path file;
    private static String name;

    public static void main(String[] arguments) throws Exception {
        file = Path.of(arguments[3]);
        name = arguments[4];
        Thread input = new Thread(Hold::drain);
        input.start();
        CuratorFramework client = Clients.start(arguments[0], TIMEOUT_MS, TIMEOUT_MS, 100);
        client.blockUntilConnected();
        long session = client.getZookeeperClient().getZooKeeper().getSessionId();
        String lives = arguments[2] + "-" + name;
        client.create().withMode(CreateMode.EPHEMERAL).forPath(lives, new byte[0]);
        long made = client.checkExists().forPath(lives).getCzxid();

        InterProcessMutex lock = new InterProcessMutex(client, arguments[1]);
        DistributedAtomicLong counter =
                new DistributedAtomicLong(client, arguments[2], new RetryNTimes(20, 20));
        while (input.isAlive()) {
            lock.acquire();
            try {
                append("enter " + name);
                Thread.sleep(HOLD_MS);
                append("leave " + name);
            } finally {
                lock.release();
            }
            AtomicValue<Long> value = counter.increment();
            if (value.succeeded()) {
                append("count " + name + " " + value.postValue());
            }
        }

        client.sync().forPath("/");
        Stat stat = client.checkExists().forPath(lives);
        boolean same = stat != null && stat.getCzxid() == made && stat.getEphemeralOwner() == session;
        if (same && client.getZookeeperClient().getZooKeeper().getSessionId() == session) {
            append("kept " + name);
        }
        client.close();
    }

    private static void drain() {
        try {
            while (System.in.read() >= 0) {
                TimeUnit.MILLISECONDS.sleep(1);
            }
        } catch (IOException | InterruptedException problem) {
            throw new IllegalStateException(problem);
        }
    }

    private static void append(String line) throws IOException {
        byte[] bytes = (line + "\n").getBytes(StandardCharsets.UTF_8);
        Files.write(file, bytes, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }
}
