"""Copies a topic to another, exactly once: consumes, produces and commits the offsets in transactions.

copier.py BOOTSTRAP FROM TO GROUP PARTITIONS    # ends when all partitions are copied to their ends
"""
import sys

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

AT_ONCE = 20
SECONDS = 20


def rewind(consumer, partitions):
    for position in consumer.committed(partitions, SECONDS):
        consumer.seek(TopicPartition(position.topic, position.partition, max(position.offset, 0)))


def copy(bootstrap, source, target, group, partitions):
    all_partitions = [TopicPartition(source, index) for index in range(partitions)]
    consumer = Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
    })
    # The transactional id fences an earlier copier, so members need not be known to the group.
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"{group}-copier",
                         "transaction.timeout.ms": 10000})
    producer.init_transactions(SECONDS)
    committed = consumer.committed(all_partitions, SECONDS)
    consumer.assign([TopicPartition(source, at.partition, max(at.offset, 0)) for at in committed])
    ended = set()
    while len(ended) < partitions:
        messages = []
        for message in consumer.consume(AT_ONCE, 1):
            if message.error() is None:
                messages.append(message)
                ended.discard(message.partition())
            elif message.error().name() == "_PARTITION_EOF":
                ended.add(message.partition())
        if not messages:
            continue
        producer.begin_transaction()
        try:
            for message in messages:
                producer.produce(target, message.value(), partition=message.partition())
            producer.send_offsets_to_transaction(
                consumer.position(all_partitions), consumer.consumer_group_metadata(), SECONDS)
            producer.commit_transaction(SECONDS)
        except KafkaException as error:
            if not error.args[0].txn_requires_abort():
                raise
            producer.abort_transaction(SECONDS)
            rewind(consumer, all_partitions)
            ended.clear()
    consumer.close()


copy(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
