package zabd.interop;

import static zabd.interop.Harness.check;
import static zabd.interop.Harness.equal;
import static zabd.interop.Harness.eventually;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.atomic.PromotedToLock;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.queue.DistributedDelayQueue;
import org.apache.curator.framework.recipes.queue.DistributedIdQueue;
import org.apache.curator.framework.recipes.queue.DistributedPriorityQueue;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryNTimes;

/** Curator's barriers, queues and counters. */
final class CoordinationTests {
    private CoordinationTests() {}

    static void run() {
        Harness.test("curator-barrier", 30, CoordinationTests::barrier);
        Harness.test("curator-double-barrier", 30, CoordinationTests::doubleBarrier);
        Harness.test("curator-queue", 60, CoordinationTests::queue);
        Harness.test("curator-queue-with-lock", 60, CoordinationTests::queueWithLock);
        Harness.test("curator-id-queue", 30, CoordinationTests::idQueue);
        Harness.test("curator-priority-queue", 30, CoordinationTests::priorityQueue);
        Harness.test("curator-delay-queue", 30, CoordinationTests::delayQueue);
        Harness.test("curator-simple-queue", 30, CoordinationTests::simpleQueue);
        Harness.test("curator-shared-count", 30, CoordinationTests::sharedCount);
        Harness.test("curator-atomic-long", 60, CoordinationTests::atomicLong);
    }

    private static void barrier() throws Exception {
        try (Curators clients = new Curators(3)) {
            DistributedBarrier barrier = new DistributedBarrier(clients.get(0), "/barriers/single");
            barrier.setBarrier();
            List<Future<Boolean>> waiting = new ArrayList<>();
            for (int i = 1; i < 3; i++) {
                DistributedBarrier mine = new DistributedBarrier(clients.get(i), "/barriers/single");
                waiting.add(Harness.beside(() -> mine.waitOnBarrier(20, TimeUnit.SECONDS)));
            }
            Thread.sleep(300);
            for (Future<Boolean> future : waiting) {
                check(!future.isDone(), "held back");
            }
            barrier.removeBarrier();
            for (Future<Boolean> future : waiting) {
                equal(future.get(10, TimeUnit.SECONDS), true, "let through");
            }
        }
    }

    private static void doubleBarrier() throws Exception {
        int members = 4;
        try (Curators clients = new Curators(members)) {
            AtomicInteger entered = new AtomicInteger();
            AtomicInteger leaving = new AtomicInteger();
            List<Future<Void>> workers = new ArrayList<>();
            for (int i = 0; i < members; i++) {
                int me = i;
                workers.add(Harness.beside(() -> {
                    Thread.sleep(me * 100);
                    DistributedDoubleBarrier barrier =
                            new DistributedDoubleBarrier(clients.get(me), "/barriers/double", members);
                    entered.incrementAndGet();
                    check(barrier.enter(20, TimeUnit.SECONDS), "entered");
                    equal(entered.get(), members, "members that had arrived when one was let in");
                    Thread.sleep(me * 100);
                    leaving.incrementAndGet();
                    check(barrier.leave(20, TimeUnit.SECONDS), "left");
                    equal(leaving.get(), members, "members that were leaving when one was let out");
                    return null;
                }));
            }
            for (Future<Void> worker : workers) {
                worker.get(25, TimeUnit.SECONDS);
            }
        }
    }

    /** Collects what a queue hands out. */
    private static final class Consumer implements QueueConsumer<String> {
        final List<String> taken = Collections.synchronizedList(new ArrayList<>());

        @Override
        public void consumeMessage(String message) {
            taken.add(message);
        }

        @Override
        public void stateChanged(CuratorFramework client, ConnectionState state) {}
    }

    private static final QueueSerializer<String> TEXT = new QueueSerializer<>() {
        @Override
        public byte[] serialize(String item) {
            return item.getBytes();
        }

        @Override
        public String deserialize(byte[] bytes) {
            return new String(bytes);
        }
    };

