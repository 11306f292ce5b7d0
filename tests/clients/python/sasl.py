"""kafka-python by SASL: sasl.py BOOTSTRAP PROTOCOL CA MECHANISM USER PASSWORD."""

import sys

from kafka import KafkaConsumer, KafkaProducer

bootstrap, protocol, ca, mechanism, user, password = sys.argv[1:]
sasl = dict(bootstrap_servers=bootstrap, security_protocol=protocol, sasl_mechanism=mechanism,
            sasl_plain_username=user, sasl_plain_password=password)
if protocol == "SASL_SSL":
    sasl["ssl_cafile"] = ca
wanted = f"python {mechanism}"
producer = KafkaProducer(acks="all", **sasl)
producer.send("readings", wanted.encode()).get(60)
producer.close()
consumer = KafkaConsumer("readings", auto_offset_reset="earliest", consumer_timeout_ms=60000, **sasl)
print(next(m.value.decode() for m in consumer if m.value.decode() == wanted))
consumer.close()
