/*
 * Debian's libzookeeper-mt against a server: synchronous and asynchronous calls, watches, multi,
 * sessions, reconnect. Results go to tests/interop/run.py; harness/client.py has the format.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

static const char *address;
static int results, failed;
static jmp_buf test_end;
static char reason[512];

/* ---- reporting */

/* Fails the running test; called by the test's own thread only. */
static void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    longjmp(test_end, 1);
}

static void equal(long long got, long long wanted, const char *what)
{
    if (got != wanted)
        fail("%s: %lld, wanted %lld", what, got, wanted);
}

static void equal_text(const char *got, const char *wanted, const char *what)
{
    if (strcmp(got, wanted) != 0)
        fail("%s: '%s', wanted '%s'", what, got, wanted);
}

static void test(const char *name, void (*body)(void))
{
    results++;
    if (setjmp(test_end) == 0) {
        body();
        printf("PASS %s\n", name);
    } else {
        failed = 1;
        printf("FAIL %s: %s\n", name, reason);
    }
    fflush(stdout);
}

/* Asks the runner to do something to the server and waits until it is done. */
static void server(const char *action)
{
    char line[256];
    printf("@server %s\n", action);
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL)
        fail("no answer to %s", action);
    line[strcspn(line, "\n")] = 0;
    equal_text(line, "ok", action);
}

/* ---- events */

struct events {
    pthread_mutex_t lock;
    pthread_cond_t more;
    int count, taken;
    struct { int type; char path[128]; } list[64];
};

static void events_init(struct events *events)
{
    memset(events, 0, sizeof *events);
    pthread_mutex_init(&events->lock, NULL);
    pthread_cond_init(&events->more, NULL);
}

/* A watcher that keeps the events about znodes in `context`. */
static void keep(zhandle_t *handle, int type, int state, const char *path, void *context)
{
    struct events *events = context;
    (void)handle;
    (void)state;
    if (type == ZOO_SESSION_EVENT)
        return;
    pthread_mutex_lock(&events->lock);
    if (events->count < 64) {
        events->list[events->count].type = type;
        snprintf(events->list[events->count].path, sizeof events->list[0].path, "%s", path);
        events->count++;
    }
    pthread_cond_broadcast(&events->more);
    pthread_mutex_unlock(&events->lock);
}

/* The type of the next event, which must be about `path`; 0 if none comes within `ms`. */
static int next_event(struct events *events, const char *path, int ms)
{
    struct timespec until;
    int type = 0;
    char got[128] = "";
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&events->lock);
    while (events->taken == events->count)
        if (pthread_cond_timedwait(&events->more, &events->lock, &until) != 0)
            break;
    if (events->taken < events->count) {
        type = events->list[events->taken].type;
        snprintf(got, sizeof got, "%s", events->list[events->taken].path);
        events->taken++;
    }
    pthread_mutex_unlock(&events->lock);
    if (type != 0)
        equal_text(got, path, "path of an event");
    return type;
}

/* ---- sessions */

static void ignore(zhandle_t *handle, int type, int state, const char *path, void *context)
{
    (void)handle;
    (void)type;
    (void)state;
    (void)path;
    (void)context;
}

static void wait_state(zhandle_t *handle, int state, int seconds, const char *what)
{
    for (int i = 0; i < seconds * 50; i++) {
        if (zoo_state(handle) == state)
            return;
        usleep(20000);
    }
    fail("not within %d s: %s", seconds, what);
}

static zhandle_t *open_session(int timeout_ms, const clientid_t *id)
{
    zhandle_t *handle = zookeeper_init(address, ignore, timeout_ms, id, NULL, 0);
    if (handle == NULL)
        fail("zookeeper_init failed");
    wait_state(handle, ZOO_CONNECTED_STATE, 15, "connected");
    return handle;
}

static zhandle_t *one, *two;

static void create(zhandle_t *handle, const char *path, const char *data, int mode)
{
    int code = zoo_create(handle, path, data, (int)strlen(data), &ZOO_OPEN_ACL_UNSAFE, mode, NULL, 0);
    if (code != ZOK)
        fail("create %s: %s", path, zerror(code));
}

