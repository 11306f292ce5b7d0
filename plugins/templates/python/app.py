"""Drops records whose value contains a word: the setting `sedge.plugin.my-plugin.word` of the
topic, by default `debug`.
"""

from sedge_plugin import DROP, KEEP, Answer, Plugin, Record, exported


class DropWord(Plugin):
    needs = ["value"]

    def configure(self, settings: dict[str, str]) -> None:
        self.word = settings.get("word", "debug").encode()
        if not self.word:
            raise ValueError("setting word: must not be empty")

    def filter(self, record: Record) -> Answer:
        value = record.value
        return DROP if value is not None and self.word in value else KEEP


Lifecycle, Filter = exported(DropWord())
