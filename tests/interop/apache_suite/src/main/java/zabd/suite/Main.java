package zabd.suite;

import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClass;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.platform.engine.FilterResult;
import org.junit.platform.engine.TestDescriptor;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.discovery.ClassSelector;
import org.junit.platform.engine.support.descriptor.MethodSource;
import org.junit.platform.launcher.Launcher;
import org.junit.platform.launcher.PostDiscoveryFilter;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;

/**
 * Runs test classes of ZooKeeper's own, whose servers are processes outside of this JVM.
 *
 * <p>Arguments: a file of skips, then names of classes below `org.apache.zookeeper`, each perhaps with
 * `#method`. A line of the file is `Class: reason` or `Class.method: reason`.
 */
public final class Main {
    private static final String TIMEOUT = System.getProperty("suite.timeout", "120 s");
    private static volatile String running = "";

    private final Map<String, String> skips;
    private int results;
    private boolean failed;

    private Main(Map<String, String> skips) {
        this.skips = skips;
    }

    /** The name of the test that runs. */
    static String running() {
        return running;
    }

    public static void main(String[] arguments) throws Exception {
        Outside.install();
        Main main = new Main(readSkips(Path.of(arguments[0])));
        main.run(Arrays.asList(arguments).subList(1, arguments.length));
        System.out.println("END " + main.results);
        System.out.flush();
        ServerProcess.killAll();
        // Threads that tests have left behind do not hold the program up.
        Runtime.getRuntime().halt(main.failed ? 1 : 0);
    }

    private static Map<String, String> readSkips(Path file) throws IOException {
        Map<String, String> skips = new LinkedHashMap<>();
        for (String line : Files.readAllLines(file)) {
            int colon = line.indexOf(": ");
            if (!line.startsWith("#") && colon > 0) {
                skips.put(line.substring(0, colon), line.substring(colon + 2));
            }
        }
        return skips;
    }

    private void run(List<String> classes) throws ClassNotFoundException {
        List<ClassSelector> selected = new ArrayList<>();
        List<String> methods = new ArrayList<>();
        for (String name : classes) {
            String[] parts = name.split("#");
            selected.add(selectClass(Class.forName("org.apache.zookeeper." + parts[0], false,
                    Main.class.getClassLoader())));
            if (parts.length > 1) {
                methods.add(parts[1]);
            }
        }
        Launcher launcher = LauncherFactory.create();
        launcher.execute(LauncherDiscoveryRequestBuilder.request()
                .selectors(selected)
                .filters((PostDiscoveryFilter) descriptor -> wanted(descriptor, methods))
                .configurationParameter("junit.jupiter.execution.timeout.default", TIMEOUT)
                .build(), new Results());
        if (results == 0) {
            result("FAIL", String.join(" ", classes), "no tests were found");
        }
    }

    /** Leaves out what a skip names, and says so. */
    private FilterResult wanted(TestDescriptor descriptor, List<String> methods) {
        MethodSource method = descriptor.getSource().filter(MethodSource.class::isInstance)
                .map(MethodSource.class::cast).orElse(null);
        if (method == null) {
            return FilterResult.included("a class");
        }
        if (!methods.isEmpty() && !methods.contains(method.getMethodName())) {
            return FilterResult.excluded("not asked for");
        }
        String className = simple(method.getClassName());
        String name = className + "." + method.getMethodName();
        String reason = skips.getOrDefault(name, skips.get(className));
        if (reason == null) {
            return FilterResult.included("");
        }
        result("SKIP", name, reason);
        return FilterResult.excluded(reason);
    }

    private static String simple(String className) {
        return className.substring(className.lastIndexOf('.') + 1);
    }

    private synchronized void result(String word, String name, String reason) {
        results++;
        failed |= word.equals("FAIL");
        System.out.println(word + " " + name + (reason == null ? "" : ": " + reason.replace('\n', ' ')));
    }

    private final class Results implements TestExecutionListener {
        private long started;

        private String name(TestIdentifier test) {
            // "[engine:…]/[class:org.…]/[method:name()]/[test-template-invocation:#1]"
            String method = test.getSource().filter(MethodSource.class::isInstance)
                    .map(source -> simple(((MethodSource) source).getClassName()) + "."
                            + ((MethodSource) source).getMethodName())
                    .orElse(simple(test.getLegacyReportingName()));
            int invocation = test.getUniqueId().indexOf("invocation:#");
            return invocation < 0 ? method
                    : method + "[" + test.getUniqueId().substring(invocation + 12).replace("]", "") + "]";
        }

        @Override
        public void executionStarted(TestIdentifier test) {
            if (test.isTest()) {
                running = name(test);
                started = System.nanoTime();
                System.out.println("==== " + running);
            }
        }

        @Override
        public void executionSkipped(TestIdentifier test, String reason) {
            result("SKIP", name(test), "ZooKeeper's tests disable it: " + reason);
        }

        @Override
        public void executionFinished(TestIdentifier test, TestExecutionResult outcome) {
            Throwable cause = outcome.getThrowable().orElse(null);
            if (test.isTest()) {
                ServerProcess.killAll();
                System.out.printf("took %.1f s%n", (System.nanoTime() - started) / 1e9);
            }
            switch (outcome.getStatus()) {
                case SUCCESSFUL:
                    if (test.isTest()) {
                        result("PASS", name(test), null);
                    }
                    break;
                case ABORTED:
                    result("SKIP", name(test), "ZooKeeper's tests leave it out: " + cause.getMessage());
                    break;
                default:
                    cause.printStackTrace(System.out);
                    result("FAIL", name(test), String.valueOf(cause));
            }
        }
    }
}
