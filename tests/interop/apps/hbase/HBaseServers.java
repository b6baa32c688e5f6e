package zabd.interop;

import static zabd.interop.Harness.check;
import static zabd.interop.Harness.eventually;
import static zabd.interop.Harness.test;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hbase.HBaseConfiguration;
import org.apache.hadoop.hbase.ServerName;
import org.apache.hadoop.hbase.TableName;
import org.apache.hadoop.hbase.client.Admin;
import org.apache.hadoop.hbase.client.ColumnFamilyDescriptorBuilder;
import org.apache.hadoop.hbase.client.Connection;
import org.apache.hadoop.hbase.client.ConnectionFactory;
import org.apache.hadoop.hbase.client.Get;
import org.apache.hadoop.hbase.client.Put;
import org.apache.hadoop.hbase.client.Table;
import org.apache.hadoop.hbase.client.TableDescriptorBuilder;
import org.apache.hadoop.hbase.util.Bytes;

/** Masters and region servers of HBase that find each other, elect and recover through ZooKeeper. */
final class HBaseServers {
    private static final TableName TABLE = TableName.valueOf("numbers");
    private static final byte[] FAMILY = Bytes.toBytes("f");
    private static final byte[][] SPLITS = {Bytes.toBytes("250"), Bytes.toBytes("500"), Bytes.toBytes("750")};

    private final Map<Integer, Process> masters = new TreeMap<>();
    private final Map<Integer, Process> regionServers = new TreeMap<>();
    private final List<String> options = new ArrayList<>(List.of("-Xmx500m"));
    private Connection connection;

    private HBaseServers() {}

    public static void main(String[] arguments) throws Exception {
        HBaseServers all = new HBaseServers();
        test("servers find each other", 180, all::start);
        test("rows are written and read", 120, all::rows);
        test("the cluster lives through a restart of the server", 120, all::restart);
        test("regions move from a killed server", 180, all::killRegionServer);
        test("another master takes over from a killed one", 180, all::killMaster);
        Processes.end();
    }

    private void start() throws Exception {
        for (String name : List.of("java.lang", "java.lang.reflect", "java.nio", "java.util", "java.util.concurrent",
                "jdk.internal.ref", "sun.nio.ch")) {
            options.add("--add-opens=java.base/" + name + "=ALL-UNNAMED");
        }
        options.add("--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED");
        options.add("--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED");
        Configuration configuration = HBaseConfiguration.create();
        settings().forEach(configuration::set);
        startMaster();
        startRegionServer();
        connection = ConnectionFactory.createConnection(configuration);
        eventually(120, "a region server", () -> admin(admin -> admin.getRegionServers().size()) == 1);
    }

    private void rows() throws Exception {
        try (Admin admin = connection.getAdmin()) {
            admin.createTable(TableDescriptorBuilder.newBuilder(TABLE)
                    .setColumnFamily(ColumnFamilyDescriptorBuilder.of(FAMILY)).build(), SPLITS);
        }
        put(0, 500);
        checkRows(500);
    }

    private void restart() throws Exception {
        Harness.server("restart");
        put(500, 1000);
        checkRows(1000);
        try (Admin admin = connection.getAdmin()) {
            admin.disableTable(TABLE);
            admin.enableTable(TABLE);
        }
        checkRows(1000);
    }

    private void killRegionServer() throws Exception {
        int first = regionServers.keySet().iterator().next();
        startRegionServer();
        eventually(120, "two region servers", () -> admin(admin -> admin.getRegionServers().size()) == 2);
        try (Admin admin = connection.getAdmin()) {
            // What is only in the log of a local file system does not outlive its writer.
            admin.flush(TABLE);
            admin.flush(TableName.META_TABLE_NAME);
        }
        Processes.kill(regionServers.remove(first));
        eventually(120, "the other region server alone", () -> {
            List<ServerName> servers = admin(admin -> new ArrayList<>(admin.getRegionServers()));
            return servers.size() == 1 && admin(admin -> admin.getRegions(servers.get(0)).size()) >= SPLITS.length + 2;
        });
        checkRows(1000);
    }

    private void killMaster() throws Exception {
        int first = masters.keySet().iterator().next();
        ServerName active = admin(Admin::getMaster);
        startMaster();
        eventually(120, "a master that waits", () -> admin(admin -> admin.getBackupMasters().size()) == 1);
        Processes.kill(masters.remove(first));
        eventually(120, "another master", () -> {
            try {
                return !admin(Admin::getMaster).equals(active);
            } catch (IOException e) {
                return false;
            }
        });
        put(1000, 1100);
        checkRows(1100);
    }

    private interface Question<T> {
        T ask(Admin admin) throws IOException;
    }

    private <T> T admin(Question<T> question) throws IOException {
        try (Admin admin = connection.getAdmin()) {
            return question.ask(admin);
        }
    }

    private void put(int from, int to) throws IOException {
        try (Table table = connection.getTable(TABLE)) {
            for (int number = from; number < to; number++) {
                table.put(new Put(row(number)).addColumn(FAMILY, null, Bytes.toBytes(number)));
            }
        }
    }

    private void checkRows(int count) throws IOException {
        try (Table table = connection.getTable(TABLE)) {
            for (int number = 0; number < count; number++) {
                byte[] value = table.get(new Get(row(number))).getValue(FAMILY, null);
                check(value != null && Bytes.toInt(value) == number, "row " + number + " is lost");
            }
        }
    }

    private static byte[] row(int number) {
        return Bytes.toBytes(String.format("%03d", number));
    }

    private static Map<String, String> settings() {
        String[] address = Harness.ADDRESS.split(":");
        return new TreeMap<>(Map.of(
                "hbase.cluster.distributed", "true",
                "hbase.rootdir", Processes.DIRECTORY.resolve("data").toUri().toString(),
                "hbase.unsafe.stream.capability.enforce", "false",
                "hbase.wal.provider", "filesystem",
                "hbase.zookeeper.quorum", address[0],
                "hbase.zookeeper.property.clientPort", address[1],
                "zookeeper.session.timeout", "10000",
                "hbase.master.info.port", "-1",
                "hbase.regionserver.info.port", "-1"));
    }

    private void startMaster() throws IOException {
        start("master", masters, "org.apache.hadoop.hbase.master.HMaster", "hbase.master.port");
    }

    private void startRegionServer() throws IOException {
        start("regionserver", regionServers, "org.apache.hadoop.hbase.regionserver.HRegionServer",
                "hbase.regionserver.port");
    }

    private void start(String name, Map<Integer, Process> processes, String main, String portSetting) throws IOException {
        int port = Processes.freePort();
        List<String> arguments = new ArrayList<>();
        settings().forEach((key, value) -> arguments.addAll(List.of("-D", key + "=" + value)));
        arguments.addAll(List.of("-D", portSetting + "=" + port, "start"));
        processes.put(port, Processes.start(name + port, options, main, arguments.toArray(String[]::new)));
    }
}
