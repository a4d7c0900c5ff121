/* The physical limit: a listener in C, directly on libpq, which does as little as possible with a notification.

    cc -O2 -I$(pg_config --includedir) libpq.c -L$(pg_config --libdir) -lpq -o libpq

    libpq arriving|idle CONNINFO STOP CHANNEL...
    libpq drains|latency CONNINFO STOP CHANNEL COUNT

It listens to STOP and to each CHANNEL; a single CHANNEL like c*1000 means c0 to c999, except for latency. It prints
"ready", waits for a line on stdin, measures, and prints one line of JSON. Errors go to stderr, with status 1.

drains    COUNT times, each time on a new connection and with the number of the time after CHANNEL and STOP: the
          notifications that are already pending, from the line to the notification on STOP. "mb" is the peak of the
          process above its size at the line, null where /proc/self/status does not show it.
arriving  notifications that are sent after the line: from the first one to the last before the one on STOP.
latency   COUNT times: from the NOTIFY on a second connection to its notification here.
idle      waits until it is killed.
*/
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <libpq-fe.h>

enum { COMMAND_BYTES = 512, WARM_UP_TRIPS = 100 }; /* a longer command is cut, then refused for its open quote */

struct moment { double wall, cpu; };

static void fail(const char *what, const char *why) {
    fprintf(stderr, "libpq: %s: %s\n", what, why);
    exit(1);
}

static double wall_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static struct moment now(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    return (struct moment){wall_seconds(), cpu};
}

static long memory_kb(const char *field) {
    char line[256];
    long kb = -1;
    FILE *status = fopen("/proc/self/status", "r");
    if (status == NULL) return kb;
    while (kb < 0 && fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, field, strlen(field)) == 0) kb = strtol(line + strlen(field), NULL, 10);
    fclose(status);
    return kb;
}

static PGconn *connected(const char *conninfo) {
    PGconn *connection = PQconnectdb(conninfo);
    if (PQstatus(connection) != CONNECTION_OK) fail("no connection", PQerrorMessage(connection));
    return connection;
}

static char *quoted(PGconn *connection, const char *channel) {
    char *identifier = PQescapeIdentifier(connection, channel, strlen(channel));
    if (identifier == NULL) fail(channel, PQerrorMessage(connection));
    return identifier;
}

static void check(PGconn *connection, PGresult *result) {
    if (PQresultStatus(result) != PGRES_COMMAND_OK) fail("refused", PQerrorMessage(connection));
    PQclear(result);
}

static void listen_to(PGconn *listener, const char *channel) {
    char command[COMMAND_BYTES], *identifier = quoted(listener, channel);
    snprintf(command, sizeof command, "LISTEN %s", identifier);
    check(listener, PQexec(listener, command));
    PQfreemem(identifier);
}

static void listen_to_all(PGconn *listener, char **channels, int count) {
    char channel[COMMAND_BYTES], rest;
    long size;
    const char *star = count == 1 ? strrchr(channels[0], '*') : NULL;
    if (star == NULL || sscanf(star + 1, "%ld%c", &size, &rest) != 1 || size < 1) {
        for (int index = 0; index < count; index++) listen_to(listener, channels[index]);
        return;
    }
    for (long number = 0; number < size; number++) {
        snprintf(channel, sizeof channel, "%.*s%ld", (int)(star - channels[0]), channels[0], number);
        listen_to(listener, channel);
    }
}

static void wait_for_the_line(void) {
    int character;
    puts("ready");
    fflush(stdout);
    while ((character = getchar()) != '\n')
        if (character == EOF) fail("stdin", "ended before the line");
}

static PGnotify *fetch(PGconn *listener) {
    PGnotify *notification = PQnotifies(listener);
    if (notification != NULL) return notification;
    if (!PQconsumeInput(listener)) fail("connection lost", PQerrorMessage(listener));
    return PQnotifies(listener);
}

static PGnotify *wait_and_fetch(PGconn *listener) {
    struct pollfd readable = {.fd = PQsocket(listener), .events = POLLIN};
    PGnotify *notification;
    do {
        if (poll(&readable, 1, -1) < 0 && errno != EINTR) fail("poll", strerror(errno));
    } while ((notification = fetch(listener)) == NULL);
    return notification;
}

static PGnotify *next_notification(PGconn *listener) {
    PGnotify *notification = fetch(listener);
    return notification != NULL ? notification : wait_and_fetch(listener);
}

static bool was_stop(PGnotify *notification, const char *stop) {
    bool is_stop = strcmp(notification->relname, stop) == 0;
    PQfreemem(notification);
    return is_stop;
}

static void print_span(struct moment from, struct moment to, long received) {
    printf("{\"seconds\": %.6f, \"cpu\": %.6f, \"received\": %ld", to.wall - from.wall, to.cpu - from.cpu, received);
}

struct drained { struct moment start, end; long received, kb_before, kb_peak; };

