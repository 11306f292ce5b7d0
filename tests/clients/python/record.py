"""What every Python client program here shares: the records and the lines it prints."""

import json
import sys

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def say(**line):
    print(json.dumps(line), flush=True)


def say_record(partition, offset, timestamp, key, value):
    say(p=partition, o=offset, t=timestamp, k=key.decode(), v=value.decode())


def key(n):
    return b"k%d" % n


def value(n):
    return b"v%d:%s" % (n, b"x" * 100)


def run(version, create, produce, consume, seek, soak=None):
    """Dispatches the command line (see ../README.md)."""
    command, *a = sys.argv[1:]
    if command == "version":
        print(version)
    elif command == "create":
        create(a[0], a[1], int(a[2]))
    elif command == "produce":
        produce(a[0], a[1], int(a[2]), a[3], range(int(a[4]), int(a[4]) + int(a[5])), int(a[6]))
    elif command == "consume":
        consume(*a)
    elif command == "seek":
        seek(a[0], a[1], int(a[2]))
    elif command == "soak" and soak is not None:
        soak(a[0], a[1], int(a[2]))
    else:
        sys.exit(f"unknown command {command}")
