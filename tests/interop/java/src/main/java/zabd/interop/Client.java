package zabd.interop;

import java.io.IOException;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooKeeper;

/** A stock client whose session events are kept. */
final class Client implements AutoCloseable {
    final ZooKeeper zk;
    final Events session = new Events();

    Client(int timeoutMs) throws Exception {
        zk = open(timeoutMs, session);
        Harness.eventually(15, "connected", () -> zk.getState().isConnected());
    }

    private static ZooKeeper open(int timeoutMs, Watcher watcher) throws IOException {
        return new ZooKeeper(Harness.ADDRESS, timeoutMs, watcher);
    }

    @Override
    public void close() throws InterruptedException {
        zk.close();
    }

    /** A watcher that keeps what it is told. */
    static final class Events implements Watcher {
        private final BlockingQueue<WatchedEvent> queue = new LinkedBlockingQueue<>();

        @Override
        public void process(WatchedEvent event) {
            queue.add(event);
        }

        /** The next event about a znode, as `Type path`. Session events are passed over. */
        String next() throws InterruptedException {
            while (true) {
                WatchedEvent event = queue.poll(5, TimeUnit.SECONDS);
                if (event == null) {
                    return "nothing";
                }
                if (event.getType() != Watcher.Event.EventType.None) {
                    return event.getType() + " " + event.getPath();
                }
            }
        }

        /** Checks that no event about a znode has come or comes soon. */
        void silent(String what) throws InterruptedException {
            long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(300);
            while (true) {
                long left = deadline - System.nanoTime();
                WatchedEvent event = queue.poll(Math.max(left, 0), TimeUnit.NANOSECONDS);
                if (event == null) {
                    return;
                }
                Harness.check(event.getType() == Watcher.Event.EventType.None, what + ": " + event);
            }
        }
    }
}
