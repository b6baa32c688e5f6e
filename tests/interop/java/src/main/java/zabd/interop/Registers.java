package zabd.interop;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/**
 * Reads, writes, and compares and sets znodes, and writes down what it was told and when.
 *
 * <p>Arguments: HOSTS FILE CLIENTS FIRST, as for kazoo/registers.py, which does the same.
 */
public final class Registers {
    private static final int REGISTERS = 3;
    private static final int TIMEOUT_MS = 6000;

    private static volatile int page;
    private static volatile boolean stop;

    private final String hosts;
    private final int number;
    private final Random random;
    private final Map<String, Integer> known = new HashMap<>();
    private final List<String> operations = new ArrayList<>();
    private ZooKeeper zk;
    private int written;

    private Registers(String hosts, int number) {
        this.hosts = hosts;
        this.number = number;
        this.random = new Random(number);
    }

    public static void main(String[] arguments) throws Exception {
        List<Registers> clients = new ArrayList<>();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < Integer.parseInt(arguments[2]); i++) {
            Registers client = new Registers(arguments[0], Integer.parseInt(arguments[3]) + i);
            clients.add(client);
            threads.add(new Thread(client::run));
        }
        threads.forEach(Thread::start);
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            page = Integer.parseInt(line);
        }
        stop = true;
        List<String> history = new ArrayList<>();
        for (int i = 0; i < clients.size(); i++) {
            threads.get(i).join();
            history.addAll(clients.get(i).operations);
        }
        Files.write(Path.of(arguments[1]), history);
    }

    private void run() {
        try {
            while (!stop) {
                if (zk == null || !zk.getState().isAlive()) {
                    zk = new ZooKeeper(hosts, TIMEOUT_MS, event -> {});
                }
                if (zk.getState().isConnected()) {
                    operate("/registers/" + page + "-" + random.nextInt(REGISTERS));
                }
                Thread.sleep(10);
            }
            zk.close();
        } catch (Exception e) {
            // A history that ends early would pass for a good one.
            e.printStackTrace();
            Runtime.getRuntime().halt(1);
        }
    }

    private void operate(String key) throws Exception {
        int choice = random.nextInt(10);
        String op = choice < 4 ? "read" : choice < 8 && known.containsKey(key) ? "cas" : "write";
        int expected = op.equals("cas") ? known.get(key) : 0;
        String value = op.equals("read") ? "" : number + "." + ++written;
        String outcome = "unknown";
        int version = 0;
        long call = System.nanoTime();
        try {
            if (op.equals("read")) {
                CompletableFuture<Integer> synced = new CompletableFuture<>();
                zk.sync(key, (code, path, context) -> synced.complete(code), null);
                Stat stat = new Stat();
                value = new String(zk.getData(key, false, stat), StandardCharsets.UTF_8);
                if (synced.get(10, TimeUnit.SECONDS) != KeeperException.Code.OK.intValue()) {
                    return;
                }
                version = stat.getVersion();
            } else {
                byte[] bytes = value.getBytes(StandardCharsets.UTF_8);
                version = zk.setData(key, bytes, op.equals("cas") ? expected : -1).getVersion();
            }
            outcome = "done";
            known.put(key, version);
        } catch (KeeperException.BadVersionException e) {
            outcome = "refused";
            known.remove(key);
        } catch (KeeperException.NoNodeException e) {
            throw e;
        } catch (KeeperException e) {
            // Nobody knows; the client finds another server, or the next round a new session.
            if (op.equals("read")) {
                return;
            }
        }
        operations.add("{\"client\":" + number + ",\"key\":\"" + key + "\",\"op\":\"" + op + "\",\"if\":"
                + expected + ",\"value\":\"" + value + "\",\"version\":" + version + ",\"outcome\":\""
                + outcome + "\",\"call\":" + call + ",\"return\":" + System.nanoTime() + "}");
    }
}
