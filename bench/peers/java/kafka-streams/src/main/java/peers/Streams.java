package peers;

import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.AppInfoParser;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.TestInputTopic;
import org.apache.kafka.streams.TestOutputTopic;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;

/** Kafka Streams: one source, one processor with the job, one sink. {@code engine} drives the topology in process, {@code kafka} runs it. */
public final class Streams {
    private Streams() {}

    public static void main(String[] arguments) throws Exception {
        Flags flags = new Flags(arguments);
        if (arguments[0].equals("engine")) {
            engine(flags);
        } else {
            kafka(flags);
        }
    }

    private static final class Work implements Processor<byte[], byte[], byte[], byte[]> {
        private ProcessorContext<byte[], byte[]> context;

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            RecordMetadata place = context.recordMetadata().orElseThrow();
            try {
                context.forward(record.withValue(Heartbeat.run(record.value(), place.topic(), place.partition(), place.offset())));
            } catch (java.io.IOException error) {
                throw new java.io.UncheckedIOException(error);
            }
        }
    }

    private static Topology topology(String source, String results) {
        return new Topology().addSource("source", source).addProcessor("work", Work::new, "source").addSink("sink", results, "work");
    }

    private static Properties settings(String brokers, String group) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, group);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        return settings;
    }

    /** The driver numbers the records of its one partition by itself, on and on; a name is made of that number modulo the messages. */
    private static void engine(Flags flags) throws Exception {
        Passes passes = new Passes(flags, "Kafka Streams " + AppInfoParser.getVersion() + ", " + Heartbeat.version());
        try (TopologyTestDriver driver = new TopologyTestDriver(topology("heartbeats", "results"), settings("none:1", "engine"))) {
            TestInputTopic<byte[], byte[]> source = driver.createInputTopic("heartbeats", new ByteArraySerializer(), new ByteArraySerializer());
            TestOutputTopic<byte[], byte[]> results = driver.createOutputTopic("results", new ByteArrayDeserializer(), new ByteArrayDeserializer());
            passes.drive((message, number) -> {
                source.pipeInput(message);
                return results.readValue();
            });
        }
    }

    private static void kafka(Flags flags) throws Exception {
        Properties settings = settings(flags.text("brokers"), flags.text("group"));
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, flags.text("workers"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, flags.text("scratch"));
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), "5000");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), "4194304");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.ACKS_CONFIG), "all");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), "20");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), "1000000");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), "134217728");
        KafkaStreams streams = new KafkaStreams(topology(flags.text("source"), flags.text("results")), settings);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(3);
            return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
        });
        System.out.printf("{\"version\":\"Kafka Streams %s, %s\"}%n", AppInfoParser.getVersion(), Heartbeat.version());
        streams.start();
        Thread.currentThread().join();
    }
}
