package peers;

/** The command line: {@code --name value}. */
public final class Flags {
    private final String[] arguments;

    public Flags(String[] arguments) {
        this.arguments = arguments;
    }

    /** The value of {@code --name}. */
    public String text(String name) {
        for (int at = 0; at + 1 < arguments.length; at++) {
            if (arguments[at].equals("--" + name)) {
                return arguments[at + 1];
            }
        }
        throw new IllegalArgumentException("--" + name + " is missing");
    }

    /** The value of {@code --name} as a number. */
    public double number(String name) {
        return Double.parseDouble(text(name));
    }
}
