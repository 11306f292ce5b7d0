/*
 * A sedge filter in C, without a C library. Include this file in one source file, which defines
 *
 *     const uint32_t sedge_needs = SEDGE_VALUE;              the fields that are read
 *     const char *sedge_configure(void);                     0, or why the settings are refused
 *     sedge_answer sedge_filter(const sedge_record *record); keep, drop, replace, reject, route
 *
 * It is the canonical ABI of the world `record-filter` of `sedge:plugin@0.1.0` written by hand;
 * `sedge plugin build` makes a component of the module.
 */
#ifndef SEDGE_PLUGIN_H
#define SEDGE_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that need not end with a zero. `bytes` is 0 if there are none: a field that is null. */
typedef struct {
  const char *bytes;
  uint32_t length;
} sedge_text;

enum { SEDGE_KEY = 1, SEDGE_VALUE = 2, SEDGE_HEADERS = 4, SEDGE_ORIGIN = 8 };
enum { SEDGE_ERROR, SEDGE_WARN, SEDGE_INFO, SEDGE_DEBUG };
enum { SEDGE_PRODUCE, SEDGE_FETCH, SEDGE_MIRROR_OUT, SEDGE_MIRROR_IN };

typedef struct {
  sedge_text topic;
  uint32_t partition;
  uint32_t stage;
  /* Null if SEDGE_ORIGIN is not in `sedge_needs`. Either of a client, or of a link. */
  sedge_text principal; /* null if the listener does not authenticate */
  sedge_text client_id; /* null if the client chose none */
  sedge_text peer;      /* its IP address */
  sedge_text listener;  /* the listener's name */
  sedge_text link;      /* the link's name */
} sedge_batch;

/* Valid until `sedge_filter` returns. Fields that are not in `sedge_needs` are null. */
typedef struct {
  const sedge_batch *batch;
  sedge_text key, value;
  sedge_text headers; /* as in Kafka's record: a varint count, then names and values */
  int64_t timestamp_ms;
} sedge_record;

/* Made by the functions below. */
typedef struct {
  uint8_t verdict;
  bool has_key, has_value;
  sedge_text key, value;
  sedge_text reason; /* or the topic of a route */
} sedge_answer;

/* Written by you. */
extern const uint32_t sedge_needs;
const char *sedge_configure(void);
sedge_answer sedge_filter(const sedge_record *record);

/* Memory that lasts until the batch is answered; in `sedge_configure`, for ever. */
void *sedge_allocate(uint32_t size);

static inline sedge_text sedge_text_of(const char *text) {
  uint32_t length = 0;
  while (text[length]) length++;
  return (sedge_text){text, length};
}

static inline sedge_answer sedge_keep(void) { return (sedge_answer){.verdict = 0}; }

static inline sedge_answer sedge_drop(void) { return (sedge_answer){.verdict = 1}; }

/* Replaces the value, by null if `value.bytes` is 0. */
static inline sedge_answer sedge_replace_value(sedge_text value) {
  return (sedge_answer){.verdict = 2, .has_value = true, .value = value};
}

static inline sedge_answer sedge_replace(sedge_text key, sedge_text value) {
  return (sedge_answer){
      .verdict = 2, .has_key = true, .has_value = true, .key = key, .value = value};
}

/* The producer gets INVALID_RECORD with this text. */
static inline sedge_answer sedge_reject(const char *reason) {
  return (sedge_answer){.verdict = 3, .reason = sedge_text_of(reason)};
}

/* The record is written to a topic that sedge.filter.routes names, as it is. */
static inline sedge_answer sedge_route(const char *topic) {
  return (sedge_answer){.verdict = 4, .reason = sedge_text_of(topic)};
}

static inline bool sedge_is(sedge_text a, sedge_text b) {
  return a.length == b.length && !__builtin_memcmp(a.bytes, b.bytes, a.length);
}

static inline bool sedge_contains(sedge_text text, sedge_text part) {
  for (uint32_t at = 0; text.bytes && at + part.length <= text.length; at++)
    if (sedge_is((sedge_text){text.bytes + at, part.length}, part)) return true;
  return false;
}

/* ---- the canonical ABI ---- */

#define SEDGE_EXPORT(name) __attribute__((export_name(name)))

__attribute__((import_module("sedge:plugin/log@0.1.0"), import_name("log"))) void sedge_log_bytes(
    uint32_t level, const char *bytes, uint32_t length);

/* Writes a line to the broker's log. */
static inline void sedge_log(uint32_t level, sedge_text line) {
  sedge_log_bytes(level, line.bytes, line.length);
}

