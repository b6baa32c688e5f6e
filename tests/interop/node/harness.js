"use strict";
// Reports results to tests/interop/run.py and asks it to restart the server.

const assert = require("node:assert");
const readline = require("node:readline");

const address = process.env.ZK_ADDRESS;
const answers = [];
const waiting = [];
readline.createInterface({ input: process.stdin }).on("line", (line) => {
    if (waiting.length > 0) waiting.shift()(line);
    else answers.push(line);
});

let results = 0;
let failed = false;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Asks the runner to stop, start, kill or restart the server, and waits until that is done.
async function server(action) {
    process.stdout.write(`@server ${action}\n`);
    const answer = answers.shift() ?? (await new Promise((resolve) => waiting.push(resolve)));
    assert.strictEqual(answer, "ok", action);
}

// Runs one test within a time and reports it.
async function test(name, seconds, body) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`did not end within ${seconds} s`)), seconds * 1000);
    });
    results += 1;
    try {
        await Promise.race([body(), late]);
        console.log(`PASS ${name}`);
    } catch (error) {
        failed = true;
        console.log(error);
        console.log(`FAIL ${name}: ${String(error?.message ?? error).replaceAll("\n", " ")}`);
    } finally {
        clearTimeout(timer);
    }
}

// Says how many tests there were and ends the program.
function end() {
    process.stdout.write(`END ${results}\n`, () => process.exit(failed ? 1 : 0));
}

// Waits until a condition holds.
async function eventually(seconds, what, condition) {
    const deadline = Date.now() + seconds * 1000;
    while (!(await condition())) {
        assert.ok(Date.now() < deadline, `not within ${seconds} s: ${what}`);
        await sleep(20);
    }
}

// A watcher that keeps what it is told.
class Events {
    constructor(show) {
        this.list = [];
        this.watcher = (...event) => this.list.push(show(...event));
    }

    async next(what) {
        await eventually(5, what, () => this.list.length > 0);
        return this.list.shift();
    }

    async silent(what) {
        await sleep(300);
        assert.deepStrictEqual(this.list, [], what);
    }
}

module.exports = { address, assert, end, eventually, Events, server, sleep, test };
