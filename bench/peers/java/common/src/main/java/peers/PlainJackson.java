package peers;

/** The job alone: Jackson and a loop. */
public final class PlainJackson {
    private PlainJackson() {}

    public static void main(String[] arguments) throws Exception {
        new Passes(new Flags(arguments), Heartbeat.version()).drive((message, number) -> Heartbeat.run(message, "heartbeats", 0, number));
    }
}