/* clang calls these, also for code that does not. */
void *memcpy(void *to, const void *from, size_t size) {
  for (size_t at = 0; at < size; at++) ((char *)to)[at] = ((const char *)from)[at];
  return to;
}

void *memset(void *to, int byte, size_t size) {
  for (size_t at = 0; at < size; at++) ((char *)to)[at] = (char)byte;
  return to;
}

int memcmp(const void *a, const void *b, size_t size) {
  const uint8_t *x = a, *y = b;
  for (size_t at = 0; at < size; at++)
    if (x[at] != y[at]) return x[at] < y[at] ? -1 : 1;
  return 0;
}

/*
 * What a call allocates is freed at once, when the broker has read the answer. Below `sedge_floor`
 * is what `sedge_configure` allocated, and the settings.
 */
extern char __heap_base;
static uintptr_t sedge_top, sedge_floor;

SEDGE_EXPORT("cabi_realloc")
void *sedge_realloc(void *old, size_t old_size, size_t align, size_t size) {
  uintptr_t start = sedge_top ? sedge_top : (uintptr_t)&__heap_base;
  bool is_last = old_size && (uintptr_t)old + old_size == sedge_top;
  start = is_last ? (uintptr_t)old : (start + align - 1) & ~(uintptr_t)(align - 1);
  size_t have = (size_t)__builtin_wasm_memory_size(0) << 16;
  if (size > UINT32_MAX - start) __builtin_trap();
  if (start + size > have) {
    size_t pages = (start + size - have + 65535) >> 16;
    if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) __builtin_trap();
  }
  sedge_top = start + size;
  if (old_size && !is_last) memcpy((void *)start, old, old_size < size ? old_size : size);
  return (void *)start;
}

void *sedge_allocate(uint32_t size) { return sedge_realloc(0, 0, 16, size); }

typedef struct {
  sedge_text name, value;
} sedge_setting_pair;

static sedge_setting_pair *sedge_settings;
static uint32_t sedge_settings_count;

/* Returns a setting, or `otherwise` if it is not set. */
static inline sedge_text sedge_setting(const char *name, const char *otherwise) {
  for (uint32_t at = 0; at < sedge_settings_count; at++)
    if (sedge_is(sedge_settings[at].name, sedge_text_of(name))) return sedge_settings[at].value;
  return sedge_text_of(otherwise);
}

static struct {
  uint8_t is_error;
  sedge_text refusal;
} sedge_configured;

SEDGE_EXPORT("sedge:plugin/lifecycle@0.1.0#configure")
void *sedge_export_configure(sedge_setting_pair *settings, uint32_t count) {
  sedge_settings = settings;
  sedge_settings_count = count;
  const char *refusal = sedge_configure();
  sedge_configured.is_error = refusal != 0;
  if (refusal) sedge_configured.refusal = sedge_text_of(refusal);
  sedge_floor = sedge_top;
  return &sedge_configured;
}

SEDGE_EXPORT("sedge:plugin/filter@0.1.0#describe")
uint32_t sedge_export_describe(void) { return sedge_needs; }

typedef struct {
  uint32_t key, key_length, value, value_length, headers, headers_length;
  int64_t timestamp_delta_ms;
} sedge_span;

typedef struct {
  uint32_t key, key_length, value, value_length;
} sedge_replacement;

#define SEDGE_NULL 0xffffffffu
#define SEDGE_SAME 0xfffffffeu

static sedge_text sedge_field(const char *blob, uint32_t offset, uint32_t length) {
  return length == SEDGE_NULL ? (sedge_text){0} : (sedge_text){blob + offset, length};
}

/* Copies a field into the blob, or adds up the size of the blob if there is none yet. */
static uint32_t sedge_put(bool has, sedge_text field, char *blob, uint32_t *offset, uint32_t *end) {
  *offset = *end;
  if (!has) return SEDGE_SAME;
  if (!field.bytes) return SEDGE_NULL;
  if (blob) memcpy(blob + *end, field.bytes, field.length);
  if (__builtin_add_overflow(*end, field.length, end)) __builtin_trap();
  return field.length;
}

static struct {
  uint8_t *verdicts;
  uint32_t verdicts_length;
  sedge_replacement *replacements;
  uint32_t replacements_length;
  char *blob;
  uint32_t blob_length;
  sedge_text *reasons;
  uint32_t reasons_count;
} sedge_outcome;

typedef struct {
  uint8_t is_some;
  sedge_text text;
} sedge_optional;

/* More than 16 flat parameters are passed in memory. */
typedef struct {
  sedge_text topic;
  uint32_t partition;
  uint8_t stage;
  int64_t base_timestamp_ms;
  uint8_t has_origin;
  _Alignas(4) uint8_t is_link;
  union {
    struct {
      sedge_optional principal, client_id;
      sedge_text peer, listener;
    } client;
    sedge_text link;
  } origin;
  sedge_text blob, spans;
} sedge_parameters;