    private static List<String> numbers(int count) {
        List<String> numbers = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            numbers.add(String.valueOf(i));
        }
        return numbers;
    }

    private static void queue() throws Exception {
        try (Curators clients = new Curators(2)) {
            Consumer consumer = new Consumer();
            try (DistributedQueue<String> reader =
                            QueueBuilder.builder(clients.get(0), consumer, TEXT, "/queues/plain").buildQueue();
                    DistributedQueue<String> writer =
                            QueueBuilder.builder(clients.get(1), null, TEXT, "/queues/plain").buildQueue()) {
                reader.start();
                writer.start();
                for (String item : numbers(100)) {
                    writer.put(item);
                }
                eventually(30, "all taken", () -> consumer.taken.size() >= 100);
                check(writer.flushPuts(5, TimeUnit.SECONDS), "flushed");
                equal(new HashSet<>(consumer.taken), new HashSet<>(numbers(100)), "items");
                equal(consumer.taken.size(), 100, "each once");
            }
        }
    }

    /** Two readers of one queue with locks: each item is handed out once. */
    private static void queueWithLock() throws Exception {
        try (Curators clients = new Curators(3)) {
            Consumer first = new Consumer();
            Consumer second = new Consumer();
            try (DistributedQueue<String> a = QueueBuilder.builder(clients.get(0), first, TEXT, "/queues/locked")
                            .lockPath("/queues/locked-locks").buildQueue();
                    DistributedQueue<String> b = QueueBuilder.builder(clients.get(1), second, TEXT, "/queues/locked")
                            .lockPath("/queues/locked-locks").buildQueue();
                    DistributedQueue<String> writer =
                            QueueBuilder.builder(clients.get(2), null, TEXT, "/queues/locked").buildQueue()) {
                a.start();
                b.start();
                writer.start();
                for (String item : numbers(60)) {
                    writer.put(item);
                }
                eventually(40, "all taken", () -> first.taken.size() + second.taken.size() >= 60);
                Set<String> all = new HashSet<>(first.taken);
                all.addAll(second.taken);
                equal(all, new HashSet<>(numbers(60)), "items");
                equal(first.taken.size() + second.taken.size(), 60, "each once");
            }
        }
    }

    private static void idQueue() throws Exception {
        try (Curators clients = new Curators(1);
                DistributedIdQueue<String> queue =
                        QueueBuilder.builder(clients.get(0), null, TEXT, "/queues/id").buildIdQueue()) {
            queue.start();
            queue.put("one", "id-1");
            queue.put("two", "id-2");
            check(queue.flushPuts(10, TimeUnit.SECONDS), "flushed");
            equal(queue.remove("id-1"), 1, "removed by its id");
            equal(clients.get(0).getChildren().forPath("/queues/id").size(), 1, "items left");
        }
    }

    private static void priorityQueue() throws Exception {
        try (Curators clients = new Curators(1)) {
            try (DistributedPriorityQueue<String> writer =
                    QueueBuilder.builder(clients.get(0), null, TEXT, "/queues/priority").buildPriorityQueue(0)) {
                writer.start();
                writer.put("late", 10);
                writer.put("early", 1);
                writer.put("middle", 5);
                check(writer.flushPuts(10, TimeUnit.SECONDS), "flushed");
            }
            Consumer consumer = new Consumer();
            try (DistributedPriorityQueue<String> reader =
                    QueueBuilder.builder(clients.get(0), consumer, TEXT, "/queues/priority").buildPriorityQueue(0)) {
                reader.start();
                eventually(15, "all taken", () -> consumer.taken.size() == 3);
            }
            equal(consumer.taken, List.of("early", "middle", "late"), "order");
        }
    }

    private static void delayQueue() throws Exception {
        try (Curators clients = new Curators(1)) {
            Consumer consumer = new Consumer();
            try (DistributedDelayQueue<String> queue =
                    QueueBuilder.builder(clients.get(0), consumer, TEXT, "/queues/delay").buildDelayQueue()) {
                queue.start();
                long now = System.currentTimeMillis();
                queue.put("second", now + 2_000);
                queue.put("first", now + 1_000);
                Thread.sleep(500);
                equal(consumer.taken.size(), 0, "taken before their time");
                eventually(15, "all taken", () -> consumer.taken.size() == 2);
                check(System.currentTimeMillis() >= now + 2_000, "not before their time");
                equal(consumer.taken, List.of("first", "second"), "order");
            }
        }
    }

    @SuppressWarnings("deprecation")
    private static void simpleQueue() throws Exception {
        try (Curators clients = new Curators(2)) {
            SimpleDistributedQueue writer = new SimpleDistributedQueue(clients.get(0), "/queues/simple");
            SimpleDistributedQueue reader = new SimpleDistributedQueue(clients.get(1), "/queues/simple");
            for (String item : numbers(10)) {
                check(writer.offer(item.getBytes()), "offered");
            }
            equal(reader.peek(), "0".getBytes(), "head");
            for (String item : numbers(10)) {
                equal(reader.take(), item.getBytes(), "in order");
            }
            equal(reader.poll(), null, "empty");
            Future<byte[]> waiting = Harness.beside(() -> reader.poll(10, TimeUnit.SECONDS));
            Thread.sleep(200);
            writer.offer("late".getBytes());
            equal(waiting.get(10, TimeUnit.SECONDS), "late".getBytes(), "a waiting reader is woken");
        }
    }

    private static void sharedCount() throws Exception {
        try (Curators clients = new Curators(2);
                SharedCount mine = new SharedCount(clients.get(0), "/counts/shared", 10);
                SharedCount other = new SharedCount(clients.get(1), "/counts/shared", 10)) {
            mine.start();
            other.start();
            equal(mine.getCount(), 10, "seed");
            mine.setCount(20);
            eventually(5, "seen by the other", () -> other.getCount() == 20);
            check(other.trySetCount(other.getVersionedValue(), 30), "set at the version that was read");
            eventually(5, "seen", () -> mine.getCount() == 30);
            var old = mine.getVersionedValue();
            mine.setCount(31);
            check(!mine.trySetCount(old, 40), "not set at an older version");
        }
    }

    private static void atomicLong() throws Exception {
        try (Curators clients = new Curators(4)) {
            List<Future<Void>> workers = new ArrayList<>();
            for (int i = 0; i < 4; i++) {
                DistributedAtomicLong number = new DistributedAtomicLong(clients.get(i), "/counts/atomic",
                        new RetryNTimes(2, 1), PromotedToLock.builder().lockPath("/counts/atomic-lock")
                                .timeout(40, TimeUnit.SECONDS).retryPolicy(new RetryNTimes(100, 5)).build());
                workers.add(Harness.beside(() -> {
                    for (int round = 0; round < 50; round++) {
                        AtomicValue<Long> value = number.increment();
                        check(value.succeeded(), "increment");
                        equal(value.postValue(), value.preValue() + 1, "value");
                    }
                    return null;
                }));
            }
            for (Future<Void> worker : workers) {
                worker.get(50, TimeUnit.SECONDS);
            }
            DistributedAtomicLong number =
                    new DistributedAtomicLong(clients.get(0), "/counts/atomic", new RetryNTimes(2, 1));
            equal(number.get().postValue(), 200L, "sum");
            check(!number.compareAndSet(1L, 2L).succeeded(), "compare and set of a wrong value");
            check(number.compareAndSet(200L, 2L).succeeded(), "compare and set");
        }
    }
}
