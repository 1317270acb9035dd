// ioredis: pipelines, transactions, custom Lua commands, streams, pub/sub, scans, blocking calls.
import assert from "node:assert/strict";
import Redis from "ioredis";

const [host, port] = [process.argv[2], Number(process.argv[3])];
const redis = new Redis({ host, port });
const other = new Redis({ host, port });
await redis.flushall();

assert.equal(await redis.set("k", "v", "EX", 100, "NX"), "OK");
assert.equal(await redis.get("k"), "v");
assert.deepEqual(await redis.getBuffer("k"), Buffer.from("v"));
assert.equal(await redis.hset("h", { a: 1, b: 2 }), 2);
assert.deepEqual(await redis.hgetall("h"), { a: "1", b: "2" });
assert.equal(await redis.zadd("z", 1, "one", 2.5, "two"), 2);
assert.deepEqual(await redis.zrange("z", 0, -1, "WITHSCORES"), ["one", "1", "two", "2.5"]);
assert.equal(await redis.sadd("s", "x", "y", "x"), 2);
assert.deepEqual((await redis.smembers("s")).sort(), ["x", "y"]);

assert.deepEqual(await redis.pipeline().incr("n").lpush("n", "x").get("n").exec().then((all) => all.map(([error, value]) => error?.message ?? value)), [
  1,
  "WRONGTYPE Operation against a key holding the wrong kind of value",
  "1",
]);
assert.deepEqual(await redis.multi().incr("n").incr("n").exec(), [[null, 2], [null, 3]]);
await redis.watch("n");
await other.incr("n");
assert.equal(await redis.multi().set("n", 0).exec(), null);

redis.defineCommand("addall", { numberOfKeys: 1, lua: "local sum = 0 for _, v in ipairs(ARGV) do sum = redis.call('incrby', KEYS[1], v) end return sum" });
assert.equal(await redis.addall("sum", 1, 2, 3), 6);

const id = await redis.xadd("stream", "*", "field", "value");
await redis.xgroup("CREATE", "stream", "group", "0");
assert.deepEqual(await redis.xreadgroup("GROUP", "group", "me", "COUNT", 1, "STREAMS", "stream", ">"), [["stream", [[id, ["field", "value"]]]]]);
assert.equal(await redis.xack("stream", "group", id), 1);

for (let n = 0; n < 200; n++) await redis.set(`scan:${n}`, n);
const seen = new Set();
for await (const keys of redis.scanStream({ match: "scan:*", count: 20 })) keys.forEach((key) => seen.add(key));
assert.equal(seen.size, 200);

const subscriber = new Redis({ host, port });
await subscriber.subscribe("news");
const message = new Promise((resolve) => subscriber.once("message", (channel, text) => resolve([channel, text])));
assert.equal(await redis.publish("news", "hi"), 1);
assert.deepEqual(await message, ["news", "hi"]);

const popped = other.blpop("inbox", 10);
while (!/blocked_clients:1/.test(await redis.info("clients")));
await redis.rpush("inbox", "letter");
assert.deepEqual(await popped, ["inbox", "letter"]);
[redis, other, subscriber].forEach((client) => client.disconnect());
console.log("done");
