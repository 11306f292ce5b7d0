/* Answers as each record's value says; see records.jsonl. */
#include "sedge_plugin.h"

const uint32_t sedge_needs = SEDGE_KEY | SEDGE_VALUE | SEDGE_HEADERS;

const char *sedge_configure(void) {
  sedge_text refuse = sedge_setting("refuse", "no");
  return sedge_is(refuse, sedge_text_of("yes")) ? "setting refuse: says so" : 0;
}

static sedge_text number(int64_t number) {
  char *digits = sedge_allocate(20);
  uint32_t at = 20;
  do digits[--at] = (char)('0' + number % 10);
  while (number /= 10);
  return (sedge_text){digits + at, 20 - at};
}

sedge_answer sedge_filter(const sedge_record *record) {
  sedge_text value = record->value;
  if (!value.bytes) return sedge_replace_value(sedge_text_of("was null"));
  if (sedge_is(value, sedge_text_of("drop"))) return sedge_drop();
  if (sedge_is(value, sedge_text_of("null"))) return sedge_replace_value((sedge_text){0});
  if (sedge_is(value, sedge_text_of("reject"))) return sedge_reject("says so: é");
  if (sedge_is(value, sedge_text_of("swap"))) return sedge_replace(value, record->key);
  if (sedge_is(value, sedge_text_of("time")))
    return sedge_replace_value(number(record->timestamp_ms));
  if (sedge_is(value, sedge_text_of("headers"))) return sedge_replace_value(record->headers);
  if (sedge_is(value, sedge_text_of("topic"))) return sedge_replace_value(record->batch->topic);
  if (sedge_is(value, sedge_text_of("route"))) return sedge_route("first");
  if (sedge_is(value, sedge_text_of("route again"))) return sedge_route("first");
  if (sedge_is(value, sedge_text_of("route elsewhere"))) return sedge_route("second");
  return sedge_keep();
}
