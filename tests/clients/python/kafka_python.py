"""A kafka-python client with the commands of ../README.md."""

import sys
import threading

import kafka
from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from record import key, run, say, say_record, value

VERSION = f"client=kafka-python version={kafka.__version__}"


def create(bootstrap, topic, partitions):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(topic, partitions, 1)])
    admin.close()


def produce(bootstrap, topic, partitions, codec, numbers, base):
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=20,
                             compression_type=None if codec == "none" else codec)
    sent = [producer.send(topic, value(n), key(n), partition=n % partitions,
                          timestamp_ms=base + n * 1000) for n in numbers]
    producer.flush(60)
    acked = sum(1 for future in sent if future.get(60).topic == topic)
    producer.close()
    say(acked=acked)


def consume(bootstrap, topic, group):
    class Listener(ConsumerRebalanceListener):
        def on_partitions_revoked(self, revoked):
            say(assigned=[])

        def on_partitions_assigned(self, assigned):
            say(assigned=[p.partition for p in assigned])

    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=group,
                             auto_offset_reset="earliest", enable_auto_commit=False,
                             heartbeat_interval_ms=300, session_timeout_ms=10000)
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    # 3.0.12 (coordinator/base.py, join_group_async): a poll that ends while a join is under way leaves it
    # behind. The next one asks need_rejoin() first: where the partitions have become known meanwhile it says
    # no, and the member never takes its assignment up; where the join is over, it joins once more. So the
    # partitions are known before, and a poll is longer than a join.
    consumer.partitions_for_topic(topic)
    consumer.subscribe([topic], listener=Listener())
    while not stop.is_set():
        count = 0
        for records in consumer.poll(3000).values():
            for m in records:
                say_record(m.partition, m.offset, m.timestamp, m.key, m.value)
                count += 1
        if count:
            consumer.commit()
            say(committed=count)
    consumer.close()
    say(closed=True)


def seek(bootstrap, topic, at):
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    parts = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
    for part, place in consumer.offsets_for_times({p: at for p in parts}).items():
        consumer.assign([part])
        consumer.seek(part, place.offset)
        records = consumer.poll(30000).get(part)
        if not records:
            sys.exit(f"nothing at {part} {place}")
        m = records[0]
        say_record(m.partition, m.offset, m.timestamp, m.key, m.value)
    consumer.close()


run(VERSION, create, produce, consume, seek)
