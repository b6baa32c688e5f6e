import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.RetryNTimes;

/** Clients of Curator, as all of these programs use them. */
final class Clients {
    private Clients() {}

    /** A client that has been started; it tries again five times a second, so many times. */
    static CuratorFramework start(String hosts, int sessionTimeoutMs, int connectionTimeoutMs, int retries) {
        CuratorFramework client = CuratorFrameworkFactory.builder()
                .connectString(hosts)
                .sessionTimeoutMs(sessionTimeoutMs)
                .connectionTimeoutMs(connectionTimeoutMs)
                .retryPolicy(new RetryNTimes(retries, 200))
                .build();
        client.start();
        return client;
    }
}
