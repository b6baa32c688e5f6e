package zabd.interop;

import java.io.File;
import java.io.IOException;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;

/** Starts the application's own servers, with this program's class path, in a directory that goes in the end. */
final class Processes {
    static final Path DIRECTORY = temporary();

    private static final List<Process> RUNNING = new ArrayList<>();

    private Processes() {}

    private static Path temporary() {
        try {
            Path directory = Files.createTempDirectory("zabd-apps-");
            Runtime.getRuntime().addShutdownHook(new Thread(() -> clear(directory)));
            return directory;
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Starts a main class; its output goes to a file of that name. `options` are the virtual machine's. */
    static Process start(String name, List<String> options, String main, String... arguments) throws IOException {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(options);
        command.addAll(List.of("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp",
                System.getProperty("java.class.path"), main));
        command.addAll(Arrays.asList(arguments));
        File log = DIRECTORY.resolve(name + ".log").toFile();
        Process process = new ProcessBuilder(command).redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.appendTo(log)).start();
        RUNNING.add(process);
        return process;
    }

    /** As kill -9 does. */
    static void kill(Process process) throws InterruptedException {
        process.destroyForcibly().waitFor();
    }

    static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0)) {
            return socket.getLocalPort();
        }
    }

    /** Shows what the servers have written last, then ends the tests. */
    static void end() throws IOException {
        try (Stream<Path> logs = Files.list(DIRECTORY)) {
            for (Path log : (Iterable<Path>) logs.filter(file -> file.toString().endsWith(".log"))::iterator) {
                List<String> lines = Files.readAllLines(log);
                System.out.println("---- " + log.getFileName());
                lines.subList(Math.max(0, lines.size() - 40), lines.size()).forEach(System.out::println);
            }
        }
        clear(DIRECTORY);
        Harness.end();
    }

    private static synchronized void clear(Path directory) {
        for (Process process : RUNNING) {
            process.destroyForcibly();
        }
        try (Stream<Path> files = Files.walk(directory)) {
            files.sorted(Comparator.reverseOrder()).map(Path::toFile).forEach(File::delete);
        } catch (IOException e) {
            // Gone already, or still being written by a process that is ending.
        }
    }
}
