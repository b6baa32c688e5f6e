package zabd.suite;

/** A test asks for what is inside of a server: it cannot run against one in another process. */
final class LooksInside extends UnsupportedOperationException {
    private static final long serialVersionUID = 1;

    LooksInside(String what) {
        super("looks inside the server: " + what);
    }
}