static void set(zhandle_t *handle, const char *path, const char *data)
{
    equal(zoo_set(handle, path, data, (int)strlen(data), -1), ZOK, path);
}

/* ---- tests */

static void test_data(void)
{
    char buffer[64], path[64];
    int length;
    struct Stat made, stat;
    equal(zoo_create2(one, "/c-data", "hello", 5, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, path, sizeof path,
                      &made), ZOK, "create2");
    equal_text(path, "/c-data", "path");
    length = sizeof buffer;
    equal(zoo_get(two, "/c-data", 0, buffer, &length, &stat), ZOK, "get");
    equal(length, 5, "length");
    equal(memcmp(buffer, "hello", 5), 0, "data");
    equal(stat.czxid, made.czxid, "czxid");
    equal(stat.version, 0, "version");
    equal(zoo_set2(one, "/c-data", NULL, -1, 0, &stat), ZOK, "set of null");
    equal(stat.version, 1, "version after set");
    equal(stat.dataLength, 0, "length after set");
    length = sizeof buffer;
    equal(zoo_get(one, "/c-data", 0, buffer, &length, NULL), ZOK, "get of null");
    equal(length <= 0, 1, "nothing comes back");
    equal(zoo_create(one, "/c-data/n-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL, path,
                     sizeof path), ZOK, "create sequential");
    equal_text(path, "/c-data/n-0000000000", "sequential path");
    equal(zoo_create(one, "/c-data/n-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL_SEQUENTIAL, path,
                     sizeof path), ZOK, "create ephemeral sequential");
    equal_text(path, "/c-data/n-0000000001", "sequential path");
    equal(zoo_exists(two, path, 0, &stat), ZOK, "exists");
    equal(stat.ephemeralOwner, zoo_client_id(one)->client_id, "owner");
    equal(zoo_delete(one, path, 0), ZOK, "delete");
    struct String_vector names;
    equal(zoo_get_children2(two, "/c-data", 0, &names, &stat), ZOK, "children");
    equal(names.count, 1, "number of children");
    equal_text(names.data[0], "n-0000000000", "child");
    equal(stat.cversion, 3, "cversion");
    deallocate_String_vector(&names);
}

