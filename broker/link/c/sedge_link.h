/* The device's end of a sedge link, version 1, in C99: see ../FORMAT.md. No heap, no library but memcpy, memmove and strlen.
 *
 * In one file: #define SEDGE_LINK_IMPLEMENTATION before the #include.
 *
 *   static uint8_t queue[1024];
 *   static const struct sedge_topic topics[] = {{"temperature", SEDGE_PUBLISH}};
 *   struct sedge_link link;
 *   sedge_init(&link, "pump-1", 0, topics, 1, queue, sizeof queue, now_ms());
 *   link.on_event = on_event;
 *   for (;;) {
 *       while (uart_has_byte()) sedge_handle(&link, uart_read(), now_ms());
 *       while ((length = sedge_poll(&link, now_ms(), &frame)) > 0) uart_write(frame, length);
 *   }
 *
 * sedge_publish queues a reading, and returns 0 if there is no room. All times are milliseconds, and may wrap.
 * Licence: Apache-2.0. */
#ifndef SEDGE_LINK_H
#define SEDGE_LINK_H
#include <stddef.h>
#include <stdint.h>

#define SEDGE_VALUE_MAX 224
#define SEDGE_MESSAGE_MAX 250

enum sedge_usage { SEDGE_PUBLISH, SEDGE_SUBSCRIBE_LATEST, SEDGE_SUBSCRIBE_EARLIEST };
enum sedge_reason { SEDGE_VERSION, SEDGE_IDENTITY, SEDGE_DENIED, SEDGE_TOPIC, SEDGE_INVALID, SEDGE_REPLACED, SEDGE_LIMIT };
enum sedge_event_kind {
    SEDGE_CONNECTED,     /* first: the first reading that is not committed */
    SEDGE_ACKNOWLEDGED,  /* first: likewise */
    SEDGE_CHALLENGED,    /* value: 16 bytes; answer with sedge_prove */
    SEDGE_TOPIC_REFUSED, /* topic, reason */
    SEDGE_REFUSED,       /* first, count, reason: these readings are dropped */
    SEDGE_DELIVERED,     /* topic, partition, offset, unix_ms, value */
    SEDGE_STOPPED        /* reason: the device rests until sedge_restart */
};
struct sedge_topic { const char *name; uint8_t usage; };
struct sedge_event {
    enum sedge_event_kind kind;
    uint32_t first, count, partition;
    uint64_t offset, unix_ms;
    uint8_t topic, reason;
    const uint8_t *value;
    size_t length;
};
enum sedge_state { SEDGE_GREETING, SEDGE_PROVING, SEDGE_ANNOUNCING, SEDGE_OPEN, SEDGE_RESTING };
struct sedge_link {
    void (*on_event)(struct sedge_link *, const struct sedge_event *);
    void *user;
    const char *identity;
    const struct sedge_topic *topics;
    uint8_t topic_count, state, announced, repeats, is_waiting, is_kept, owes_received, owes_time, rx_is_long, rx_length;
    uint32_t answer_ms, session, attempt, instance, due_ms, delivery, noise;
    uint8_t *queue;              /* a ring: topic, length, time (4), value */
    size_t queue_bytes, start, used;
    uint32_t first, count, sent; /* the first reading queued, how many, how many of them are sent */
    uint16_t window;
    size_t message_max;
    uint64_t clock_offset;       /* unix time minus the device's; 0 before it is known */
    uint8_t mac[32], rx[255], tx[256];
};

/* A device whose readings are one count over resets sets is_kept to 1 after sedge_init, and its own instance. */
void sedge_init(struct sedge_link *, const char *identity, uint32_t instance, const struct sedge_topic *, uint8_t topic_count,
                uint8_t *queue, size_t queue_bytes, uint32_t now_ms);
int sedge_publish(struct sedge_link *, uint8_t topic, const void *value, size_t length, uint32_t now_ms);
void sedge_handle(struct sedge_link *, uint8_t byte, uint32_t now_ms);
size_t sedge_poll(struct sedge_link *, uint32_t now_ms, const uint8_t **frame);
void sedge_prove(struct sedge_link *, const uint8_t mac[32]);
void sedge_restart(struct sedge_link *, uint32_t now_ms);

#ifdef SEDGE_LINK_IMPLEMENTATION
#include <string.h>

/* ---- Frames ---- */

