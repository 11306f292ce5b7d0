"""confluent-kafka with a token: oauth.py BOOTSTRAP TOKEN_FILE."""

import sys
import time

from confluent_kafka import Consumer, Producer

bootstrap, path = sys.argv[1:]


def token(_):
    with open(path) as file:
        return file.read().strip(), time.time() + 3600


common = {"bootstrap.servers": bootstrap, "security.protocol": "sasl_plaintext",
          "sasl.mechanisms": "OAUTHBEARER", "oauth_cb": token}
producer = Producer(common)
for value in (b"one", b"two"):
    producer.produce("python", value)
assert producer.flush(60) == 0, "not delivered"
consumer = Consumer({**common, "group.id": "g", "auto.offset.reset": "earliest"})
consumer.subscribe(["python"])
read = []
deadline = time.time() + 60
while len(read) < 2 and time.time() < deadline:
    message = consumer.poll(1)
    if message is not None and message.error() is None:
        read.append(message.value().decode())
consumer.close()
print(*read)
