"""A sedge filter in Python: hides the flat bytes of the world `record-filter`."""

import struct
import traceback
from typing import NamedTuple

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.filter import BatchInfo, Needs, Outcome
from wit_world.imports import log as _log

_NULL = 0xFFFFFFFF
_SAME = 0xFFFFFFFE
_SPAN = struct.Struct("<6Iq")


class _Same:
    """A field that stays."""


SAME = _Same()
Field = bytes | str | None | _Same


class Answer(NamedTuple):
    verdict: int
    key: Field = SAME
    value: Field = SAME
    reason: str = ""
    topic: str = ""


KEEP = Answer(0)
DROP = Answer(1)


def replace(key: Field = SAME, value: Field = SAME) -> Answer:
    """Replaces fields; None makes one null."""
    return Answer(2, key, value)


def reject(reason: str) -> Answer:
    """The producer gets INVALID_RECORD with this text."""
    return Answer(3, reason=reason)


def route(topic: str, key: Field = SAME, value: Field = SAME) -> Answer:
    """The record is written to a topic that sedge.filter.routes names."""
    return Answer(4, key, value, topic=topic)


def log(level: str, line: str) -> None:
    """Writes a line to the broker's log; the level is error, warn, info or debug."""
    _log.log(_log.Level[level.upper()], line)


class Record(NamedTuple):
    """A record. Fields that are not in `needs` are None."""

    batch: BatchInfo
    key: bytes | None
    value: bytes | None
    encoded_headers: bytes | None
    timestamp_ms: int

    @property
    def headers(self) -> list[tuple[bytes, bytes | None]]:
        encoded = iter(self.encoded_headers or b"\0")

        def number() -> int:
            value = shift = 0
            for byte in encoded:
                value |= (byte & 0x7F) << shift
                if byte < 0x80:
                    break
                shift += 7
            return value >> 1 ^ -(value & 1)

        def field() -> bytes | None:
            length = number()
            return None if length < 0 else bytes(next(encoded) for _ in range(length))

        return [(field() or b"", field()) for _ in range(number())]


class Plugin:
    """The base of a filter."""

    needs: list[str] = ["value"]

    def configure(self, settings: dict[str, str]) -> None:
        """Reads the settings; raises ValueError to refuse them."""

    def filter(self, record: Record) -> Answer:
        """Decides on a record."""
        raise NotImplementedError


def exported(plugin: Plugin) -> tuple[type, type]:
    """Returns what app.py has to name Lifecycle and Filter."""

    class Lifecycle(exports.Lifecycle):
        def configure(self, config: list[tuple[str, str]]) -> None:
            try:
                plugin.configure(dict(config))
            except ValueError as refusal:
                raise Err(str(refusal)) from None

    class Filter(exports.Filter):
        def describe(self) -> Needs:
            needs = Needs(0)
            for field in plugin.needs:
                needs |= Needs[field.upper()]
            return needs

        def filter_batch(self, info: BatchInfo, blob: bytes, spans: bytes) -> Outcome:
            try:
                return _answered(plugin, info, blob, spans)
            except BaseException:
                # An error ends the instance without a word.
                log("error", traceback.format_exc())
                raise

    return Lifecycle, Filter


def _answered(plugin: Plugin, info: BatchInfo, blob: bytes, spans: bytes) -> Outcome:
    verdicts, replacements, replaced = bytearray(), bytearray(), bytearray()
    reasons: list[str] = []
    topics: list[str] = []

    def field(offset: int, length: int) -> bytes | None:
        return None if length == _NULL else blob[offset : offset + length]

    def put(value: Field) -> None:
        if isinstance(value, str):
            value = value.encode()
        length = _SAME if isinstance(value, _Same) else _NULL if value is None else len(value)
        replacements.extend(struct.pack("<2I", len(replaced), length))
        if isinstance(value, bytes):
            replaced.extend(value)

    for key, key_len, value, value_len, headers, headers_len, delta_ms in _SPAN.iter_unpack(spans):
        fields = field(key, key_len), field(value, value_len), field(headers, headers_len)
        record = Record(info, *fields, info.base_timestamp_ms + delta_ms)
        answer = plugin.filter(record)
        verdict = answer.verdict
        if verdict == 3:
            reasons.append(answer.reason)
        elif verdict == 4:
            if answer.topic not in topics:
                topics.append(answer.topic)
            verdict += topics.index(answer.topic)
        if verdict == 2 or verdict >= 4:
            put(answer.key)
            put(answer.value)
        verdicts.append(verdict)
    return Outcome(bytes(verdicts), bytes(replacements), bytes(replaced), reasons + topics)
