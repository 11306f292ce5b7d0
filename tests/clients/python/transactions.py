"""Writes transactions, of which every third is aborted, and reads what was committed.

transactions.py write BOOTSTRAP TOPIC PARTITIONS TRANSACTIONS
transactions.py hang BOOTSTRAP TOPIC TIMEOUT_MS    # prints "open", and waits to be killed
transactions.py read BOOTSTRAP TOPIC PARTITIONS    # prints "PARTITION OFFSET VALUE-IN-HEX" up to the end
"""
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

RECORDS = 7


def write(bootstrap, topic, partitions, transactions):
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"{topic}-writer"})
    producer.init_transactions(30)
    for number in range(transactions):
        producer.begin_transaction()
        for record in range(RECORDS):
            producer.produce(topic, f"{number}.{record}".encode(), partition=record % partitions)
        if number % 3 == 1:
            # An abort drops what was not sent.
            producer.flush(30)
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)


def hang(bootstrap, topic, timeout_ms):
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"{topic}-hanging",
                         "transaction.timeout.ms": timeout_ms})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    producer.flush(30)
    print("open", flush=True)
    sys.stdin.read()


def read(bootstrap, topic, partitions):
    consumer = Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": "reader",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
    })
    consumer.assign([TopicPartition(topic, index, OFFSET_BEGINNING) for index in range(partitions)])
    lines, ended = [], set()
    while len(ended) < partitions:
        message = consumer.poll(30)
        if message is None:
            sys.exit("no answer within 30 s")
        if message.error() is not None:
            if message.error().name() != "_PARTITION_EOF":
                sys.exit(str(message.error()))
            ended.add(message.partition())
            continue
        lines.append((message.partition(), message.offset(), message.value().hex()))
    consumer.close()
    for partition, offset, value in sorted(lines):
        print(partition, offset, value)


if sys.argv[1] == "write":
    write(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
elif sys.argv[1] == "hang":
    hang(sys.argv[2], sys.argv[3], int(sys.argv[4]))
else:
    read(sys.argv[2], sys.argv[3], int(sys.argv[4]))
