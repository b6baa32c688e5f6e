"use strict";
// npm's `node-zookeeper-client`, written in JavaScript.

const { promisify } = require("node:util");
const zookeeper = require("node-zookeeper-client");
const { address, assert, end, eventually, Events, server, test } = require("./harness.js");

const { ACL, CreateMode, Exception, Id, Permission, State } = zookeeper;
const show = (event) => `${event.getName()} ${event.getPath()}`;
const METHODS = ["create", "remove", "setData", "getACL", "setACL", "mkdirp"];

// The client with promises; reads take an optional watcher.
async function open(timeout) {
    // The library has no timeout for the handshake, and was seen to hang when it came back while
    // Apache ZooKeeper was still loading; so it waits a little before it tries again.
    const client = zookeeper.createClient(address, { sessionTimeout: timeout, spinDelay: 3000, retries: 0 });
    const api = { client };
    for (const method of METHODS) api[method] = promisify(client[method].bind(client));
    api.exists = (path, watcher) => promisify(client.exists.bind(client))(path, ...(watcher ? [watcher] : []));
    api.getData = (path, watcher) => new Promise((resolve, reject) => {
        const done = (error, data, stat) => (error ? reject(error) : resolve({ data, stat }));
        client.getData(path, ...(watcher ? [watcher] : []), done);
    });
    api.getChildren = (path, watcher) => new Promise((resolve, reject) => {
        const done = (error, children, stat) => (error ? reject(error) : resolve({ children, stat }));
        client.getChildren(path, ...(watcher ? [watcher] : []), done);
    });
    client.connect();
    await eventually(15, "connected", () => client.getState() === State.SYNC_CONNECTED);
    return api;
}

async function refused(code, promise, what) {
    try {
        await promise;
    } catch (error) {
        assert.strictEqual(error.getCode?.(), code, `${what}: ${error}`);
        return;
    }
    assert.fail(`${what}: done`);
}

const zxid = (buffer) => BigInt(`0x${buffer.toString("hex")}`);

async function data(one, two) {
    assert.strictEqual(await one.create("/p-data", Buffer.from("hello")), "/p-data");
    const { data: value, stat } = await two.getData("/p-data");
    assert.strictEqual(value.toString(), "hello");
    assert.strictEqual(stat.version, 0);
    assert.strictEqual(stat.dataLength, 5);
    assert.strictEqual(zxid(stat.czxid), zxid(stat.mzxid));
    const changed = await one.setData("/p-data", Buffer.from("world!"), 0);
    assert.strictEqual(changed.version, 1);
    assert.ok(zxid(changed.mzxid) > zxid(stat.mzxid), "mzxid grows");
    assert.strictEqual(await one.create("/p-data/s-", CreateMode.PERSISTENT_SEQUENTIAL), "/p-data/s-0000000000");
    assert.strictEqual(await one.create("/p-data/e-", CreateMode.EPHEMERAL_SEQUENTIAL), "/p-data/e-0000000001");
    const listed = await two.getChildren("/p-data");
    assert.deepStrictEqual(listed.children.sort(), ["e-0000000001", "s-0000000000"]);
    assert.strictEqual(listed.stat.numChildren, 2);
    await one.mkdirp("/p-data/a/b/c");
    assert.ok(await two.exists("/p-data/a/b/c"));
    for (const path of ["/p-data/a/b/c", "/p-data/a/b", "/p-data/a"]) await one.remove(path, 0);
    assert.strictEqual(await two.exists("/p-data/a"), null);
    await refused(Exception.NODE_EXISTS, one.create("/p-data"), "create again");
    await refused(Exception.NO_NODE, one.getData("/p-none"), "get of nothing");
    await refused(Exception.BAD_VERSION, one.setData("/p-data", Buffer.from("x"), 7), "set at a wrong version");
    await refused(Exception.NOT_EMPTY, one.remove("/p-data", -1), "delete with children");
    await refused(Exception.NO_CHILDREN_FOR_EPHEMERALS, one.create("/p-data/e-0000000001/x"),
        "child of an ephemeral");
}

