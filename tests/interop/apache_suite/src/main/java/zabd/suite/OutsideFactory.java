package zabd.suite;

import java.io.File;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.apache.zookeeper.server.ServerCnxn;
import org.apache.zookeeper.server.ServerCnxnFactory;
import org.apache.zookeeper.server.ZooKeeperServer;

/**
 * In place of ZooKeeper's own: the start of its server is that of a process. The server
 * object that a test has made is not started; it only says what the process's zoo.cfg is to be.
 */
public final class OutsideFactory extends ServerCnxnFactory {
    private InetSocketAddress address;
    private int backlog = -1;
    private int perHost;
    private ServerProcess process;

    @Override
    public void configure(InetSocketAddress address, int perHost, int backlog, boolean secure) throws IOException {
        this.address = address;
        if (address.getPort() == 0) {
            // The test asks for the port before there is a process to choose one.
            try (ServerSocket free = new ServerSocket(0)) {
                this.address = new InetSocketAddress(address.getAddress(), free.getLocalPort());
            }
        }
        this.perHost = perHost;
        this.backlog = backlog;
        this.secure = secure;
        initMaxCnxns();
    }

    @Override
    public synchronized void startup(ZooKeeperServer server, boolean start) throws IOException {
        setZooKeeperServer(server);
        if (!start) {
            return;
        }
        File data = server.getTxnLogFactory().getSnapDir().getParentFile();
        File log = server.getTxnLogFactory().getDataLogDir().getParentFile();
        StringBuilder lines = new StringBuilder();
        lines.append("dataDir=").append(data).append('\n');
        lines.append("dataLogDir=").append(log).append('\n');
        lines.append("tickTime=").append(server.getTickTime()).append('\n');
        lines.append("minSessionTimeout=").append(server.getMinSessionTimeout()).append('\n');
        lines.append("maxSessionTimeout=").append(server.getMaxSessionTimeout()).append('\n');
        lines.append(clientLines());
        Path config = data.toPath().resolve("zoo.cfg");
        Files.writeString(config, lines);
        process = new ServerProcess(config, address.getPort());
    }

    /** The lines of zoo.cfg that this factory has been configured with. */
    String clientLines() {
        StringBuilder lines = new StringBuilder();
        lines.append("clientPort=").append(address.getPort()).append('\n');
        if (!address.getAddress().isAnyLocalAddress()) {
            lines.append("clientPortAddress=").append(address.getAddress().getHostAddress()).append('\n');
        }
        // Java takes -1, too, for no limit.
        lines.append("maxClientCnxns=").append(Math.max(0, perHost)).append('\n');
        if (backlog > 0) {
            lines.append("clientPortListenBacklog=").append(backlog).append('\n');
        }
        return lines.toString();
    }

    @Override
    public synchronized void shutdown() {
        if (process != null) {
            process.stop();
            process = null;
        }
    }

    @Override
    public void reconfigure(InetSocketAddress address) {
        this.address = address;
    }

    @Override
    public int getLocalPort() {
        return address.getPort();
    }

    @Override
    public InetSocketAddress getLocalAddress() {
        return address;
    }

    @Override
    public int getMaxClientCnxnsPerHost() {
        return perHost;
    }

    @Override
    public void setMaxClientCnxnsPerHost(int max) {
        perHost = max;
    }

    @Override
    public int getSocketListenBacklog() {
        return backlog;
    }

    @Override
    public void start() {}

    @Override
    public void join() throws InterruptedException {
        ServerProcess current = process;
        if (current != null) {
            current.join();
        }
    }

    @Override
    public Iterable<ServerCnxn> getConnections() {
        throw new LooksInside("connections");
    }

    @Override
    public void closeAll(ServerCnxn.DisconnectReason reason) {
        throw new LooksInside("connections");
    }

    @Override
    public void resetAllConnectionStats() {
        throw new LooksInside("connections");
    }

    @Override
    public Iterable<Map<String, Object>> getAllConnectionInfo(boolean brief) {
        return List.of();
    }
}
