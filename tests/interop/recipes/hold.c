/*
 * Holds a lock and counts, by libzookeeper-mt, until its standard input ends, whatever becomes of servers:
 * hold HOSTS LOCK COUNTER FILE NAME, as Hold.java, with which it stands in one line.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

enum { TIMEOUT_MS = 20000, HOLD_US = 5000, LOOK_AGAIN_S = 1, PATH_BYTES = 512 };

static zhandle_t *zk;
static const char *lock_path, *counter_path, *name;
static int file;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void die(const char *what, int rc) __attribute__((noreturn));
static void die(const char *what, int rc)
{
    fprintf(stderr, "%s: %s: %s\n", name, what, zerror(rc));
    exit(1);
}

/* One write, so that lines of several processes stay whole and in order. */
static void append(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void append(const char *format, ...)
{
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (write(file, line, length) != length)
        die("write", ZSYSTEMERROR);
}

/* Whether nobody knows what became of a request: the library finds another server meanwhile. */
static int is_lost(int rc)
{
    if (zoo_state(zk) == ZOO_EXPIRED_SESSION_STATE)
        die("the session is over", ZSESSIONEXPIRED);
    int lost = rc == ZCONNECTIONLOSS || rc == ZOPERATIONTIMEOUT || rc == ZSESSIONMOVED;
    if (lost)
        usleep(20000);
    return lost;
}

static void watcher(zhandle_t *handle, int type, int state, const char *path, void *context)
{
    (void)handle, (void)type, (void)state, (void)path, (void)context;
    pthread_mutex_lock(&mutex);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

static void wait_for_change(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += LOOK_AGAIN_S;
    pthread_mutex_lock(&mutex);
    pthread_cond_timedwait(&changed, &mutex, &until);
    pthread_mutex_unlock(&mutex);
}

/* Curator orders by the ten digits at the end, whatever stands before them. */
static const char *place(const char *node)
{
    size_t length = strlen(node);
    return node + (length < 10 ? 0 : length - 10);
}

static void delete_node(const char *path)
{
    int rc;
    do
        rc = zoo_delete(zk, path, -1);
    while (is_lost(rc));
    if (rc != ZOK && rc != ZNONODE)
        die("delete", rc);
}

/* The path of the own node goes to `own`. */
static void acquire(char *own)
{
    char prefix[PATH_BYTES], mine[PATH_BYTES];
    snprintf(prefix, sizeof prefix, "%s/_c_%s-lock-", lock_path, name);
    int rc;
    do
        rc = zoo_create(zk, prefix, "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL | ZOO_SEQUENCE, own,
                        PATH_BYTES);
    while (is_lost(rc));
    if (rc != ZOK)
        die("create", rc);
    snprintf(mine, sizeof mine, "_c_%s-lock-", name);
    const char *own_node = own + strlen(lock_path) + 1;
    for (;;) {
        struct String_vector nodes;
        do
            rc = zoo_get_children(zk, lock_path, 0, &nodes);
        while (is_lost(rc));
        if (rc != ZOK)
            die("children", rc);
        char before[PATH_BYTES] = "";
        int there = 0;
        for (int i = 0; i < nodes.count; i++) {
            const char *node = nodes.data[i];
            char path[PATH_BYTES];
            snprintf(path, sizeof path, "%s/%s", lock_path, node);
            if (strcmp(node, own_node) == 0)
                there = 1;
            else if (strncmp(node, mine, strlen(mine)) == 0)
                delete_node(path); /* one of whose creation nothing was heard */
            else if (strcmp(place(node), place(own_node)) < 0
                     && (!before[0] || strcmp(place(node), place(before)) > 0))
                snprintf(before, sizeof before, "%s", path);
        }
        deallocate_String_vector(&nodes);
        if (!there)
            die("the own node is gone", ZNONODE);
        if (!before[0])
            return;
        rc = zoo_wexists(zk, before, watcher, NULL, NULL);
        if (rc == ZOK)
            wait_for_change();
        else if (rc != ZNONODE && !is_lost(rc))
            die("exists", rc);
    }
}

/* Adds one to eight bytes, highest first, and writes down what it came to if that was acknowledged. */
static void count(void)
{
    for (;;) {
        uint64_t bytes;
        int length = sizeof bytes;
        struct Stat stat;
        int rc = zoo_get(zk, counter_path, 0, (char *)&bytes, &length, &stat);
        if (is_lost(rc))
            continue;
        if (rc != ZOK || length != sizeof bytes)
            die("get", rc);
        uint64_t value = be64toh(bytes) + 1;
        bytes = htobe64(value);
        rc = zoo_set(zk, counter_path, (char *)&bytes, sizeof bytes, stat.version);
        if (rc == ZBADVERSION || is_lost(rc))
            continue;
        if (rc != ZOK)
            die("set", rc);
        append("count %s %llu\n", name, (unsigned long long)value);
        return;
    }
}

static int input_goes_on(void)
{
    struct pollfd input = {.fd = 0, .events = POLLIN};
    return poll(&input, 1, 0) == 0;
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    lock_path = argv[2];
    counter_path = argv[3];
    name = argv[5];
    file = open(argv[4], O_WRONLY | O_APPEND | O_CREAT, 0644);
    zoo_set_debug_level(0);
    zk = zookeeper_init(argv[1], watcher, TIMEOUT_MS, NULL, NULL, 0);
    if (file < 0 || zk == NULL)
        return 1;
    char lives[PATH_BYTES], own[PATH_BYTES];
    snprintf(lives, sizeof lives, "%s-%s", counter_path, name);
    int rc;
    do
        rc = zoo_create(zk, lives, "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0);
    while (is_lost(rc));
    if (rc != ZOK && rc != ZNODEEXISTS)
        die("create", rc);
    struct Stat first, last;
    do
        rc = zoo_exists(zk, lives, 0, &first);
    while (is_lost(rc));
    if (rc != ZOK || first.ephemeralOwner != zoo_client_id(zk)->client_id)
        die("its ephemeral node", rc);
    while (input_goes_on()) {
        acquire(own);
        append("enter %s\n", name);
        usleep(HOLD_US);
        append("leave %s\n", name);
        delete_node(own);
        count();
    }
    do
        rc = zoo_exists(zk, lives, 0, &last);
    while (is_lost(rc));
    if (rc == ZOK && last.czxid == first.czxid && last.ephemeralOwner == first.ephemeralOwner)
        append("kept %s\n", name);
    zookeeper_close(zk);
    return 0;
}