static uint32_t sedge_crc(uint32_t crc, const uint8_t *bytes, size_t length) {
    while (length--) {
        crc ^= *bytes++;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1u)));
    }
    return crc;
}
static uint32_t sedge_checksum(uint32_t session, const uint8_t *message, size_t length) {
    uint8_t number[4] = {(uint8_t)session, (uint8_t)(session >> 8), (uint8_t)(session >> 16), (uint8_t)(session >> 24)};
    return ~sedge_crc(sedge_crc(0xffffffffu, number, 4), message, length);
}

/* Makes a frame of the message at tx + 1. */
static size_t sedge_seal(struct sedge_link *l, size_t length, uint32_t session) {
    uint32_t sum = sedge_checksum(session, l->tx + 1, length);
    size_t end = 1 + length, code = 0;
    for (int at = 0; at < 4; at++) l->tx[end++] = (uint8_t)(sum >> (8 * at));
    for (size_t at = 1; at < end; at++)
        if (l->tx[at] == 0) l->tx[code] = (uint8_t)(at - code), code = at;
    l->tx[code] = (uint8_t)(end - code);
    l->tx[end] = 0;
    return end + 1;
}

/* ---- Messages: a writer and a reader that remember a failure ---- */

struct sedge_bytes { uint8_t *at; const uint8_t *end; int failed; };

static void sedge_put(struct sedge_bytes *w, uint8_t byte) {
    if (w->at < w->end) *w->at++ = byte;
    else w->failed = 1;
}
static void sedge_put_varint(struct sedge_bytes *w, uint64_t value) {
    for (; value >= 0x80; value >>= 7) sedge_put(w, (uint8_t)(value | 0x80));
    sedge_put(w, (uint8_t)value);
}
static void sedge_put_text(struct sedge_bytes *w, const char *text) {
    sedge_put_varint(w, strlen(text));
    while (*text) sedge_put(w, (uint8_t)*text++);
}
static uint8_t sedge_get(struct sedge_bytes *r) {
    if (r->at < r->end) return *r->at++;
    r->failed = 1;
    return 0;
}
static uint64_t sedge_get_varint(struct sedge_bytes *r, int bits) {
    uint64_t value = 0;
    for (int shift = 0; shift < bits; shift += 7) {
        uint8_t byte = sedge_get(r);
        uint64_t part = byte & 0x7f;
        if (bits - shift < 7 && part >> (bits - shift)) break;
        value |= part << shift;
        if (!(byte & 0x80)) return value;
    }
    r->failed = 1;
    return 0;
}

#define SEDGE_U32(r) ((uint32_t)sedge_get_varint(r, 32))

static const uint8_t *sedge_get_bytes(struct sedge_bytes *r, size_t length) {
    const uint8_t *bytes = r->at;
    if ((size_t)(r->end - r->at) < length) r->failed = 1;
    else r->at += length;
    return bytes;
}

/* ---- The queue ---- */

static size_t sedge_place(const struct sedge_link *l, size_t at) { return at >= l->queue_bytes ? at - l->queue_bytes : at; }

static size_t sedge_after(const struct sedge_link *l, size_t at) {
    return sedge_place(l, at + 6 + l->queue[sedge_place(l, at + 1)]);
}
static uint32_t sedge_taken(const struct sedge_link *l, size_t at) {
    uint32_t taken = 0;
    for (int byte = 3; byte >= 0; byte--) taken = taken << 8 | l->queue[sedge_place(l, at + 2 + (size_t)byte)];
    return taken;
}
static void sedge_drop(struct sedge_link *l, uint32_t count) {
    while (count-- && l->count) {
        size_t next = sedge_after(l, l->start);
        l->used -= 6 + (size_t)l->queue[sedge_place(l, l->start + 1)];
        l->start = next;
        l->first++, l->count--;
        if (l->sent) l->sent--;
    }
}

