package peers;

import java.io.IOException;
import org.apache.flink.api.common.RuntimeExecutionMode;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ExecutionOptions;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.datagen.source.DataGeneratorSource;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.runtime.util.EnvironmentInformation;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Flink in one process: a source, a map with the job, a sink, chained. {@code engine} takes the messages from memory, {@code kafka} from a topic. */
public final class Flink {
    /** Shared with the operators, which live in this process. */
    private static Passes passes;

    private Flink() {}

    public static void main(String[] arguments) throws Exception {
        Flags flags = new Flags(arguments);
        if (arguments[0].equals("engine")) {
            engine(flags);
        } else {
            kafka(flags);
        }
    }

    private static String version() {
        return "Flink " + EnvironmentInformation.getVersion() + ", " + Heartbeat.version();
    }

    private static Configuration configuration() {
        Configuration configuration = new Configuration();
        configuration.set(PipelineOptions.OBJECT_REUSE, true);
        configuration.set(ExecutionOptions.RUNTIME_MODE, RuntimeExecutionMode.STREAMING);
        configuration.set(RestartStrategyOptions.RESTART_STRATEGY, "none");
        return configuration;
    }

    private static final class Work extends RichMapFunction<Long, byte[]> {
        @Override
        public byte[] map(Long execution) throws Exception {
            return Heartbeat.run(passes.message(execution), "heartbeats", 0, passes.number(execution));
        }
    }

    /** Stands where a sink would: hands the output to the clock, and ends the process when all is measured. */
    private static final class Enter extends RichMapFunction<byte[], byte[]> {
        @Override
        public byte[] map(byte[] output) throws IOException {
            if (passes.enter(output)) {
                Runtime.getRuntime().halt(0);
            }
            return output;
        }
    }

    private static void engine(Flags flags) throws Exception {
        passes = new Passes(flags, version());
        try (StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(1, configuration())) {
            DataGeneratorSource<Long> numbers = new DataGeneratorSource<>(number -> number, Long.MAX_VALUE, Types.LONG);
            environment.fromSource(numbers, WatermarkStrategy.noWatermarks(), "messages")
                    .map(new Work()).returns(PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO)
                    .map(new Enter()).returns(PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO)
                    .sinkTo(new DiscardingSink<>());
            environment.execute();
        }
    }

    /** A record with its place, handed on by reference between chained operators. */
    public static final class Beat {
        public byte[] key;
        public byte[] value;
        public String topic;
        public int partition;
        public long offset;
    }

    private static final class Read implements KafkaRecordDeserializationSchema<Beat> {
        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Beat> out) {
            Beat beat = new Beat();
            beat.key = record.key();
            beat.value = record.value();
            beat.topic = record.topic();
            beat.partition = record.partition();
            beat.offset = record.offset();
            out.collect(beat);
        }

        @Override
        public TypeInformation<Beat> getProducedType() {
            return TypeInformation.of(Beat.class);
        }
    }

    private static final class WorkOnBeat extends RichMapFunction<Beat, Beat> {
        @Override
        public Beat map(Beat beat) throws IOException {
            beat.value = Heartbeat.run(beat.value, beat.topic, beat.partition, beat.offset);
            return beat;
        }
    }

    private record Write(String topic) implements KafkaRecordSerializationSchema<Beat> {
        @Override
        public ProducerRecord<byte[], byte[]> serialize(Beat beat, KafkaSinkContext context, Long timestamp) {
            return new ProducerRecord<>(topic, beat.key, beat.value);
        }
    }

    private static void kafka(Flags flags) throws Exception {
        Configuration configuration = configuration();
        configuration.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, java.time.Duration.ofSeconds(10));
        KafkaSource<Beat> source = KafkaSource.<Beat>builder()
                .setBootstrapServers(flags.text("brokers"))
                .setGroupId(flags.text("group"))
                .setTopics(flags.text("source"))
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setDeserializer(new Read())
                .setProperty("max.poll.records", "5000")
                .setProperty("max.partition.fetch.bytes", "4194304")
                .build();
        KafkaSink<Beat> sink = KafkaSink.<Beat>builder()
                .setBootstrapServers(flags.text("brokers"))
                .setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE)
                .setRecordSerializer(new Write(flags.text("results")))
                .setProperty("acks", "all")
                .setProperty("compression.type", "lz4")
                .setProperty("linger.ms", "20")
                .setProperty("batch.size", "1000000")
                .setProperty("buffer.memory", "134217728")
                .build();
        int workers = (int) flags.number("workers");
        try (StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(workers, configuration)) {
            environment.fromSource(source, WatermarkStrategy.noWatermarks(), "source").map(new WorkOnBeat()).returns(Beat.class).sinkTo(sink);
            System.out.printf("{\"version\":\"%s\"}%n", version());
            environment.execute();
        }
    }
}
