"""An aiokafka client with the commands of ../README.md."""

import asyncio
import sys

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from record import key, run, say, say_record, value

VERSION = f"client=aiokafka version={aiokafka.__version__}"


async def create(bootstrap, topic, partitions):
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    reply = await admin.create_topics([NewTopic(topic, partitions, 1)])
    await admin.close()
    for _topic, code, *_message in reply.topic_errors:
        if code != 0:
            sys.exit(f"create: error {code}")


async def produce(bootstrap, topic, partitions, codec, numbers, base):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, linger_ms=20,
                                compression_type=None if codec == "none" else codec)
    await producer.start()
    sent = [await producer.send(topic, value(n), key(n), partition=n % partitions,
                                timestamp_ms=base + n * 1000) for n in numbers]
    acked = len(await asyncio.gather(*sent))
    await producer.stop()
    say(acked=acked)


async def consume(bootstrap, topic, group):
    class Listener(ConsumerRebalanceListener):
        async def on_partitions_revoked(self, revoked):
            say(assigned=[])

        async def on_partitions_assigned(self, assigned):
            say(assigned=[p.partition for p in assigned])

    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group,
                                auto_offset_reset="earliest", enable_auto_commit=False,
                                heartbeat_interval_ms=300, session_timeout_ms=10000)
    consumer.subscribe([topic], listener=Listener())
    await consumer.start()
    end = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    while not end.done():
        count = 0
        for records in (await consumer.getmany(timeout_ms=100)).values():
            for m in records:
                say_record(m.partition, m.offset, m.timestamp, m.key, m.value)
                count += 1
        if count:
            await consumer.commit()
            say(committed=count)
    await consumer.stop()
    say(closed=True)


async def seek(bootstrap, topic, at):
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap)
    await consumer.start()
    parts = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
    for part, place in (await consumer.offsets_for_times({p: at for p in parts})).items():
        consumer.seek(part, place.offset)
        m = await asyncio.wait_for(consumer.getone(part), 30)
        say_record(m.partition, m.offset, m.timestamp, m.key, m.value)
    await consumer.stop()


def blocking(command):
    return lambda *arguments: asyncio.run(command(*arguments))


run(VERSION, blocking(create), blocking(produce), blocking(consume), blocking(seek))
