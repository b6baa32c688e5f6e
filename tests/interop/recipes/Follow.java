import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.Semaphore;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.api.CuratorWatcher;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;

/**
 * Follows a namespace of the configuration centre, as docs/config-centre.md says.
 *
 * <p>Arguments: HOSTS NODE INSTANCE KEY FILE, as for follow.py.
 */
public final class Follow {
    public static void main(String[] arguments) throws Exception {
        String node = arguments[1];
        String instance = arguments[2];
        String holders = node + "/holders/" + instance;
        CuratorFramework client = Clients.start(arguments[0], 10_000, 10_000, 20);
        ObjectMapper json = new ObjectMapper();
        Semaphore changed = new Semaphore(0);
        CuratorWatcher watcher = event -> changed.release();
        JsonNode taken = null;
        while (true) {
            changed.drainPermits();
            JsonNode document = null;
            if (client.checkExists().usingWatcher(watcher).forPath(node + "/grey") != null) {
                try {
                    ObjectNode grey = (ObjectNode) json.readTree(client.getData().forPath(node + "/grey"));
                    for (JsonNode name : grey.remove("rule").get("instances")) {
                        if (name.asText().equals(instance)) {
                            document = grey;
                        }
                    }
                } catch (KeeperException.NoNodeException e) {
                    // Promoted or abandoned meanwhile: the watch says so.
                }
            }
            byte[] data = client.getData().usingWatcher(watcher).forPath(node);
            if (document == null && data.length > 0) {
                document = json.readTree(data);
            }
            if (document != null && !document.equals(taken)) {
                taken = document;
                String revision = document.get("revision").asText();
                String value = document.get("values").get(arguments[3]).get("value").asText();
                Files.write(Path.of(arguments[4]), (revision + " " + value + "\n").getBytes(StandardCharsets.UTF_8),
                        StandardOpenOption.CREATE, StandardOpenOption.APPEND);
                byte[] holder = ("{\"revision\": " + revision + ", \"address\": \"\", \"labels\": {}}")
                        .getBytes(StandardCharsets.UTF_8);
                client.create().orSetData().creatingParentsIfNeeded().withMode(CreateMode.EPHEMERAL)
                        .forPath(holders, holder);
            }
            changed.acquire();
        }
    }
}