/* Writes the readings that are next, as many as fit. Returns the message's length. */
static size_t sedge_write_readings(struct sedge_link *l, uint32_t now_ms) {
    size_t at = l->start, bytes = 0, limit = l->message_max - 15;
    uint8_t *readings = l->tx + 1 + 15;
    for (uint32_t skip = l->sent; skip--;) at = sedge_after(l, at);
    uint8_t topic = l->queue[at], size = l->queue[sedge_place(l, at + 1)];
    uint32_t first = l->first + l->sent, taken = sedge_taken(l, at), last = taken, count = 0;
    do {
        uint32_t after = sedge_taken(l, at) - last;
        int is_same = l->queue[at] == topic && l->queue[sedge_place(l, at + 1)] == size && after < 1u << 21;
        if (count && (!is_same || bytes + 4 + size > limit)) break;
        struct sedge_bytes w = {readings + bytes, l->tx + 1 + SEDGE_MESSAGE_MAX, 0};
        sedge_put_varint(&w, after);
        if (size == 0) sedge_put(&w, 0);
        for (size_t of = 0; of < size; of++) sedge_put(&w, l->queue[sedge_place(l, at + 6 + of)]);
        bytes = (size_t)(w.at - readings);
        last += after, l->sent++, count++;
        at = sedge_after(l, at);
    } while (l->sent < l->count && l->sent < l->window);
    struct sedge_bytes w = {l->tx + 1, readings, 0};
    sedge_put(&w, 3), sedge_put_varint(&w, first);
    sedge_put(&w, topic), sedge_put_varint(&w, (uint32_t)(now_ms - taken));
    sedge_put(&w, size), sedge_put_varint(&w, bytes);
    memmove(w.at, readings, bytes);
    return (size_t)(w.at - (l->tx + 1)) + bytes;
}

/* ---- The conversation ---- */

static void sedge_tell(struct sedge_link *l, const struct sedge_event *event) {
    if (l->on_event) l->on_event(l, event);
}
static void sedge_wait(struct sedge_link *l, uint32_t now_ms) {
    l->due_ms = now_ms + (l->answer_ms << (l->repeats < 4 ? l->repeats : 4));
    l->is_waiting = 1;
}
static void sedge_rest(struct sedge_link *l, uint8_t reason) {
    struct sedge_event event = {.kind = SEDGE_STOPPED, .reason = reason};
    l->state = SEDGE_RESTING, l->session = 0;
    sedge_tell(l, &event);
}
static void sedge_settle(struct sedge_link *l, uint32_t now_ms) {
    l->repeats = l->is_waiting = 0, l->due_ms = now_ms;
}
static void sedge_noisy(struct sedge_link *l) { l->message_max = l->message_max / 2 < 48 ? 48 : l->message_max / 2; }

