"""A confluent-kafka (librdkafka) client with the commands of ../README.md."""

import os
import sys
import threading

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, NewTopic

from record import key, run, say, say_record, value

VERSION = f"client=confluent-kafka version={ck.version()} (librdkafka {ck.libversion()[0]})"


def create(bootstrap, topic, partitions):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for reply in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        reply.result(30)


def produce(bootstrap, topic, partitions, codec, numbers, base):
    producer = ck.Producer({"bootstrap.servers": bootstrap, "compression.type": codec,
                            "enable.idempotence": True, "linger.ms": 20})
    acked = 0

    def delivered(error, _message):
        nonlocal acked
        if error is not None:
            sys.exit(f"delivery failed: {error}")
        acked += 1

    for n in numbers:
        producer.produce(topic, value(n), key(n), partition=n % partitions,
                         timestamp=base + n * 1000, on_delivery=delivered)
    producer.flush(60)
    say(acked=acked)


def consume(bootstrap, topic, group):
    settings = {
        "bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
        "enable.auto.commit": False, "topic.metadata.refresh.interval.ms": 1000}
    protocol = os.environ.get("GROUP_PROTOCOL", "classic")
    if protocol == "classic":
        settings |= {"heartbeat.interval.ms": 300, "session.timeout.ms": 10000}
    else:
        settings["group.protocol"] = protocol
    consumer = ck.Consumer(settings)
    assigned = set()

    def gain(_consumer, parts):
        assigned.update(p.partition for p in parts)
        say(assigned=sorted(assigned))

    def lose(_consumer, parts):
        assigned.difference_update(p.partition for p in parts)
        say(assigned=sorted(assigned))

    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    consumer.subscribe([topic], on_assign=gain, on_revoke=lose)
    while not stop.is_set():
        messages = consumer.consume(500, 0.1)
        good = [m for m in messages if m.error() is None]
        for m in messages:
            if m.error() is not None:
                print(m.error(), file=sys.stderr, flush=True)
        for m in good:
            say_record(m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value())
        if good:
            consumer.commit(asynchronous=False)
            say(committed=len(good))
    consumer.close()
    say(closed=True)


def seek(bootstrap, topic, at):
    consumer = ck.Consumer({"bootstrap.servers": bootstrap, "group.id": "seek-" + topic,
                            "enable.auto.commit": False})
    parts = consumer.list_topics(topic, 30).topics[topic].partitions
    offsets = consumer.offsets_for_times([ck.TopicPartition(topic, p, at) for p in parts], 30)
    for place in offsets:
        consumer.assign([place])
        m = consumer.poll(30)
        if m is None or m.error() is not None:
            sys.exit(f"nothing at {place}: {m and m.error()}")
        say_record(m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value())
    consumer.close()


def soak(bootstrap, topic, partitions):
    """Produces numbered records through whatever happens to the broker, until stdin ends."""
    producer = ck.Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True,
                            "linger.ms": 2, "reconnect.backoff.ms": 10, "retry.backoff.ms": 10,
                            "reconnect.backoff.max.ms": 50, "message.timeout.ms": 300000,
                            "topic.metadata.refresh.fast.interval.ms": 50, "log_level": 0})
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()

    def delivered(n):
        def report(error, m):
            if error is not None:
                say(failed=n, why=str(error))
            else:
                say(n=n, p=m.partition(), o=m.offset())
        return report

    n = 0
    while not stop.is_set():
        # A bounded queue: at most this many records wait for the broker.
        if len(producer) < 2000:
            for n in range(n, n + 10):
                producer.produce(topic, value(n), key(n), partition=n % partitions,
                                 on_delivery=delivered(n))
            n += 1
        producer.poll(0.01)
    if producer.flush(60) != 0:
        sys.exit("records are left in the queue")
    say(sent=n)


run(VERSION, create, produce, consume, seek, soak)