static struct drained drain(PGconn *listener, const char *stop) {
    struct drained found = {.received = 0};
    wait_for_the_line();
    found.kb_before = memory_kb("VmRSS:");
    found.start = now();
    while (!was_stop(next_notification(listener), stop)) found.received++;
    found.end = now();
    found.kb_peak = memory_kb("VmHWM:");
    return found;
}

static PGconn *listening_to(char **arguments, long number, char *stop, size_t size) {
    char channel[COMMAND_BYTES];
    PGconn *listener = connected(arguments[2]);
    snprintf(stop, size, "%s%ld", arguments[3], number);
    snprintf(channel, sizeof channel, "%s%ld", arguments[4], number);
    listen_to(listener, stop);
    listen_to(listener, channel);
    return listener;
}

static void print_drained(struct drained found) {
    print_span(found.start, found.end, found.received);
    if (found.kb_before < 0 || found.kb_peak < 0) printf(", \"mb\": null}");
    else printf(", \"mb\": %.3f}", (found.kb_peak - found.kb_before) / 1024.0);
}

static void drains(char **arguments, long count) {
    char stop[COMMAND_BYTES];
    struct drained *found = calloc(count, sizeof *found);
    if (found == NULL) fail("drains", "out of memory");
    for (long number = 0; number < count; number++)
        found[number] = drain(listening_to(arguments, number, stop, sizeof stop), stop);
    printf("{\"drains\": [");
    for (long number = 0; number < count; number++) {
        if (number > 0) printf(", ");
        print_drained(found[number]);
    }
    puts("]}");
    free(found);
}

static void arriving(PGconn *listener, char **arguments) {
    wait_for_the_line();
    long received = 0;
    bool paused = true;
    PGnotify *notification = next_notification(listener);
    struct moment first = now(), last = first;
    while (!was_stop(notification, arguments[3])) {
        received++;
        notification = fetch(listener);
        paused = notification == NULL;
        if (!paused) continue;
        last = now(); /* before a pause only: at each notification it would cost more than the notification does */
        notification = wait_and_fetch(listener);
    }
    print_span(first, paused ? last : now(), received);
    puts("}");
}

static void idle(PGconn *listener, char **arguments) {
    wait_for_the_line();
    for (;;) was_stop(next_notification(listener), arguments[3]);
}

static double round_trip(PGconn *listener, PGconn *sender, const char *identifier, long number) {
    char command[COMMAND_BYTES];
    PGresult *result;
    snprintf(command, sizeof command, "NOTIFY %s, '%ld'", identifier, number);
    double start = wall_seconds();
    if (!PQsendQuery(sender, command) || PQflush(sender) != 0) fail("not sent", PQerrorMessage(sender));
    PGnotify *notification = next_notification(listener);
    double seconds = wall_seconds() - start;
    if (strtol(notification->extra, NULL, 10) != number) fail("somebody else's notification", notification->extra);
    PQfreemem(notification);
    while ((result = PQgetResult(sender)) != NULL) check(sender, result);
    return seconds * 1e6;
}

static void latency(PGconn *listener, char **arguments) {
    long count = strtol(arguments[5], NULL, 10);
    PGconn *sender = connected(arguments[2]);
    char *identifier = quoted(sender, arguments[4]);
    double *microseconds = calloc(count, sizeof *microseconds);
    if (microseconds == NULL) fail("latency", "out of memory");
    wait_for_the_line();
    for (long trip = -WARM_UP_TRIPS; trip < 0; trip++) round_trip(listener, sender, identifier, trip);
    for (long trip = 0; trip < count; trip++) microseconds[trip] = round_trip(listener, sender, identifier, trip);
    for (long trip = 0; trip < count; trip++)
        printf("%s%.1f", trip == 0 ? "{\"microseconds\": [" : ", ", microseconds[trip]);
    puts("]}");
    free(microseconds);
    PQfreemem(identifier);
    PQfinish(sender);
}

typedef void measure(PGconn *listener, char **arguments);

static measure *measure_named(const char *name) {
    if (strcmp(name, "arriving") == 0) return arriving;
    if (strcmp(name, "latency") == 0) return latency;
    return strcmp(name, "idle") == 0 ? idle : NULL;
}

int main(int argc, char **argv) {
    if (argc == 6 && strcmp(argv[1], "drains") == 0 && strtol(argv[5], NULL, 10) > 0) {
        drains(argv, strtol(argv[5], NULL, 10));
        return 0; /* its connections end with it */
    }
    measure *run = argc < 5 ? NULL : measure_named(argv[1]);
    if (run == NULL || (run == latency && (argc != 6 || strtol(argv[5], NULL, 10) < 1)))
        fail("usage", "libpq arriving|idle CONNINFO STOP CHANNEL..., libpq drains|latency CONNINFO STOP CHANNEL COUNT");
    PGconn *listener = connected(argv[2]);
    listen_to(listener, argv[3]);
    if (run == latency) listen_to(listener, argv[4]);
    else listen_to_all(listener, argv + 4, argc - 4);
    run(listener, argv);
    PQfinish(listener);
    return 0;
}