static void sedge_welcome(struct sedge_link *l, struct sedge_bytes *r, uint32_t attempt, uint32_t now_ms) {
    uint32_t session = SEDGE_U32(r), instance = SEDGE_U32(r);
    uint32_t next = SEDGE_U32(r);
    uint16_t window = (uint16_t)sedge_get_varint(r, 16);
    uint64_t unix_ms = sedge_get_varint(r, 64);
    struct sedge_event event = {.kind = SEDGE_CONNECTED, .first = next};
    if (r->failed || r->at != r->end || attempt != l->attempt || l->session || l->state == SEDGE_RESTING) return;
    int is_fresh = l->instance == 0;
    l->instance = instance;
    if (next - l->first > l->count) {
        if (!l->is_kept && !is_fresh) { /* The count of another device: begin one of our own. */
            l->instance = l->first = 0;
            sedge_restart(l, now_ms);
            return;
        }
        sedge_drop(l, l->count);
        l->first = next;
    }
    sedge_drop(l, next - l->first);
    l->sent = 0, l->session = session, l->window = window;
    l->clock_offset = unix_ms - now_ms;
    l->state = l->topic_count ? SEDGE_ANNOUNCING : SEDGE_OPEN;
    l->announced = l->owes_received = 0, l->delivery = 0;
    sedge_settle(l, now_ms);
    sedge_tell(l, &event);
}
static void sedge_greeted(struct sedge_link *l, struct sedge_bytes *r, uint32_t now_ms) {
    uint8_t kind = sedge_get(r);
    uint32_t attempt = kind == 3 ? 0 : SEDGE_U32(r);
    int is_answer = attempt == l->attempt && l->session == 0;
    if (kind == 0) sedge_welcome(l, r, attempt, now_ms);
    if (kind == 1 && sedge_get(r) == 16) {
        struct sedge_event event = {.kind = SEDGE_CHALLENGED, .value = sedge_get_bytes(r, 16), .length = 16};
        if (!r->failed && is_answer) sedge_tell(l, &event);
    }
    uint8_t reason = kind == 2 ? sedge_get(r) : 0;
    if (kind == 2 && !r->failed && is_answer) sedge_rest(l, reason);
    if (kind == 3 && l->session) sedge_restart(l, now_ms);
}
static void sedge_acknowledged(struct sedge_link *l, uint32_t next, uint16_t window, uint32_t now_ms) {
    uint32_t count = next - l->first;
    struct sedge_event event = {.kind = SEDGE_ACKNOWLEDGED, .first = next};
    if (count > l->count) return;
    l->window = window;
    l->repeats = 0;
    sedge_drop(l, count);
    if (l->sent) sedge_wait(l, now_ms);
    else l->is_waiting = 0, l->due_ms = now_ms + (l->count ? l->answer_ms : 10000);
    if (!count) return;
    l->message_max = l->message_max + 16 > SEDGE_MESSAGE_MAX ? SEDGE_MESSAGE_MAX : l->message_max + 16;
    sedge_tell(l, &event);
}
static void sedge_message(struct sedge_link *l, struct sedge_bytes *r, uint32_t now_ms) {
    struct sedge_event event = {.kind = SEDGE_REFUSED};
    uint8_t kind = sedge_get(r);
    uint32_t number = kind == 4 || kind == 10 ? sedge_get(r) : SEDGE_U32(r);
    if (kind == 4) {
        event.kind = SEDGE_TOPIC_REFUSED;
        event.topic = (uint8_t)number;
        event.count = sedge_get(r);
        if (event.count) event.reason = sedge_get(r);
        if (r->failed || l->state != SEDGE_ANNOUNCING || event.topic != l->announced) return;
        if (++l->announced == l->topic_count) l->state = SEDGE_OPEN;
        sedge_settle(l, now_ms);
        if (event.count) sedge_tell(l, &event);
    } else if (kind == 5) {
        uint16_t window = (uint16_t)sedge_get_varint(r, 16);
        if (!r->failed && l->state == SEDGE_OPEN) sedge_acknowledged(l, number, window, now_ms);
    } else if (kind == 6 && !r->failed && number - l->first < l->sent) {
        l->sent = number - l->first;
        sedge_noisy(l);
    } else if (kind == 7) {
        event.first = number, event.count = SEDGE_U32(r), event.reason = sedge_get(r);
        if (!r->failed) sedge_tell(l, &event);
    } else if (kind == 8) {
        event.kind = SEDGE_DELIVERED;
        event.topic = sedge_get(r);
        event.partition = SEDGE_U32(r), event.offset = sedge_get_varint(r, 64);
        event.unix_ms = sedge_get_varint(r, 64), event.length = SEDGE_U32(r);
        event.value = sedge_get_bytes(r, event.length);
        if (r->failed) return;
        l->owes_received = 1;
        if (number != l->delivery) return;
        l->delivery++;
        sedge_tell(l, &event);
    } else if (kind == 9) {
        uint64_t unix_ms = sedge_get_varint(r, 64);
        if (!r->failed) l->clock_offset = unix_ms + (uint32_t)(now_ms - number) / 2 - now_ms;
    } else if (kind == 10 && !r->failed)
        sedge_rest(l, (uint8_t)number);
}
void sedge_handle(struct sedge_link *l, uint8_t byte, uint32_t now_ms) {
    if (byte) {
        if (l->rx_length < sizeof l->rx) l->rx[l->rx_length++] = byte;
        else l->rx_is_long = 1;
        return;
    }
    size_t length = l->rx_length, code = 0, next;
    int is_long = l->rx_is_long;
    l->rx_length = l->rx_is_long = 0;
    if (!length) return;
    for (; code < length; code = next) next = code + l->rx[code], l->rx[code] = 0;
    l->noise++;
    if (is_long || code != length || length < 6) return;
    uint8_t *message = l->rx + 1, *end = l->rx + length - 4;
    uint32_t sum = end[0] | (uint32_t)end[1] << 8 | (uint32_t)end[2] << 16 | (uint32_t)end[3] << 24;
    struct sedge_bytes r = {message, end, 0};
    if (l->session && sedge_checksum(l->session, message, length - 5) == sum) sedge_message(l, &r, now_ms);
    else if (sedge_checksum(0, message, length - 5) == sum) sedge_greeted(l, &r, now_ms);
    else return;
    l->noise--;
}

