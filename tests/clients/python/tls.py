"""kafka-python over TLS with a client certificate: tls.py BOOTSTRAP CA IDENTITY."""

import sys

from kafka import KafkaConsumer, KafkaProducer

bootstrap, ca, identity = sys.argv[1:]
tls = dict(bootstrap_servers=bootstrap, security_protocol="SSL", ssl_cafile=ca,
           ssl_certfile=identity, ssl_keyfile=identity)
producer = KafkaProducer(acks="all", **tls)
for value in (b"one", b"two"):
    producer.send("python", value).get(60)
producer.close()
consumer = KafkaConsumer("python", auto_offset_reset="earliest", consumer_timeout_ms=60000, **tls)
read = [next(consumer).value.decode() for _ in range(2)]
consumer.close()
print(*read)
