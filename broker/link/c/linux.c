/* A device on Linux: publishes the lines of its standard input, each once, over resets of either side.
 *
 *   cc -O2 -o linux linux.c
 *   ./linux 127.0.0.1:7000 pump-1 1 temperature < readings.txt
 *   ./linux /dev/ttyUSB0   pump-1 1 temperature < readings.txt
 *
 * The instance (1) names the file: the readings' numbers are the lines'. Started again with the same file, the device goes on
 * with the first line that the broker does not have. It ends when the broker has all lines. */
#define _POSIX_C_SOURCE 200809L
#define SEDGE_LINK_IMPLEMENTATION
#include "sedge_link.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint32_t next; /* The line to go on with. */

static void on_event(struct sedge_link *link, const struct sedge_event *event) {
    if (event->kind == SEDGE_CONNECTED && link->count == 0) next = event->first;
    if (event->kind == SEDGE_TOPIC_REFUSED) fprintf(stderr, "the topic is refused: reason %d\n", event->reason);
    if (event->kind == SEDGE_REFUSED) fprintf(stderr, "%u lines are refused: reason %d\n", event->count, event->reason);
    if (event->kind == SEDGE_STOPPED) {
        fprintf(stderr, "the broker refuses this device: reason %d\n", event->reason);
        exit(1);
    }
}

static uint32_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)now.tv_sec * 1000u + (uint32_t)(now.tv_nsec / 1000000);
}

/* Opens HOST:PORT, or a serial line whose speed `stty` has set. Returns -1 if that fails. */
static int open_wire(const char *place) {
    const char *colon = strrchr(place, ':');
    if (place[0] == '/' || !colon) return open(place, O_RDWR | O_NOCTTY);
    char host[256];
    snprintf(host, sizeof host, "%.*s", (int)(colon - place), place);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0) return -1;
    int wire = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    if (wire >= 0 && connect(wire, found->ai_addr, found->ai_addrlen) != 0) {
        close(wire);
        wire = -1;
    }
    freeaddrinfo(found);
    return wire;
}

/* Writes a whole frame. Returns 0 if the wire fails. */
static int write_frame(int wire, const uint8_t *frame, size_t length) {
    while (length > 0) {
        ssize_t written = write(wire, frame, length);
        if (written <= 0) return 0;
        frame += written, length -= (size_t)written;
    }
    return 1;
}

/* Reads what arrives within some milliseconds. Returns 0 if the wire fails. */
static int read_wire(int wire, struct sedge_link *link, int wait_ms) {
    struct pollfd ready = {.fd = wire, .events = POLLIN};
    uint8_t bytes[512];
    if (poll(&ready, 1, wait_ms) <= 0) return 1;
    ssize_t length = read(wire, bytes, sizeof bytes);
    for (ssize_t at = 0; at < length; at++) sedge_handle(link, bytes[at], now_ms());
    return length > 0;
}

int main(int count, char **arguments) {
    if (count != 5) {
        fprintf(stderr, "usage: %s HOST:PORT|DEVICE IDENTITY INSTANCE TOPIC < LINES\n", arguments[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    static uint8_t queue[4096];
    struct sedge_topic topics[] = {{arguments[4], SEDGE_PUBLISH}};
    struct sedge_link link;
    sedge_init(&link, arguments[2], (uint32_t)strtoul(arguments[3], NULL, 10), topics, 1, queue, sizeof queue, now_ms());
    link.is_kept = 1;
    link.on_event = on_event;
    char line[SEDGE_VALUE_MAX + 2];
    int wire = -1, has_line = 0, is_end = 0;
    uint32_t read = 0; /* Lines that were read; the last one is in `line` if it is not queued. */
    while (!is_end || has_line || link.count > 0) {
        if (wire < 0 && (wire = open_wire(arguments[1])) < 0) {
            poll(NULL, 0, 100);
            continue;
        }
        while (link.state == SEDGE_OPEN && !is_end) {
            if (!has_line && !(has_line = fgets(line, sizeof line, stdin) != NULL)) {
                is_end = 1;
                break;
            }
            if (read < next) { /* The broker has this line. */
                read++, has_line = 0;
                continue;
            }
            if (!sedge_publish(&link, 0, line, strcspn(line, "\n"), now_ms())) break;
            read++, has_line = 0;
        }
        const uint8_t *frame;
        size_t length;
        int is_well = 1;
        while (is_well && (length = sedge_poll(&link, now_ms(), &frame)) > 0) is_well = write_frame(wire, frame, length);
        if (!is_well || !read_wire(wire, &link, 5)) {
            close(wire);
            wire = -1;
        }
    }
    return 0;
}
