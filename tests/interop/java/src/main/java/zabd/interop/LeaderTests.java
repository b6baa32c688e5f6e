package zabd.interop;

import static zabd.interop.Harness.check;
import static zabd.interop.Harness.equal;
import static zabd.interop.Harness.eventually;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;

/** Curator's leader latch and leader selector. */
final class LeaderTests {
    private LeaderTests() {}

    static void run() {
        Harness.test("curator-leader-latch", 60, LeaderTests::latch);
        Harness.test("curator-leader-selector", 60, LeaderTests::selector);
    }

    /** One leader at a time; when it leaves, or its session ends, the next takes over. */
    private static void latch() throws Exception {
        List<Curators> clients = new ArrayList<>();
        List<LeaderLatch> latches = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            Curators client = new Curators(1);
            clients.add(client);
            LeaderLatch latch = new LeaderLatch(client.get(0), "/leaders/latch", "id-" + i);
            latch.start();
            latches.add(latch);
        }
        LeaderLatch witness = latches.get(3);
        Set<Integer> gone = new HashSet<>();
        for (int round = 0; round < 3; round++) {
            eventually(10, "a leader", () -> leaders(latches, gone).size() == 1);
            int leader = leaders(latches, gone).get(0);
            eventually(5, "the same leader for all",
                    () -> witness.getLeader().getId().equals(latches.get(leader).getId()));
            equal(witness.getParticipants().size(), 4 - round, "participants");
            if (leader == 3) {
                break;
            }
            if (round == 0) {
                latches.get(leader).close();
            } else {
                clients.get(leader).close();
            }
            gone.add(leader);
            int wanted = 3 - round;
            eventually(10, "one participant less", () -> witness.getParticipants().size() == wanted);
        }
        clients.forEach(Curators::close);
    }

    private static List<Integer> leaders(List<LeaderLatch> latches, Set<Integer> gone) {
        List<Integer> leaders = new ArrayList<>();
        for (int i = 0; i < latches.size(); i++) {
            if (!gone.contains(i) && latches.get(i).hasLeadership()) {
                leaders.add(i);
            }
        }
        return leaders;
    }

    /** Leadership goes round, and never to two at a time. */
    private static void selector() throws Exception {
        try (Curators clients = new Curators(3)) {
            AtomicInteger leading = new AtomicInteger();
            AtomicInteger overlaps = new AtomicInteger();
            Semaphore terms = new Semaphore(0);
            AtomicInteger[] led = {new AtomicInteger(), new AtomicInteger(), new AtomicInteger()};
            List<LeaderSelector> selectors = new ArrayList<>();
            for (int i = 0; i < 3; i++) {
                int me = i;
                LeaderSelector selector = new LeaderSelector(clients.get(i), "/leaders/selector",
                        new LeaderSelectorListenerAdapter() {
                            @Override
                            public void takeLeadership(CuratorFramework client) throws Exception {
                                if (leading.incrementAndGet() != 1) {
                                    overlaps.incrementAndGet();
                                }
                                led[me].incrementAndGet();
                                Thread.sleep(20);
                                leading.decrementAndGet();
                                terms.release();
                            }
                        });
                selector.autoRequeue();
                selector.start();
                selectors.add(selector);
            }
            check(terms.tryAcquire(30, 40, TimeUnit.SECONDS), "thirty terms");
            selectors.forEach(LeaderSelector::close);
            equal(overlaps.get(), 0, "two leaders");
            for (AtomicInteger count : led) {
                check(count.get() >= 3, "each led several times");
            }
        }
    }
}
