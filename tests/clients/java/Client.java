// The Java client with the commands of ../README.md.

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.utils.AppInfoParser;

public final class Client {
    static final String STRINGS = "org.apache.kafka.common.serialization.String";

    static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    static void sayRecord(ConsumerRecord<String, String> r) {
        say(String.format("{\"p\":%d,\"o\":%d,\"t\":%d,\"k\":\"%s\",\"v\":\"%s\"}",
            r.partition(), r.offset(), r.timestamp(), r.key(), r.value()));
    }

    static Properties properties(String bootstrap, String... pairs) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("key.serializer", STRINGS + "Serializer");
        p.put("value.serializer", STRINGS + "Serializer");
        p.put("key.deserializer", STRINGS + "Deserializer");
        p.put("value.deserializer", STRINGS + "Deserializer");
        for (int i = 0; i < pairs.length; i += 2) p.put(pairs[i], pairs[i + 1]);
        return p;
    }

    static void create(String bootstrap, String topic, int partitions) throws Exception {
        try (Admin admin = Admin.create(properties(bootstrap))) {
            admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all().get();
        }
    }

    static void produce(String bootstrap, String topic, int partitions, String codec, long first,
                        long count, long base) throws Exception {
        Properties p = properties(bootstrap, "compression.type", codec, "linger.ms", "20");
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(p)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (long n = first; n < first + count; n++) {
                sent.add(producer.send(new ProducerRecord<>(topic, (int) (n % partitions),
                    base + n * 1000, "k" + n, "v" + n + ":" + "x".repeat(100))));
            }
            for (Future<RecordMetadata> f : sent) f.get();
            say("{\"acked\":" + sent.size() + "}");
        }
    }

    static void sayAssigned(Collection<TopicPartition> parts) {
        say("{\"assigned\":" + parts.stream().map(TopicPartition::partition).toList() + "}");
    }

    static void consume(String bootstrap, String topic, String group) throws Exception {
        Properties p = properties(bootstrap, "group.id", group, "auto.offset.reset", "earliest",
            "enable.auto.commit", "false");
        String protocol = System.getenv().getOrDefault("GROUP_PROTOCOL", "classic");
        p.put("group.protocol", protocol);
        if (protocol.equals("classic")) {
            p.put("heartbeat.interval.ms", "300");
            p.put("session.timeout.ms", "10000");
        }
        AtomicBoolean stop = new AtomicBoolean();
        Thread end = new Thread(() -> {
            try {
                while (System.in.read() != -1) { }
            } catch (java.io.IOException e) {
                System.err.println(e);
            }
            stop.set(true);
        });
        end.setDaemon(true);
        end.start();
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(p)) {
            consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                @Override public void onPartitionsRevoked(Collection<TopicPartition> parts) {
                    Set<TopicPartition> left = new HashSet<>(consumer.assignment());
                    left.removeAll(parts);
                    sayAssigned(left);
                }
                @Override public void onPartitionsAssigned(Collection<TopicPartition> parts) {
                    sayAssigned(consumer.assignment());
                }
            });
            while (!stop.get()) {
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(100));
                records.forEach(Client::sayRecord);
                if (records.count() > 0) {
                    consumer.commitSync();
                    say("{\"committed\":" + records.count() + "}");
                }
            }
        }
        say("{\"closed\":true}");
    }

    static void seek(String bootstrap, String topic, long at) {
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(properties(bootstrap))) {
            Map<TopicPartition, Long> times = new HashMap<>();
            consumer.partitionsFor(topic)
                .forEach(i -> times.put(new TopicPartition(topic, i.partition()), at));
            consumer.offsetsForTimes(times).forEach((part, place) -> {
                consumer.assign(List.of(part));
                consumer.seek(part, place.offset());
                sayRecord(consumer.poll(Duration.ofSeconds(30)).iterator().next());
            });
        }
    }

    public static void main(String[] a) throws Exception {
        switch (a[0]) {
            case "version" -> say("client=java version=" + AppInfoParser.getVersion());
            case "create" -> create(a[1], a[2], Integer.parseInt(a[3]));
            case "produce" -> produce(a[1], a[2], Integer.parseInt(a[3]), a[4],
                Long.parseLong(a[5]), Long.parseLong(a[6]), Long.parseLong(a[7]));
            case "consume" -> consume(a[1], a[2], a[3]);
            case "seek" -> seek(a[1], a[2], Long.parseLong(a[3]));
            default -> throw new IllegalArgumentException("unknown command " + a[0]);
        }
    }
}
