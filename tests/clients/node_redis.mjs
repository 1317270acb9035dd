// node-redis: RESP2 and RESP3, typed replies, transactions, scripts, streams, pub/sub, iterators.
import assert from "node:assert/strict";
import { createClient } from "redis";

const [host, port, RESP] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const client = await createClient({ socket: { host, port }, RESP }).connect();
await client.flushAll();

assert.equal(await client.set("k", "v", { expiration: { type: "EX", value: 100 } }), "OK");
assert.equal(await client.get("k"), "v");
assert.ok((await client.ttl("k")) > 0);
assert.equal(await client.hSet("h", { a: "1", b: "2" }), 2);
assert.deepEqual({ ...(await client.hGetAll("h")) }, { a: "1", b: "2" });
assert.equal(await client.zAdd("z", [{ score: 1, value: "one" }, { score: 2.5, value: "two" }]), 2);
assert.deepEqual((await client.zRangeWithScores("z", 0, -1)).map(({ score, value }) => [score, value]), [[1, "one"], [2.5, "two"]]);
assert.equal(await client.zScore("z", "two"), 2.5);
assert.equal(await client.sAdd("s", ["x", "y"]), 2);
assert.deepEqual([...(await client.sMembers("s"))].sort(), ["x", "y"]);
assert.deepEqual(await client.sendCommand(["LPOS", "nokey", "x"]), null);

assert.deepEqual(await client.multi().incr("n").incr("n").exec(), [1, 2]);
assert.equal(await client.eval("return redis.call('incrby', KEYS[1], ARGV[1])", { keys: ["n"], arguments: ["40"] }), 42);

const id = await client.xAdd("stream", "*", { field: "value" });
await client.xGroupCreate("stream", "group", "0");
const read = await client.xReadGroup("group", "me", [{ key: "stream", id: ">" }], { COUNT: 1 });
assert.equal((read[0]?.messages ?? Object.values(read)[0])[0].id, id);
assert.equal(await client.xAck("stream", "group", id), 1);

await Promise.all(Array.from({ length: 200 }, (_, n) => client.set(`scan:${n}`, String(n))));
const seen = new Set();
for await (const keys of client.scanIterator({ MATCH: "scan:*", COUNT: 20 })) keys.forEach((key) => seen.add(key));
assert.equal(seen.size, 200);

const subscriber = await client.duplicate().connect();
const message = new Promise((resolve) => subscriber.subscribe("news", (text, channel) => resolve([channel, text])).then(() => client.publish("news", "hi")));
assert.deepEqual(await message, ["news", "hi"]);

const waiter = await client.duplicate().connect();
const popped = waiter.blPop("inbox", 10);
while (!/blocked_clients:1/.test(await client.info("clients")));
await client.rPush("inbox", "letter");
assert.deepEqual({ ...(await popped) }, { key: "inbox", element: "letter" });
[client, subscriber, waiter].forEach((one) => one.destroy());
console.log("done");