async function multi(one) {
    await one.create("/p-multi");
    const commit = (transaction) => new Promise((resolve) => {
        transaction.commit((error, results) => resolve({ error, results }));
    });
    const good = await commit(one.client.transaction()
        .check("/p-multi", 0)
        .create("/p-multi/a", Buffer.from("1"))
        .setData("/p-multi/a", Buffer.from("2"), 0)
        .create("/p-multi/b", Buffer.from("3"))
        .remove("/p-multi/b", 0));
    assert.strictEqual(good.error, null);
    assert.strictEqual(good.results.length, 5);
    assert.strictEqual((await one.getData("/p-multi/a")).data.toString(), "2");
    const bad = await commit(one.client.transaction()
        .setData("/p-multi/a", Buffer.from("9"), -1)
        .remove("/p-multi/none", -1)
        .create("/p-multi/c"));
    assert.strictEqual(bad.error.getCode(), Exception.NO_NODE);
    assert.strictEqual((await one.getData("/p-multi/a")).data.toString(), "2", "undone");
    assert.strictEqual(await one.exists("/p-multi/c"), null);
}

async function watches(one, two) {
    const events = new Events(show);
    assert.strictEqual(await one.exists("/p-watch", events.watcher), null);
    await two.create("/p-watch");
    assert.strictEqual(await events.next("created"), "NODE_CREATED /p-watch");
    await one.getData("/p-watch", events.watcher);
    await two.setData("/p-watch", Buffer.from("x"), -1);
    assert.strictEqual(await events.next("changed"), "NODE_DATA_CHANGED /p-watch");
    await one.getChildren("/p-watch", events.watcher);
    await two.create("/p-watch/kid");
    assert.strictEqual(await events.next("child"), "NODE_CHILDREN_CHANGED /p-watch");
    await two.setData("/p-watch", Buffer.from("y"), -1);
    await events.silent("fires once");
}

async function acls(one) {
    const owner = await open(10000);
    owner.client.addAuthInfo("digest", Buffer.from("me:secret"));
    await owner.create("/p-acl", [new ACL(Permission.ALL, new Id("auth", ""))]);
    const acl = await owner.getACL("/p-acl");
    assert.strictEqual(acl.length, 1);
    assert.strictEqual(acl[0].id.scheme, "digest");
    await refused(Exception.NO_AUTH, one.getData("/p-acl"), "read by another");
    await owner.setACL("/p-acl", ACL.READ_ACL_UNSAFE ?? ACL.OPEN_ACL_UNSAFE, 0);
    await one.getData("/p-acl");
    owner.client.close();
}

async function ephemeral(one) {
    const owner = await open(10000);
    await owner.create("/p-eph", CreateMode.EPHEMERAL);
    const events = new Events(show);
    const stat = await one.exists("/p-eph", events.watcher);
    assert.strictEqual(stat.ephemeralOwner.toString("hex"), owner.client.getSessionId().toString("hex"));
    owner.client.close();
    assert.strictEqual(await events.next("deleted with its session"), "NODE_DELETED /p-eph");
}

async function restart(path, stop) {
    const one = await open(40000);
    const two = await open(40000);
    const session = one.client.getSessionId().toString("hex");
    const events = new Events(show);
    await one.create(path, Buffer.from("x"));
    await one.create(`${path}-eph`, CreateMode.EPHEMERAL);
    await one.getData(path, events.watcher);
    await server(stop);
    await eventually(10, "disconnected", () => one.client.getState() === State.DISCONNECTED);
    await server("start");
    for (const api of [one, two]) {
        await eventually(30, "connected", () => api.client.getState() === State.SYNC_CONNECTED);
    }
    assert.strictEqual(one.client.getSessionId().toString("hex"), session, "session");
    const { data: value, stat } = await one.getData(path);
    assert.strictEqual(value.toString(), "x");
    assert.strictEqual(stat.version, 0);
    assert.strictEqual((await two.exists(`${path}-eph`)).ephemeralOwner.toString("hex"), session, "owner");
    await events.silent("nothing has changed");
    await two.setData(path, Buffer.from("y"), 0);
    assert.strictEqual(await events.next("the watch lives on"), `NODE_DATA_CHANGED ${path}`);
    one.client.close();
    two.client.close();
}

async function main() {
    const one = await open(10000);
    const two = await open(10000);
    await test("pure-data", 20, () => data(one, two));
    await test("pure-multi", 20, () => multi(one));
    await test("pure-watches", 20, () => watches(one, two));
    await test("pure-acls", 20, () => acls(one));
    await test("pure-ephemeral", 20, () => ephemeral(one));
    one.client.close();
    two.client.close();
    await test("pure-restart-term", 100, () => restart("/p-term", "stop"));
    await test("pure-restart-kill", 100, () => restart("/p-kill", "kill"));
    end();
}

main();
