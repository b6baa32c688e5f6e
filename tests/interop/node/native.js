"use strict";
// npm's `zookeeper`, which wraps the C client.

const ZooKeeper = require("zookeeper");
const { address, assert, end, eventually, Events, server, test } = require("./harness.js");

const show = (type, state, path) => `${type} ${path}`;
const CREATED = 1;
const DELETED = 2;
const CHANGED = 3;
const CHILD = 4;

function open(timeout) {
    const client = new ZooKeeper({
        connect: address,
        timeout,
        debug_level: ZooKeeper.ZOO_LOG_LEVEL_ERROR,
        host_order_deterministic: false,
    });
    return new Promise((resolve, reject) => {
        client.connect({}, (error) => (error ? reject(error) : resolve(client)));
    });
}

async function refused(code, promise, what) {
    try {
        await promise;
    } catch (error) {
        // The library puts the code in front of the message.
        assert.strictEqual(Number.parseInt(error.message, 10), code, `${what}: ${error}`);
        return;
    }
    assert.fail(`${what}: done`);
}

async function data(one, two) {
    assert.strictEqual(await one.create("/n-data", "hello", 0), "/n-data");
    const [stat, value] = await two.get("/n-data", false);
    assert.strictEqual(value.toString(), "hello");
    assert.strictEqual(stat.version, 0);
    assert.strictEqual(stat.dataLength, 5);
    const changed = await one.set("/n-data", "worlds", 0);
    assert.strictEqual(changed.version, 1);
    assert.strictEqual(await one.create("/n-data/s-", "", ZooKeeper.ZOO_SEQUENCE), "/n-data/s-0000000000");
    const [children, parent] = await two.get_children2("/n-data", false);
    assert.deepStrictEqual(children, ["s-0000000000"]);
    assert.strictEqual(parent.numChildren, 1);
    assert.strictEqual(parent.cversion, 1);
    await refused(ZooKeeper.ZNODEEXISTS, one.create("/n-data", "", 0), "create again");
    await refused(ZooKeeper.ZNONODE, one.get("/n-none", false), "get of nothing");
    await refused(ZooKeeper.ZBADVERSION, one.set("/n-data", "x", 7), "set at a wrong version");
    await refused(ZooKeeper.ZNOTEMPTY, one.delete_("/n-data", -1), "delete with children");
    await one.delete_("/n-data/s-0000000000", 0);
    await one.delete_("/n-data", 1);
    assert.strictEqual(await one.pathExists("/n-data", false), false);
}

async function watches(one, two) {
    const made = new Events(show);
    const changed = new Events(show);
    const kids = new Events(show);
    assert.strictEqual(await one.w_pathExists("/n-watch", made.watcher), false);
    await two.create("/n-watch", "", 0);
    assert.strictEqual(await made.next("created"), `${CREATED} /n-watch`);
    await one.w_get("/n-watch", changed.watcher);
    await one.w_get_children("/n-watch", kids.watcher);
    await two.set("/n-watch", "x", -1);
    assert.strictEqual(await changed.next("changed"), `${CHANGED} /n-watch`);
    await two.create("/n-watch/kid", "", 0);
    assert.strictEqual(await kids.next("child"), `${CHILD} /n-watch`);
    await two.set("/n-watch", "y", -1);
    await changed.silent("fires once");
    await one.w_get("/n-watch/kid", changed.watcher);
    await two.delete_("/n-watch/kid", -1);
    assert.strictEqual(await changed.next("deleted"), `${DELETED} /n-watch/kid`);
}

async function acls(one) {
    const owner = await open(10000);
    await new Promise((resolve, reject) => {
        owner.add_auth("digest", "me:secret", (code) => (code === 0 ? resolve() : reject(new Error(code))));
    });
    await owner.create("/n-acl", "", 0);
    await owner.set_acl("/n-acl", 0, [{ perm: ZooKeeper.ZOO_PERM_ALL, scheme: "auth", auth: "" }]);
    const acl = (await owner.get_acl("/n-acl")).find((part) => Array.isArray(part));
    assert.strictEqual(acl.length, 1);
    assert.strictEqual(acl[0].scheme, "digest");
    assert.ok(acl[0].auth.startsWith("me:"), acl[0].auth);
    await refused(ZooKeeper.ZNOAUTH, one.get("/n-acl", false), "read by another");
    await owner.set("/n-acl", "mine", -1);
    owner.close();
}

async function many(one) {
    await one.create("/n-many", "", 0);
    const paths = Array.from({ length: 1000 }, (_, i) => `/n-many/${String(i).padStart(4, "0")}`);
    assert.deepStrictEqual(await Promise.all(paths.map((path) => one.create(path, path, 0))), paths);
    assert.strictEqual((await one.get_children("/n-many", false)).length, 1000);
    const values = await Promise.all(paths.map((path) => one.get(path, false)));
    assert.deepStrictEqual(values.map(([, value]) => value.toString()), paths);
}

async function ephemeral(one) {
    const owner = await open(10000);
    await owner.create("/n-eph", "", ZooKeeper.ZOO_EPHEMERAL);
    const events = new Events(show);
    const stat = await one.w_exists("/n-eph", events.watcher);
    assert.ok(stat.ephemeralOwner, "owner");
    owner.close();
    assert.strictEqual(await events.next("deleted with its session"), `${DELETED} /n-eph`);
}

async function restart(path, stop) {
    const one = await open(15000);
    const two = await open(15000);
    const session = one.client_id;
    const events = new Events(show);
    await one.create(path, "x", 0);
    await one.create(`${path}/eph`, "", ZooKeeper.ZOO_EPHEMERAL);
    await one.w_get(path, events.watcher);
    const [before] = await one.get(path, false);
    await server(stop);
    await eventually(10, "disconnected", () => one.state !== ZooKeeper.ZOO_CONNECTED_STATE);
    await server("start");
    for (const client of [one, two]) {
        await eventually(30, "connected", () => client.state === ZooKeeper.ZOO_CONNECTED_STATE);
    }
    assert.strictEqual(one.client_id, session, "session");
    const [after, value] = await one.get(path, false);
    assert.strictEqual(value.toString(), "x");
    assert.deepStrictEqual(after, { ...before, numChildren: 1, cversion: 1, pzxid: after.pzxid });
    assert.ok(await two.pathExists(`${path}/eph`, false), "ephemeral");
    events.list = events.list.filter((event) => event.endsWith(path));
    await events.silent("nothing has changed");
    await two.set(path, "y", 0);
    assert.strictEqual(await events.next("the watch lives on"), `${CHANGED} ${path}`);
    one.close();
    two.close();
}

async function main() {
    const one = await open(10000);
    const two = await open(10000);
    await test("native-data", 20, () => data(one, two));
    await test("native-watches", 20, () => watches(one, two));
    await test("native-acls", 20, () => acls(one));
    await test("native-many", 40, () => many(one));
    await test("native-ephemeral", 20, () => ephemeral(one));
    one.close();
    two.close();
    await test("native-restart-term", 100, () => restart("/n-term", "stop"));
    await test("native-restart-kill", 100, () => restart("/n-kill", "kill"));
    end();
}

main();