_Static_assert(sizeof(sedge_parameters) == 88, "the layout of the canonical ABI");

static sedge_text sedge_optional_text(sedge_optional text) {
  return text.is_some ? text.text : (sedge_text){0};
}

SEDGE_EXPORT("sedge:plugin/filter@0.1.0#filter-batch")
void *sedge_export_filter_batch(const sedge_parameters *info) {
  sedge_batch batch = {.topic = info->topic, .partition = info->partition, .stage = info->stage};
  if (info->has_origin && info->is_link) batch.link = info->origin.link;
  if (info->has_origin && !info->is_link) {
    batch.principal = sedge_optional_text(info->origin.client.principal);
    batch.client_id = sedge_optional_text(info->origin.client.client_id);
    batch.peer = info->origin.client.peer;
    batch.listener = info->origin.client.listener;
  }
  const char *blob = info->blob.bytes, *spans = info->spans.bytes;
  int64_t base_timestamp_ms = info->base_timestamp_ms;
  uint32_t count = info->spans.length / sizeof(sedge_span), replaced = 0, rejected = 0, routed = 0,
           put = 0;
  sedge_answer *answers = sedge_allocate(count * sizeof(sedge_answer));
  for (uint32_t at = 0; at < count; at++) {
    sedge_span span;
    memcpy(&span, spans + at * sizeof(sedge_span), sizeof(sedge_span));
    sedge_record record = {.batch = &batch,
                           .key = sedge_field(blob, span.key, span.key_length),
                           .value = sedge_field(blob, span.value, span.value_length),
                           .headers = sedge_field(blob, span.headers, span.headers_length),
                           .timestamp_ms = base_timestamp_ms + span.timestamp_delta_ms};
    answers[at] = sedge_filter(&record);
    replaced += answers[at].verdict == 2 || answers[at].verdict == 4;
    routed += answers[at].verdict == 4;
    rejected += answers[at].verdict == 3;
    put |= answers[at].verdict;
  }
  memset(&sedge_outcome, 0, sizeof sedge_outcome);
  if (!put) return &sedge_outcome;
  sedge_outcome.verdicts = sedge_allocate(count);
  sedge_outcome.verdicts_length = count;
  sedge_outcome.replacements = sedge_allocate(replaced * sizeof(sedge_replacement));
  sedge_outcome.replacements_length = replaced * sizeof(sedge_replacement);
  sedge_outcome.reasons = sedge_allocate((rejected + routed) * sizeof(sedge_text));
  for (uint32_t at = 0; at < count; at++) {
    sedge_outcome.verdicts[at] = answers[at].verdict;
    if (answers[at].verdict == 3)
      sedge_outcome.reasons[sedge_outcome.reasons_count++] = answers[at].reason;
  }
  /* The topics follow, each once; a verdict has the number of its topic. */
  for (uint32_t at = 0; routed && at < count; at++) {
    if (answers[at].verdict != 4) continue;
    uint32_t topic = rejected;
    while (topic < sedge_outcome.reasons_count &&
           !sedge_is(sedge_outcome.reasons[topic], answers[at].reason))
      topic++;
    if (topic == sedge_outcome.reasons_count)
      sedge_outcome.reasons[sedge_outcome.reasons_count++] = answers[at].reason;
    sedge_outcome.verdicts[at] += topic - rejected;
  }
  /* The first time to know the size of the blob, the second time to fill it. */
  for (int time = 0; replaced && time < 2; time++) {
    sedge_replacement *entry = sedge_outcome.replacements;
    if (time) sedge_outcome.blob = sedge_allocate(sedge_outcome.blob_length);
    sedge_outcome.blob_length = 0;
    for (uint32_t at = 0; at < count; at++) {
      sedge_answer *answer = &answers[at];
      if (answer->verdict != 2 && answer->verdict != 4) continue;
      entry->key_length = sedge_put(answer->has_key, answer->key, sedge_outcome.blob, &entry->key,
                                    &sedge_outcome.blob_length);
      entry->value_length = sedge_put(answer->has_value, answer->value, sedge_outcome.blob,
                                      &entry->value, &sedge_outcome.blob_length);
      entry++;
    }
  }
  return &sedge_outcome;
}

SEDGE_EXPORT("cabi_post_sedge:plugin/filter@0.1.0#filter-batch")
void sedge_export_filter_batch_done(void *outcome) {
  (void)outcome;
  sedge_top = sedge_floor;
}

#endif
