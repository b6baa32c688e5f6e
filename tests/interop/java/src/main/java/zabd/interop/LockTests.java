package zabd.interop;

import static zabd.interop.Harness.check;
import static zabd.interop.Harness.equal;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMultiLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;

/** Curator's locks, by several sessions. */
final class LockTests {
    private LockTests() {}

    static void run() {
        Harness.test("curator-mutex", 60, LockTests::mutex);
        Harness.test("curator-mutex-reentrant", 30, LockTests::reentrant);
        Harness.test("curator-mutex-session-end", 30, LockTests::sessionEnd);
        Harness.test("curator-semaphore-mutex", 30, LockTests::semaphoreMutex);
        Harness.test("curator-read-write-lock", 30, LockTests::readWrite);
        Harness.test("curator-semaphore", 60, LockTests::semaphore);
        Harness.test("curator-multi-lock", 30, LockTests::multiLock);
    }

    private static void mutex() throws Exception {
        try (Curators clients = new Curators(4)) {
            AtomicInteger inside = new AtomicInteger();
            List<Future<Integer>> workers = new ArrayList<>();
            for (int i = 0; i < 4; i++) {
                InterProcessMutex lock = new InterProcessMutex(clients.get(i), "/locks/mutex");
                workers.add(Harness.beside(() -> {
                    int held = 0;
                    for (int round = 0; round < 20; round++) {
                        lock.acquire();
                        try {
                            check(inside.incrementAndGet() == 1, "two holders");
                            held++;
                            Thread.sleep(1);
                            inside.decrementAndGet();
                        } finally {
                            lock.release();
                        }
                    }
                    return held;
                }));
            }
            for (Future<Integer> worker : workers) {
                equal(worker.get(50, TimeUnit.SECONDS), 20, "times held");
            }
            equal(clients.get(0).getChildren().forPath("/locks/mutex").size(), 0, "left-over lock nodes");
        }
    }

    private static void reentrant() throws Exception {
        try (Curators clients = new Curators(2)) {
            InterProcessMutex mine = new InterProcessMutex(clients.get(0), "/locks/reentrant");
            InterProcessMutex other = new InterProcessMutex(clients.get(1), "/locks/reentrant");
            mine.acquire();
            mine.acquire();
            mine.release();
            check(!other.acquire(300, TimeUnit.MILLISECONDS), "still held once");
            mine.release();
            check(other.acquire(5, TimeUnit.SECONDS), "free");
            other.release();
        }
    }

    /** A holder whose session ends gives way. */
    private static void sessionEnd() throws Exception {
        try (Curators clients = new Curators(1)) {
            Curators holder = new Curators(1);
            new InterProcessMutex(holder.get(0), "/locks/ending").acquire();
            InterProcessMutex lock = new InterProcessMutex(clients.get(0), "/locks/ending");
            check(!lock.acquire(300, TimeUnit.MILLISECONDS), "held");
            holder.close();
            check(lock.acquire(10, TimeUnit.SECONDS), "free after the holder's session was closed");
            lock.release();
        }
    }

    private static void semaphoreMutex() throws Exception {
        try (Curators clients = new Curators(2)) {
            InterProcessLock mine = new InterProcessSemaphoreMutex(clients.get(0), "/locks/semaphore-mutex");
            InterProcessLock other = new InterProcessSemaphoreMutex(clients.get(1), "/locks/semaphore-mutex");
            mine.acquire();
            check(!other.acquire(300, TimeUnit.MILLISECONDS), "held");
            mine.release();
            check(other.acquire(5, TimeUnit.SECONDS), "free");
            other.release();
        }
    }

    private static void readWrite() throws Exception {
        try (Curators clients = new Curators(3)) {
            List<InterProcessReadWriteLock> locks = new ArrayList<>();
            for (int i = 0; i < 3; i++) {
                locks.add(new InterProcessReadWriteLock(clients.get(i), "/locks/rw"));
            }
            check(locks.get(0).readLock().acquire(5, TimeUnit.SECONDS), "first reader");
            check(locks.get(1).readLock().acquire(5, TimeUnit.SECONDS), "second reader beside it");
            check(!locks.get(2).writeLock().acquire(300, TimeUnit.MILLISECONDS), "no writer beside readers");
            locks.get(0).readLock().release();
            check(!locks.get(2).writeLock().acquire(300, TimeUnit.MILLISECONDS), "no writer beside a reader");
            locks.get(1).readLock().release();
            check(locks.get(2).writeLock().acquire(5, TimeUnit.SECONDS), "writer");
            check(!locks.get(0).readLock().acquire(300, TimeUnit.MILLISECONDS), "no reader beside a writer");
            check(locks.get(2).readLock().acquire(5, TimeUnit.SECONDS), "a writer may read");
            locks.get(2).writeLock().release();
            check(locks.get(0).readLock().acquire(5, TimeUnit.SECONDS), "reader beside the former writer");
        }
    }

    private static void semaphore() throws Exception {
        try (Curators clients = new Curators(4)) {
            int permits = 3;
            AtomicInteger inside = new AtomicInteger();
            AtomicInteger most = new AtomicInteger();
            List<Future<Void>> workers = new ArrayList<>();
            for (int i = 0; i < 8; i++) {
                InterProcessSemaphoreV2 semaphore =
                        new InterProcessSemaphoreV2(clients.get(i % 4), "/locks/semaphore", permits);
                workers.add(Harness.beside(() -> {
                    for (int round = 0; round < 5; round++) {
                        Lease lease = semaphore.acquire(40, TimeUnit.SECONDS);
                        check(lease != null, "lease");
                        int now = inside.incrementAndGet();
                        check(now <= permits, now + " holders");
                        most.accumulateAndGet(now, Math::max);
                        Thread.sleep(20);
                        inside.decrementAndGet();
                        semaphore.returnLease(lease);
                    }
                    return null;
                }));
            }
            for (Future<Void> worker : workers) {
                worker.get(50, TimeUnit.SECONDS);
            }
            check(most.get() > 1, "several holders at a time, at most " + most);
        }
    }

    private static void multiLock() throws Exception {
        try (Curators clients = new Curators(2)) {
            InterProcessLock single = new InterProcessMutex(clients.get(1), "/locks/multi-b");
            single.acquire();
            InterProcessMultiLock both =
                    new InterProcessMultiLock(clients.get(0), List.of("/locks/multi-a", "/locks/multi-b"));
            check(!both.acquire(500, TimeUnit.MILLISECONDS), "one of the two is held");
            check(new InterProcessMutex(clients.get(1), "/locks/multi-a").acquire(5, TimeUnit.SECONDS),
                    "the other was given back");
            InterProcessMultiLock free =
                    new InterProcessMultiLock(clients.get(0), List.of("/locks/multi-c", "/locks/multi-d"));
            check(free.acquire(5, TimeUnit.SECONDS), "both are free");
            free.release();
            single.release();
        }
    }
}