static void test_errors(void)
{
    char buffer[16];
    int length = sizeof buffer;
    create(one, "/c-err", "", ZOO_PERSISTENT);
    create(one, "/c-err/e", "", ZOO_EPHEMERAL);
    equal(zoo_create(one, "/c-err", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZNODEEXISTS, "create again");
    equal(zoo_create(one, "/c-err/a/b", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZNONODE, "no parent");
    equal(zoo_create(one, "/c-err/e/x", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZNOCHILDRENFOREPHEMERALS,
          "child of an ephemeral");
    equal(zoo_delete(one, "/c-err", -1), ZNOTEMPTY, "delete with children");
    equal(zoo_delete(one, "/c-err/e", 9), ZBADVERSION, "delete at a wrong version");
    equal(zoo_set(one, "/c-err", "", 0, 9), ZBADVERSION, "set at a wrong version");
    equal(zoo_get(one, "/c-err/x", 0, buffer, &length, NULL), ZNONODE, "get of nothing");
    struct ACL_vector none = {0, NULL};
    equal(zoo_create(one, "/c-err/x", "", 0, &none, 0, NULL, 0), ZINVALIDACL, "no acl");
    equal(zoo_create(one, "/c-err/x", "", 0, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0), ZINVALIDACL,
          "auth without an identity");
}

static void test_multi(void)
{
    char path[64];
    struct Stat stat;
    zoo_op_t ops[4];
    zoo_op_result_t out[4];
    create(one, "/c-multi", "", ZOO_PERSISTENT);
    zoo_check_op_init(&ops[0], "/c-multi", 0);
    zoo_create_op_init(&ops[1], "/c-multi/a", "1", 1, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    zoo_set_op_init(&ops[2], "/c-multi/a", "22", 2, 0, &stat);
    zoo_delete_op_init(&ops[3], "/c-multi/a", 1);
    equal(zoo_multi(one, 4, ops, out), ZOK, "multi");
    equal_text(path, "/c-multi/a", "path");
    equal(stat.version, 1, "version");
    equal(stat.dataLength, 2, "length");
    equal(zoo_exists(one, "/c-multi/a", 0, NULL), ZNONODE, "deleted in the same multi");

    zoo_set_op_init(&ops[0], "/c-multi", "x", 1, -1, NULL);
    zoo_delete_op_init(&ops[1], "/c-multi/none", -1);
    zoo_create_op_init(&ops[2], "/c-multi/b", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    equal(zoo_multi(one, 3, ops, out), ZNONODE, "refused multi");
    equal(out[0].err, ZOK, "before the refusal");
    equal(out[1].err, ZNONODE, "the refusal");
    equal(out[2].err, ZRUNTIMEINCONSISTENCY, "after the refusal");
    equal(zoo_exists(one, "/c-multi", 0, &stat), ZOK, "exists");
    equal(stat.version, 0, "undone");
    equal(stat.numChildren, 0, "undone");
}

static void test_watches(void)
{
    struct events data, kids, made;
    struct String_vector names;
    char buffer[16];
    int length = sizeof buffer;
    events_init(&data);
    events_init(&kids);
    events_init(&made);
    equal(zoo_wexists(one, "/c-watch", keep, &made, NULL), ZNONODE, "exists");
    create(two, "/c-watch", "", ZOO_PERSISTENT);
    equal(next_event(&made, "/c-watch", 5000), ZOO_CREATED_EVENT, "created");
    equal(zoo_wget(one, "/c-watch", keep, &data, buffer, &length, NULL), ZOK, "get");
    equal(zoo_wget_children(one, "/c-watch", keep, &kids, &names), ZOK, "children");
    deallocate_String_vector(&names);
    set(two, "/c-watch", "x");
    equal(next_event(&data, "/c-watch", 5000), ZOO_CHANGED_EVENT, "changed");
    create(two, "/c-watch/kid", "", ZOO_PERSISTENT);
    equal(next_event(&kids, "/c-watch", 5000), ZOO_CHILD_EVENT, "child");
    set(two, "/c-watch", "y");
    equal(zoo_delete(two, "/c-watch/kid", -1), ZOK, "delete");
    equal(next_event(&data, "/c-watch", 300), 0, "fires once");
    equal(next_event(&kids, "/c-watch", 10), 0, "fires once");
    length = sizeof buffer;
    equal(zoo_wget(one, "/c-watch", keep, &data, buffer, &length, NULL), ZOK, "get");
    equal(zoo_remove_watches(one, "/c-watch", ZWATCHTYPE_DATA, keep, &data, 0), ZOK, "remove");
    equal(zoo_delete(two, "/c-watch", -1), ZOK, "delete");
    equal(next_event(&data, "/c-watch", 300), 0, "nothing after it was removed");
    equal(zoo_remove_watches(one, "/c-watch", ZWATCHTYPE_DATA, keep, &data, 0), ZNOWATCHER, "remove twice");
}

/* ---- asynchronous calls: answered in the order of the requests */

#define ROUNDS 2000
static struct {
    pthread_mutex_t lock;
    pthread_cond_t more;
    int answers, problems;
} async = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};

static void answered(int good)
{
    pthread_mutex_lock(&async.lock);
    async.answers++;
    async.problems += !good;
    pthread_cond_broadcast(&async.more);
    pthread_mutex_unlock(&async.lock);
}

static void on_set(int code, const struct Stat *stat, const void *context)
{
    long round = (long)context;
    answered(code == ZOK && stat->version == round + 1 && async.answers == 2 * round);
}

static void on_get(int code, const char *value, int length, const struct Stat *stat, const void *context)
{
    long round = (long)context;
    char wanted[32];
    snprintf(wanted, sizeof wanted, "%ld", round);
    answered(code == ZOK && stat->version == round + 1 && length == (int)strlen(wanted) &&
             memcmp(value, wanted, (size_t)length) == 0 && async.answers == 2 * round + 1);
}

static void test_async(void)
{
    struct timespec until;
    create(one, "/c-async", "", ZOO_PERSISTENT);
    for (long i = 0; i < ROUNDS; i++) {
        char data[32];
        snprintf(data, sizeof data, "%ld", i);
        equal(zoo_aset(one, "/c-async", data, (int)strlen(data), (int)i, on_set, (void *)i), ZOK, "aset");
        equal(zoo_aget(one, "/c-async", 0, on_get, (void *)i), ZOK, "aget");
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    pthread_mutex_lock(&async.lock);
    while (async.answers < 2 * ROUNDS)
        if (pthread_cond_timedwait(&async.more, &async.lock, &until) != 0)
            break;
    int answers = async.answers, problems = async.problems;
    pthread_mutex_unlock(&async.lock);
    equal(answers, 2 * ROUNDS, "answers");
    equal(problems, 0, "answers that were wrong or out of order");
}

static void on_auth(int code, const void *context)
{
    *(volatile int *)(uintptr_t)context = code;
}

static void authenticate(zhandle_t *handle, const char *scheme, const char *id, int wanted)
{
    static volatile int code;
    code = 1;
    equal(zoo_add_auth(handle, scheme, id, (int)strlen(id), on_auth, (const void *)&code), ZOK, "add auth");
    for (int i = 0; i < 250 && code == 1; i++)
        usleep(20000);
    equal(code, wanted, "answer to add auth");
}

static void test_auth(void)
{
    struct ACL_vector acl;
    struct Stat stat;
    zhandle_t *handle = open_session(10000, NULL);
    authenticate(handle, "digest", "me:secret", ZOK);
    equal(zoo_create(handle, "/c-auth", "", 0, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0), ZOK, "create");
    equal(zoo_get_acl(handle, "/c-auth", &acl, &stat), ZOK, "get acl");
    equal(acl.count, 1, "entries");
    equal_text(acl.data[0].id.scheme, "digest", "scheme");
    equal(strncmp(acl.data[0].id.id, "me:", 3), 0, "user");
    equal(acl.data[0].perms, ZOO_PERM_ALL, "permissions");
    deallocate_ACL_vector(&acl);
    equal(zoo_set(one, "/c-auth", "", 0, -1), ZNOAUTH, "set by another");
    equal(zoo_set_acl(handle, "/c-auth", 0, &ZOO_OPEN_ACL_UNSAFE), ZOK, "set acl");
    equal(zoo_set(one, "/c-auth", "", 0, -1), ZOK, "set by another, now allowed");
    equal(zookeeper_close(handle), ZOK, "close");
    handle = open_session(10000, NULL);
    authenticate(handle, "nonesuch", "x", ZAUTHFAILED);
    equal(zookeeper_close(handle), ZOK, "close after a refused identity");
}

static void test_container(void)
{
    create(one, "/c-container", "", ZOO_CONTAINER);
    create(one, "/c-container/kid", "", ZOO_PERSISTENT);
    equal(zoo_delete(one, "/c-container/kid", -1), ZOK, "delete");
    for (int i = 0; i < 750 && zoo_exists(one, "/c-container", 0, NULL) == ZOK; i++)
        usleep(20000);
    equal(zoo_exists(one, "/c-container", 0, NULL), ZNONODE, "an empty container is reaped");
}

static void test_ttl(void)
{
    equal(zoo_create_ttl(one, "/c-ttl", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, 300, NULL, 0),
          ZOK, "create with a ttl");
    for (int i = 0; i < 750 && zoo_exists(one, "/c-ttl", 0, NULL) == ZOK; i++)
        usleep(20000);
    equal(zoo_exists(one, "/c-ttl", 0, NULL), ZNONODE, "reaped after its time");
}

static void test_ephemeral(void)
{
    struct events events;
    zhandle_t *handle = open_session(10000, NULL);
    events_init(&events);
    create(handle, "/c-eph", "", ZOO_EPHEMERAL);
    equal(zoo_wexists(one, "/c-eph", keep, &events, NULL), ZOK, "exists");
    equal(zookeeper_close(handle), ZOK, "close");
    equal(next_event(&events, "/c-eph", 5000), ZOO_DELETED_EVENT, "deleted with its session");
}

/* A second handle takes the session over, as a process that was started anew would. */
static void test_takeover(void)
{
    struct Stat stat;
    zhandle_t *first = open_session(20000, NULL);
    create(first, "/c-takeover", "", ZOO_EPHEMERAL);
    clientid_t id = *zoo_client_id(first);
    zhandle_t *second = open_session(20000, &id);
    equal(zoo_client_id(second)->client_id, id.client_id, "session");
    equal(zoo_exists(second, "/c-takeover", 0, &stat), ZOK, "the ephemeral is still there");
    equal(stat.ephemeralOwner, id.client_id, "owner");
    equal(zookeeper_close(second), ZOK, "close");
    wait_state(first, ZOO_EXPIRED_SESSION_STATE, 20, "the first is told that the session is over");
    equal(zoo_exists(one, "/c-takeover", 0, NULL), ZNONODE, "the ephemeral is gone");
    zookeeper_close(first);
}

static void equal_stat(const struct Stat *got, const struct Stat *wanted)
{
    equal(got->czxid, wanted->czxid, "czxid");
    equal(got->mzxid, wanted->mzxid, "mzxid");
    equal(got->pzxid, wanted->pzxid, "pzxid");
    equal(got->ctime, wanted->ctime, "ctime");
    equal(got->mtime, wanted->mtime, "mtime");
    equal(got->version, wanted->version, "version");
    equal(got->cversion, wanted->cversion, "cversion");
    equal(got->aversion, wanted->aversion, "aversion");
    equal(got->dataLength, wanted->dataLength, "dataLength");
    equal(got->numChildren, wanted->numChildren, "numChildren");
}

static void restart(const char *path, const char *stop)
{
    struct events events;
    struct Stat before, after;
    char eph[64], buffer[16];
    int length = sizeof buffer;
    zhandle_t *handle = open_session(40000, NULL), *other = open_session(40000, NULL);
    events_init(&events);
    snprintf(eph, sizeof eph, "%s/eph", path);
    create(handle, path, "x", ZOO_PERSISTENT);
    create(handle, eph, "", ZOO_EPHEMERAL);
    equal(zoo_wget(handle, path, keep, &events, buffer, &length, &before), ZOK, "get");
    int64_t session = zoo_client_id(handle)->client_id;
    server(stop);
    int code = ZOK;
    for (int i = 0; i < 250 && code == ZOK; i++)
        code = zoo_exists(handle, path, 0, NULL);
    equal(code, ZCONNECTIONLOSS, "request without a server");
    server("start");
    wait_state(handle, ZOO_CONNECTED_STATE, 30, "connected again");
    wait_state(other, ZOO_CONNECTED_STATE, 30, "the other connected again");
    equal(zoo_client_id(handle)->client_id, session, "session");
    equal(zoo_exists(handle, path, 0, &after), ZOK, "exists");
    equal_stat(&after, &before);
    equal(zoo_exists(other, eph, 0, &after), ZOK, "the ephemeral");
    equal(after.ephemeralOwner, session, "owner");
    equal(next_event(&events, path, 300), 0, "nothing has changed");
    set(other, path, "y");
    equal(next_event(&events, path, 5000), ZOO_CHANGED_EVENT, "the watch lives on");
    equal(zookeeper_close(handle), ZOK, "close");
    equal(zookeeper_close(other), ZOK, "close");
}

static void test_restart_term(void)
{
    restart("/c-term", "stop");
}

static void test_restart_kill(void)
{
    restart("/c-kill", "kill");
}

static void test_connect(void)
{
    one = open_session(10000, NULL);
    two = open_session(10000, NULL);
}

int main(void)
{
    address = getenv("ZK_ADDRESS");
    if (address == NULL)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    alarm(300);
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    test("connect", test_connect);
    if (!failed) {
        test("data", test_data);
        test("errors", test_errors);
        test("multi", test_multi);
        test("watches", test_watches);
        test("async", test_async);
        test("auth", test_auth);
        test("container", test_container);
        test("ttl", test_ttl);
        test("ephemeral", test_ephemeral);
        test("takeover", test_takeover);
        zookeeper_close(one);
        zookeeper_close(two);
        test("restart-term", test_restart_term);
        test("restart-kill", test_restart_kill);
    }
    printf("END %d\n", results);
    return failed;
}
