package zabd.interop;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.RetryNTimes;

/** Several Curator clients, each with a session of its own, closed together. */
final class Curators implements AutoCloseable {
    private final List<CuratorFramework> clients = new ArrayList<>();

    Curators(int count) throws Exception {
        this(count, 20_000);
    }

    Curators(int count, int sessionTimeoutMs) throws Exception {
        for (int i = 0; i < count; i++) {
            CuratorFramework client = CuratorFrameworkFactory.builder()
                    .connectString(Harness.ADDRESS)
                    .sessionTimeoutMs(sessionTimeoutMs)
                    .connectionTimeoutMs(10_000)
                    .retryPolicy(new RetryNTimes(20, 200))
                    .build();
            client.start();
            clients.add(client);
            Harness.check(client.blockUntilConnected(10, TimeUnit.SECONDS), "Curator connected");
        }
    }

    CuratorFramework get(int index) {
        return clients.get(index);
    }

    long session(int index) throws Exception {
        return get(index).getZookeeperClient().getZooKeeper().getSessionId();
    }

    @Override
    public void close() {
        clients.forEach(CuratorFramework::close);
    }
}