/* Counts a repetition. Returns 0 if it is time to greet instead. */
static int sedge_repeat(struct sedge_link *l, uint32_t now_ms) {
    if (!l->is_waiting || ++l->repeats <= 4) return 1;
    sedge_restart(l, now_ms);
    return 0;
}
size_t sedge_poll(struct sedge_link *l, uint32_t now_ms, const uint8_t **frame) {
    struct sedge_bytes w = {l->tx + 1, l->tx + 1 + SEDGE_MESSAGE_MAX, 0};
    int is_due = (int32_t)(now_ms - l->due_ms) >= 0;
    *frame = l->tx;
    if (l->state == SEDGE_RESTING) return 0;
    int is_asked = l->state == SEDGE_OPEN && (l->owes_received || l->owes_time);
    if (is_due && l->state >= SEDGE_ANNOUNCING && !is_asked && !sedge_repeat(l, now_ms)) return sedge_poll(l, now_ms, frame);
    if (l->state == SEDGE_PROVING) {
        l->state = SEDGE_GREETING;
        sedge_wait(l, now_ms);
        sedge_put(&w, 1), sedge_put_varint(&w, l->attempt), sedge_put(&w, 32);
        for (int at = 0; at < 32; at++) sedge_put(&w, l->mac[at]);
    } else if (l->state == SEDGE_GREETING) {
        if (!is_due) return 0;
        sedge_wait(l, now_ms);
        if (l->repeats < 4) l->repeats++;
        sedge_put(&w, 0), sedge_put(&w, 1);
        sedge_put_varint(&w, ++l->attempt);
        sedge_put_text(&w, l->identity);
        sedge_put_varint(&w, l->instance);
        sedge_put_varint(&w, l->first);
    } else if (l->state == SEDGE_ANNOUNCING) {
        if (!is_due) return 0;
        sedge_wait(l, now_ms);
        sedge_put(&w, 2), sedge_put(&w, l->announced);
        sedge_put(&w, l->topics[l->announced].usage), sedge_put_text(&w, l->topics[l->announced].name);
    } else if (l->owes_received) {
        l->owes_received = 0, sedge_put(&w, 4), sedge_put_varint(&w, l->delivery);
    } else if (l->owes_time) {
        l->owes_time = 0, sedge_put(&w, 5), sedge_put_varint(&w, now_ms);
    } else {
        if (is_due && l->sent) l->sent = 0, sedge_noisy(l);
        int may_send = l->sent < l->count && l->sent < l->window;
        if (!may_send && !is_due) return 0;
        if (is_due || !l->is_waiting) sedge_wait(l, now_ms);
        if (may_send) w.at += sedge_write_readings(l, now_ms);
        else sedge_put(&w, 6);
    }
    return w.failed ? 0 : sedge_seal(l, (size_t)(w.at - (l->tx + 1)), l->session);
}
void sedge_init(struct sedge_link *l, const char *identity, uint32_t instance, const struct sedge_topic *topics,
                uint8_t topic_count, uint8_t *queue, size_t queue_bytes, uint32_t now_ms) {
    *l = (struct sedge_link){.identity = identity, .instance = instance, .topics = topics, .topic_count = topic_count,
                             .queue = queue, .queue_bytes = queue_bytes, .answer_ms = 500, .due_ms = now_ms,
                             .message_max = SEDGE_MESSAGE_MAX};
}
int sedge_publish(struct sedge_link *l, uint8_t topic, const void *value, size_t length, uint32_t now_ms) {
    if (length > SEDGE_VALUE_MAX || l->queue_bytes - l->used < 6 + length || l->count == UINT16_MAX) return 0;
    const uint8_t head[6] = {topic, (uint8_t)length, (uint8_t)now_ms, (uint8_t)(now_ms >> 8), (uint8_t)(now_ms >> 16), (uint8_t)(now_ms >> 24)};
    size_t at = sedge_place(l, l->start + l->used);
    for (size_t of = 0; of < 6 + length; of++, at = sedge_place(l, at + 1))
        l->queue[at] = of < 6 ? head[of] : ((const uint8_t *)value)[of - 6];
    l->used += 6 + length, l->count++;
    if (l->state == SEDGE_OPEN && !l->is_waiting) l->due_ms = now_ms + l->answer_ms;
    return 1;
}
void sedge_prove(struct sedge_link *l, const uint8_t mac[32]) {
    if (l->state != SEDGE_GREETING) return;
    memcpy(l->mac, mac, 32), l->state = SEDGE_PROVING;
}
void sedge_restart(struct sedge_link *l, uint32_t now_ms) {
    l->state = SEDGE_GREETING;
    l->session = 0;
    sedge_settle(l, now_ms);
}
#endif
#endif
