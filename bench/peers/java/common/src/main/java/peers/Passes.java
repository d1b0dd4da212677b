package peers;

import com.sun.management.OperatingSystemMXBean;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * What the peers in Java share, so that all of them are driven alike: messages in memory, one pass whose outputs are written down to be
 * checked, passes to get warm, timed passes, one line of JSON. A peer asks for the message whose turn it is and hands in its output.
 */
public final class Passes {
    /** A job from the bytes of a message to the bytes of its output. */
    public interface Job {
        byte[] run(byte[] message, long number) throws Exception;
    }

    private final String version;
    private final byte[][] messages;
    private final double warmSeconds;
    private final double measuredSeconds;
    private final List<Double> times = new ArrayList<>();
    private final OutputStream outputs;
    private int done;
    private boolean isWarm;
    private boolean isChecked;
    private long phaseStart;
    private long passStart;
    private long cpuStart;
    private long sum;

    public Passes(Flags flags, String version) throws IOException {
        this.version = version;
        List<String> lines = Files.readAllLines(Path.of(flags.text("messages")));
        this.messages = lines.stream().limit((long) flags.number("count")).map(line -> line.getBytes(StandardCharsets.UTF_8)).toArray(byte[][]::new);
        this.warmSeconds = flags.number("warm-s");
        this.measuredSeconds = flags.number("measure-s");
        this.outputs = new BufferedOutputStream(Files.newOutputStream(Path.of(flags.text("outputs"))));
    }

    /** Runs {@code job} over and over until all is measured. */
    public void drive(Job job) throws Exception {
        for (int turn = 0; ; turn = turn + 1 == messages.length ? 0 : turn + 1) {
            if (enter(job.run(messages[turn], turn))) {
                return;
            }
        }
    }

    /** The message of the n-th execution; its number is {@link #number}. */
    public byte[] message(long execution) {
        return messages[(int) number(execution)];
    }

    /** The number of the n-th execution's message. */
    public long number(long execution) {
        return execution % messages.length;
    }

    /** Takes the output of the next execution; true when all is measured, and then the result has been printed. */
    public boolean enter(byte[] output) throws IOException {
        // So that no output is one that nobody looks at.
        sum += output[output.length - 1];
        if (!isChecked) {
            outputs.write(output);
            outputs.write('\n');
        }
        done++;
        if (done < messages.length) {
            return false;
        }
        done = 0;
        return endPass();
    }

    private boolean endPass() throws IOException {
        long now = System.nanoTime();
        if (!isChecked) {
            outputs.close();
            isChecked = true;
            phaseStart = now;
        } else if (isWarm) {
            times.add((now - passStart) / 1e9);
            if ((now - phaseStart) / 1e9 >= measuredSeconds) {
                print();
                return true;
            }
        } else if ((now - phaseStart) / 1e9 >= warmSeconds) {
            isWarm = true;
            phaseStart = now;
            cpuStart = cpu();
        }
        passStart = now;
        return false;
    }

    private void print() {
        double cpu = (cpu() - cpuStart) / 1e9;
        System.out.printf("{\"version\":\"%s\",\"executions_per_pass\":%d,\"pass_s\":%s,\"cpu_s\":%s}%n", version, messages.length, times, cpu);
        System.out.flush();
        if (sum == 0) {
            System.err.println("no output ends with a byte");
        }
    }

    private static long cpu() {
        return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }
}
