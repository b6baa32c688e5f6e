import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.concurrent.Semaphore;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.api.CuratorWatcher;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.data.Stat;

/**
 * Follows a namespace of the configuration centre, as docs/config-centre.md says.
 *
 * <p>Arguments: HOSTS NODE INSTANCE KEY FILE [ADDRESS [NAME=VALUE...]], as for follow.py.
 */
public final class Follow {
    public static void main(String[] arguments) throws Exception {
        String node = arguments[1];
        String instance = arguments[2];
        String address = arguments.length > 5 ? arguments[5] : "";
        List<String> labels = List.of(arguments).subList(Math.min(6, arguments.length), arguments.length);
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
                    if (applies(grey.remove("rule"), instance, address, labels)) {
                        document = grey;
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
                ObjectNode held = json.createObjectNode().put("address", address);
                held.set("revision", document.get("revision"));
                ObjectNode named = held.putObject("labels");
                for (String label : labels) {
                    named.put(label.substring(0, label.indexOf('=')), label.substring(label.indexOf('=') + 1));
                }
                byte[] holder = json.writeValueAsBytes(held);
                hold(client, holders, holder);
            }
            changed.acquire();
        }
    }

    /** Tells the others, by a node of this session: one of an earlier run would go with that. */
    private static void hold(CuratorFramework client, String node, byte[] holder) throws Exception {
        Stat stat = client.checkExists().forPath(node);
        long session = client.getZookeeperClient().getZooKeeper().getSessionId();
        if (stat != null && stat.getEphemeralOwner() == session) {
            client.setData().forPath(node, holder);
            return;
        }
        if (stat != null) {
            client.delete().forPath(node);
        }
        client.create().creatingParentsIfNeeded().withMode(CreateMode.EPHEMERAL).forPath(node, holder);
    }

    /** Whether a grey release is for this instance; what is not in the rule is for nobody. */
    private static boolean applies(JsonNode rule, String instance, String address, List<String> labels) {
        boolean applies = has(rule, "instances", instance) || !address.isEmpty() && has(rule, "addresses", address);
        for (String label : labels) {
            applies |= has(rule, "labels", label);
        }
        return applies;
    }

    private static boolean has(JsonNode rule, String field, String wanted) {
        for (JsonNode one : rule.path(field)) {
            if (one.asText().equals(wanted)) {
                return true;
            }
        }
        return false;
    }
}
