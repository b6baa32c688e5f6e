package zabd.interop;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.Arrays;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.zookeeper.KeeperException;

/** Reports results to tests/interop/run.py and asks it to restart the server. */
final class Harness {
    static final String ADDRESS = System.getenv("ZK_ADDRESS");
    /** What /zookeeper/config is to say. A server that stands alone has no members. */
    static final String MEMBERS = System.getenv("ZK_MEMBERS");

    private static final BufferedReader STDIN = new BufferedReader(new InputStreamReader(System.in));
    private static final ExecutorService THREADS = Executors.newCachedThreadPool(task -> {
        Thread thread = new Thread(task);
        thread.setDaemon(true);
        return thread;
    });
    private static int results;
    private static boolean failed;

    private Harness() {}

    interface Body {
        void run() throws Exception;
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    /** Runs one test within a time and reports it. */
    static void test(String name, int seconds, Body body) {
        Future<?> future = THREADS.submit((Callable<Void>) () -> {
            body.run();
            return null;
        });
        String reason = null;
        try {
            future.get(seconds, TimeUnit.SECONDS);
        } catch (ExecutionException e) {
            reason = String.valueOf(e.getCause());
            e.getCause().printStackTrace(System.out);
        } catch (TimeoutException e) {
            reason = "did not end within " + seconds + " s";
            future.cancel(true);
        } catch (InterruptedException e) {
            reason = "interrupted";
        }
        results++;
        failed |= reason != null;
        System.out.println(reason == null ? "PASS " + name
                : "FAIL " + name + ": " + reason.replace('\n', ' '));
    }

    /** Says how many tests there were and ends the program. */
    static void end() {
        System.out.println("END " + results);
        System.out.flush();
        Runtime.getRuntime().halt(failed ? 1 : 0);
    }

    /** Asks the runner to stop, start, kill or restart the server, and waits until that is done. */
    static synchronized void server(String action) throws IOException {
        System.out.println("@server " + action);
        String answer = STDIN.readLine();
        check("ok".equals(answer), action + ": " + answer);
    }

    /** Runs something beside the test. */
    static <T> Future<T> beside(Callable<T> task) {
        return THREADS.submit(task);
    }

    static void check(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    static void equal(Object got, Object wanted, String what) {
        boolean same = got instanceof byte[] && wanted instanceof byte[]
                ? Arrays.equals((byte[]) got, (byte[]) wanted) : Objects.equals(got, wanted);
        check(same, what + ": " + show(got) + ", wanted " + show(wanted));
    }

    private static String show(Object value) {
        return value instanceof byte[] ? "'" + new String((byte[]) value) + "'" : String.valueOf(value);
    }

    /** Checks that an operation is refused with this code; returns the exception. */
    static KeeperException refused(KeeperException.Code code, Body body, String what) throws Exception {
        try {
            body.run();
        } catch (KeeperException e) {
            equal(e.code(), code, what);
            return e;
        }
        throw new AssertionError(what + ": done, wanted " + code);
    }

    /** Waits until a condition holds. */
    static void eventually(int seconds, String what, Condition condition) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (!condition.holds()) {
            check(System.nanoTime() < deadline, "not within " + seconds + " s: " + what);
            Thread.sleep(20);
        }
    }
}
