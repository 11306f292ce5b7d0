"""Answers as each record's value says; see records.jsonl."""

from sedge_plugin import DROP, KEEP, Answer, Plugin, Record, exported, reject, replace, route


def encoded(headers: list[tuple[bytes, bytes | None]]) -> bytes:
    """As Kafka encodes them: all names and values here are short."""

    def field(value: bytes | None) -> bytes:
        return b"\1" if value is None else bytes([len(value) * 2]) + value

    fields = b"".join(field(name) + field(value) for name, value in headers)
    return bytes([len(headers) * 2]) + fields


class Answers(Plugin):
    needs = ["key", "value", "headers"]

    def configure(self, settings: dict[str, str]) -> None:
        if settings.get("refuse") == "yes":
            raise ValueError("setting refuse: says so")

    def filter(self, record: Record) -> Answer:
        match record.value:
            case None:
                return replace(value="was null")
            case b"drop":
                return DROP
            case b"null":
                return replace(value=None)
            case b"reject":
                return reject("says so: é")
            case b"swap":
                return replace(key=record.value, value=record.key)
            case b"time":
                return replace(value=str(record.timestamp_ms))
            case b"headers":
                return replace(value=encoded(record.headers))
            case b"topic":
                return replace(value=record.batch.topic)
            case b"route" | b"route again":
                return route("first")
            case b"route elsewhere":
                return route("second")
            case _:
                return KEEP


Lifecycle, Filter = exported(Answers())
