package zabd.interop;

/** The stock Java client and Curator's recipes against a server. */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws Exception {
        ClientTests.run();
        WatchTests.run();
        LockTests.run();
        LeaderTests.run();
        CacheTests.run();
        CoordinationTests.run();
        NodeTests.run();
        RestartTests.run();
        Harness.end();
    }
}
