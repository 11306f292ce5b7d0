// A Kafka Streams application with exactly_once_v2, until standard input ends:
//
//   Streams BOOTSTRAP STATE_DIR
//
// It counts the words of topic `lines` into `counts` as WORD=COUNT, each step of each count, and joins `left` and `right` by
// key, within a day, into `joined` as LEFT+RIGHT. It prints each of its states.

import java.time.Duration;
import java.util.Arrays;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;

public final class Streams {
    static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    static Properties properties(String bootstrap, String state) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("application.id", "streams");
        p.put("state.dir", state);
        p.put("processing.guarantee", "exactly_once_v2");
        p.put("commit.interval.ms", "100");
        // Without a cache, each step of a count is a record.
        p.put("statestore.cache.max.bytes", "0");
        p.put("replication.factor", "1");
        p.put("auto.offset.reset", "earliest");
        p.put("default.key.serde", Serdes.StringSerde.class.getName());
        p.put("default.value.serde", Serdes.StringSerde.class.getName());
        // A killed member is missed soon.
        p.put("session.timeout.ms", "6000");
        p.put("heartbeat.interval.ms", "500");
        return p;
    }

    static StreamsBuilder topology() {
        StreamsBuilder builder = new StreamsBuilder();
        builder.<String, String>stream("lines")
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word)
            .count()
            .toStream()
            .map((word, count) -> new KeyValue<>(word, word + "=" + count))
            .to("counts");
        KStream<String, String> left = builder.stream("left");
        KStream<String, String> right = builder.stream("right");
        left.join(right, (l, r) -> l + "+" + r, JoinWindows.ofTimeDifferenceWithNoGrace(Duration.ofDays(1)))
            .to("joined");
        return builder;
    }

    public static void main(String[] arguments) throws Exception {
        KafkaStreams streams = new KafkaStreams(topology().build(), properties(arguments[0], arguments[1]));
        streams.setStateListener((now, before) -> say(now.name()));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        streams.start();
        while (System.in.read() >= 0) { }
        streams.close(Duration.ofSeconds(30));
    }
}
