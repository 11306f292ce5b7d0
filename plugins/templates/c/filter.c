/*
 * Drops records whose value contains a word: the setting `sedge.plugin.my-plugin.word` of the
 * topic, by default `debug`.
 */
#include "sedge_plugin.h"

const uint32_t sedge_needs = SEDGE_VALUE;

static sedge_text word;

const char *sedge_configure(void) {
  word = sedge_setting("word", "debug");
  return word.length ? 0 : "setting word: must not be empty";
}

sedge_answer sedge_filter(const sedge_record *record) {
  return sedge_contains(record->value, word) ? sedge_drop() : sedge_keep();
}
