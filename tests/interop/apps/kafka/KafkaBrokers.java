package zabd.interop;

import static zabd.interop.Harness.check;
import static zabd.interop.Harness.eventually;
import static zabd.interop.Harness.test;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.IntegerDeserializer;
import org.apache.kafka.common.serialization.IntegerSerializer;

/** Two brokers of Kafka whose cluster is kept in ZooKeeper: controller election, topics, replicas, and failures. */
final class KafkaBrokers {
    private static final String TOPIC = "numbers";
    private static final int PARTITIONS = 6;

    private final int[] ports = {0, 0};
    private final Process[] brokers = {null, null};
    private Admin admin;

    private KafkaBrokers() {}

    public static void main(String[] arguments) throws Exception {
        KafkaBrokers all = new KafkaBrokers();
        test("brokers register", 180, all::register);
        test("a topic gets partitions and replicas", 60, all::topic);
        test("records go through while the server restarts", 120, all::restartUnderLoad);
        test("partitions move from a killed broker and it comes back", 180, all::killBroker);
        test("topics are changed and deleted", 60, all::change);
        Processes.end();
    }

    private void register() throws Exception {
        for (int broker = 0; broker < brokers.length; broker++) {
            ports[broker] = Processes.freePort();
            startBroker(broker);
        }
        admin = Admin.create(Map.of("bootstrap.servers", servers(), "default.api.timeout.ms", 120_000));
        eventually(60, "both brokers", () -> admin.describeCluster().nodes().get().size() == 2);
        check(admin.describeCluster().controller().get() != null, "no controller");
    }

    private void topic() throws Exception {
        admin.createTopics(List.of(new NewTopic(TOPIC, PARTITIONS, (short) 2))).all().get();
        eventually(60, "all replicas in sync", this::inSync);
    }

    private void restartUnderLoad() throws Exception {
        Writer writer = new Writer(0, 4000);
        Harness.server("restart");
        writer.finish();
        checkRecords(4000);
    }

    private void killBroker() throws Exception {
        int victim = admin.describeCluster().controller().get().id() - 1;
        Writer writer = new Writer(4000, 8000);
        Processes.kill(brokers[victim]);
        eventually(60, "partitions led by the other", () -> partitions().stream()
                .allMatch(partition -> partition.leader() != null && partition.leader().id() == 2 - victim));
        writer.finish();
        startBroker(victim);
        eventually(60, "all replicas in sync again", this::inSync);
        checkRecords(8000);
    }

    private void change() throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, TOPIC);
        AlterConfigOp retention = new AlterConfigOp(new ConfigEntry("retention.ms", "86400000"), AlterConfigOp.OpType.SET);
        admin.incrementalAlterConfigs(Map.of(resource, List.of(retention))).all().get();
        eventually(60, "the new setting", () -> admin.describeConfigs(List.of(resource)).all().get().get(resource)
                .get("retention.ms").value().equals("86400000"));
        admin.createPartitions(Map.of(TOPIC, NewPartitions.increaseTo(PARTITIONS + 2))).all().get();
        eventually(60, "more partitions", () -> partitions().size() == PARTITIONS + 2);
        admin.deleteTopics(List.of(TOPIC)).all().get();
        eventually(60, "no topic", () -> !admin.listTopics().names().get().contains(TOPIC));
    }

    /** Writes numbers, each until every replica has it. */
    private final class Writer {
        private final AtomicReference<Exception> problem = new AtomicReference<>();
        private final AtomicInteger acknowledged = new AtomicInteger();
        private final AtomicBoolean begun = new AtomicBoolean();
        private final int count;
        private final Thread thread;

        Writer(int from, int to) throws Exception {
            count = to - from;
            thread = new Thread(() -> write(from, to));
            thread.start();
            eventually(60, "a record", begun::get);
        }

        private void write(int from, int to) {
            Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", servers(), "acks", "all",
                    "linger.ms", 0, "delivery.timeout.ms", 60_000, "request.timeout.ms", 5_000));
            try (KafkaProducer<Integer, Integer> producer =
                    new KafkaProducer<>(settings, new IntegerSerializer(), new IntegerSerializer())) {
                for (int number = from; number < to; number++) {
                    producer.send(new ProducerRecord<>(TOPIC, number, number), (metadata, e) -> {
                        begun.set(true);
                        acknowledged.addAndGet(e == null ? 1 : 0);
                        problem.compareAndSet(null, e);
                    });
                    Thread.sleep(number % 4 == 0 ? 1 : 0);
                }
            } catch (InterruptedException e) {
                problem.set(e);
            }
        }

        void finish() throws Exception {
            thread.join();
            check(problem.get() == null, "a record failed: " + problem.get());
            check(acknowledged.get() == count, acknowledged + " of " + count + " records were acknowledged");
        }
    }

    /** Every number below `count` is there, once. */
    private void checkRecords(int count) {
        BitSet seen = new BitSet();
        Map<String, Object> settings = Map.of("bootstrap.servers", servers(), "isolation.level", "read_committed");
        try (KafkaConsumer<Integer, Integer> consumer =
                new KafkaConsumer<>(settings, new IntegerDeserializer(), new IntegerDeserializer())) {
            List<TopicPartition> partitions =
                    IntStream.range(0, PARTITIONS).mapToObj(number -> new TopicPartition(TOPIC, number)).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
                consumer.poll(Duration.ofMillis(200)).forEach(record -> {
                    check(!seen.get(record.value()), record.value() + " came twice");
                    seen.set(record.value());
                });
            }
        }
        check(seen.cardinality() == count && seen.length() == count, seen.cardinality() + " records of " + count);
    }

    private List<TopicPartitionInfo> partitions() throws Exception {
        return admin.describeTopics(List.of(TOPIC)).allTopicNames().get().get(TOPIC).partitions();
    }

    private boolean inSync() throws Exception {
        return partitions().stream().allMatch(partition -> partition.isr().size() == 2);
    }

    private String servers() {
        return "127.0.0.1:" + ports[0] + ",127.0.0.1:" + ports[1];
    }

    private void startBroker(int broker) throws IOException {
        Path file = Processes.DIRECTORY.resolve("broker" + broker + ".properties");
        Files.write(file, List.of(
                "broker.id=" + (broker + 1),
                "listeners=PLAINTEXT://127.0.0.1:" + ports[broker],
                "log.dirs=" + Processes.DIRECTORY.resolve("broker" + broker),
                "zookeeper.connect=" + Harness.ADDRESS + "/kafka",
                "zookeeper.session.timeout.ms=6000",
                "offsets.topic.replication.factor=1",
                "auto.create.topics.enable=false"));
        brokers[broker] = Processes.start("broker" + broker, List.of("-Xmx400m"), "kafka.Kafka", file.toString());
    }
}
