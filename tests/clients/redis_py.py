"""redis-py does a shop's day of work: every family of commands, pipelines, transactions, scripts, locks, pub/sub, blocking calls."""

import sys
import threading

import redis

host, port, protocol = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
r = redis.Redis(host=host, port=port, protocol=protocol, decode_responses=True)
r.flushall()

# Strings and counters.
assert r.set("greeting", "hello", ex=100) and r.get("greeting") == "hello" and 0 < r.ttl("greeting") <= 100
assert r.set("greeting", "again", nx=True) is None and r.getrange("greeting", 1, 3) == "ell"
assert r.incrby("hits", 5) == 5 and r.incrbyfloat("price", 2.5) == 2.5
assert r.mset({"m1": 1, "m2": 2}) and r.mget("m1", "m2", "m3") == ["1", "2", None]
assert r.setbit("bits", 7, 1) == 0 and r.bitcount("bits") == 1
assert r.pfadd("visitors", *range(100)) == 1 and 95 <= r.pfcount("visitors") <= 105

# Collections.
assert r.rpush("queue", "a", "b", "c") == 3 and r.lrange("queue", 0, -1) == ["a", "b", "c"]
assert r.lmove("queue", "done", "LEFT", "RIGHT") == "a" and r.lpos("queue", "c") == 1
assert r.hset("user:1", mapping={"name": "Ada", "age": 36}) == 2
assert r.hgetall("user:1") == {"name": "Ada", "age": "36"} and r.hincrby("user:1", "age", 1) == 37
assert r.hexpire("user:1", 100, "age") == [1] and 0 < r.httl("user:1", "age")[0] <= 100
assert r.sadd("tags", "x", "y") == 2 and r.smembers("tags") == {"x", "y"} and r.sismember("tags", "x")
assert r.zadd("board", {"ann": 10, "bob": 20.5, "cat": 15}) == 3
ranked = [(member, score) for member, score in r.zrange("board", 0, -1, withscores=True)]
assert ranked == [("ann", 10.0), ("cat", 15.0), ("bob", 20.5)], ranked
assert r.zrank("board", "cat") == 1 and r.zscore("board", "bob") == 20.5
assert r.zrangebyscore("board", 12, "+inf") == ["cat", "bob"]
r.geoadd("cities", (13.361389, 38.115556, "Palermo"))
r.geoadd("cities", (15.087269, 37.502669, "Catania"))
assert abs(r.geodist("cities", "Palermo", "Catania", "km") - 166.2742) < 0.001
assert r.geosearch("cities", longitude=15, latitude=37, radius=200, unit="km", sort="ASC") == ["Catania", "Palermo"]

# Streams and groups.
first = r.xadd("events", {"kind": "start"})
r.xadd("events", {"kind": "stop"})
assert r.xlen("events") == 2 and r.xrange("events")[0] == (first, {"kind": "start"})
assert r.xgroup_create("events", "workers", "0")
read = r.xreadgroup("workers", "w1", {"events": ">"}, count=1)
entries = read["events"][0] if isinstance(read, dict) else read[0][1]
assert entries[0][0] == first and r.xpending("events", "workers")["pending"] == 1
assert r.xack("events", "workers", first) == 1

# Cursors.
for n in range(300):
    r.set(f"scan:{n}", n)
assert len(set(r.scan_iter("scan:*", count=50))) == 300
r.hset("big", mapping={f"field{n}": n for n in range(700)})
assert len(dict(r.hscan_iter("big"))) == 700
assert r.sort("queue", alpha=True, desc=True) == ["c", "b"]

# Pipelines, transactions, optimistic locking.
with r.pipeline(transaction=True) as pipe:
    pipe.incr("counter").incr("counter").get("counter")
    assert pipe.execute() == [1, 2, "2"]
with r.pipeline() as pipe:
    pipe.watch("counter")
    other = redis.Redis(host=host, port=port, protocol=protocol)
    other.incr("counter")
    pipe.multi()
    pipe.set("counter", 0)
    try:
        pipe.execute()
        raise SystemExit("the watched key has changed")
    except redis.WatchError:
        pass
try:
    r.lpush("greeting", "x")
    raise SystemExit("a string is no list")
except redis.ResponseError as error:
    assert "WRONGTYPE" in str(error)

# Scripts, locks and functions.
double = r.register_script("return redis.call('incrby', KEYS[1], ARGV[1] * 2)")
assert double(keys=["scripted"], args=[21]) == 42
with r.lock("the-lock", timeout=10, blocking_timeout=1):
    assert r.lock("the-lock", timeout=10).acquire(blocking=False) is False
assert r.exists("the-lock") == 0
r.function_load("#!lua name=shop\nredis.register_function('twice', function(keys, args) return args[1] * 2 end)", replace=True)
assert r.fcall("twice", 0, 4) == 8

# Pub/sub, and a call that blocks until somebody pushes.
pubsub = r.pubsub()
pubsub.subscribe("news")
pubsub.psubscribe("n*")
for _ in range(2):
    pubsub.get_message(timeout=5)
assert r.publish("news", "hi") == 2
kinds = {pubsub.get_message(timeout=5)["type"] for _ in range(2)}
assert kinds == {"message", "pmessage"}, kinds
popped = []
waiter = threading.Thread(target=lambda: popped.append(redis.Redis(host=host, port=port, protocol=protocol).blpop("inbox", timeout=10)))
waiter.start()
while r.info("clients")["blocked_clients"] == 0:
    pass
r.rpush("inbox", "letter")
waiter.join()
assert list(popped[0]) == [b"inbox", b"letter"], popped

copied = redis.Redis(host=host, port=port, protocol=protocol).dump("board")
r.restore("board2", 0, copied)
assert r.zscore("board2", "bob") == 20.5
print("done")
