package peers;

import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.StreamWriteFeature;
import com.fasterxml.jackson.core.util.JsonRecyclerPools;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/** The job by hand, on Jackson's tree. */
public final class Heartbeat {
    private static final ObjectMapper MAPPER = JsonMapper.builder(JsonFactory.builder()
                    .enable(StreamReadFeature.USE_FAST_DOUBLE_PARSER)
                    .enable(StreamWriteFeature.USE_FAST_DOUBLE_WRITER)
                    .recyclerPool(JsonRecyclerPools.threadLocalPool())
                    .build())
            .build();
    private static final ObjectReader READER = MAPPER.readerFor(JsonNode.class);
    private static final ObjectWriter WRITER = MAPPER.writerFor(JsonNode.class);
    private static final byte[] UNKNOWN_TYPE =
            "{\"Error\":\"UnknownType\",\"Cause\":\"The message is neither a heartbeat nor an alert.\"}".getBytes(StandardCharsets.UTF_8);

    private Heartbeat() {}

    /** The output for {@code input}, when it is the record at this place. */
    public static byte[] run(byte[] input, String topic, int partition, long offset) throws IOException {
        ObjectNode message = READER.readValue(input);
        String type = message.path("type").textValue();
        if (!"heartbeat".equals(type) && !"alert".equals(type)) {
            return UNKNOWN_TYPE;
        }
        JsonNode battery = message.path("battery");
        ObjectNode meta = message.objectNode();
        meta.set("deviceId", message.get("deviceId"));
        meta.set("at", message.get("ts"));
        meta.put("source", "iot");
        meta.put("exec", topic + "-" + partition + "-" + offset);
        message.set("meta", meta);
        if (battery.isNumber() && battery.doubleValue() < 20) {
            message.putObject("alarm").put("level", "low");
        }
        return WRITER.writeValueAsBytes(message);
    }

    /** The version of Jackson. */
    public static String version() {
        return "Jackson " + MAPPER.version();
    }
}
