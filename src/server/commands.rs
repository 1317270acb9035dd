//! The common commands as functions with types, for every kind of client in this process.

use std::future::Future;
use std::time::Duration;

use smallvec::SmallVec;

use super::convert::{FromValue, Typed};
use super::{ClientError, KeyEntries, Pair, StreamEntry};
use crate::resp::Value;

/// What a client of this process can say: the common commands with types, and any other by [`Commands::call`]. Keys and values are bytes: texts, vectors,
/// slices will do.
///
/// [`Client`](super::Client) is the one for the node's own thread, [`RemoteClient`](super::RemoteClient) the one for others.
///
/// ```
/// use replikant::server::{Commands, ErrorKind, ClientError, Node};
///
/// # actix_rt::System::new().block_on(async {
/// # let node = Node::builder().no_listener().start().await?;
/// let client = node.client();
/// client.hset("user:1", &[("name", "Ada"), ("born", "1815")]).await?;
/// client.zadd("by-year", &[(1815.0, "user:1")]).await?;
/// client.rpush("queue", &["a", "b"]).await?;
///
/// // Any command, and its reply as any type that fits:
/// let user: Vec<(String, String)> = client.call(&["HGETALL", "user:1"]).into_type().await?;
/// assert_eq!(user.len(), 2);
///
/// // Errors are types:
/// match client.incr("queue").await {
///     Err(ClientError::Refused(error)) => assert_eq!(error.kind(), ErrorKind::WrongType),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub trait Commands {
    /// The reply to come of a command.
    type Reply: Future<Output = Result<Value, ClientError>> + Unpin;

    /// Hands a command over: its name and arguments.
    fn send(&self, args: &[&[u8]]) -> Self::Reply;

    /// Hands over a command that may wait, such as BLPOP, on a connection of its own, so that others do not wait behind it. Dropping the future ends
    /// the wait.
    fn send_blocking(&self, args: &[&[u8]]) -> Self::Reply;

    /// Any command. One that waits (BLPOP and the like) holds up what a [`Client`](super::Client) says after it: [`Commands::call_blocking`] is for those.
    fn call<A: AsRef<[u8]>>(&self, args: &[A]) -> Self::Reply {
        self.send(&slices(args))
    }

    /// Any command that may wait.
    fn call_blocking<A: AsRef<[u8]>>(&self, args: &[A]) -> Self::Reply {
        self.send_blocking(&slices(args))
    }

    /// PING
    fn ping(&self) -> Typed<Self::Reply, String> {
        say(self, &[b"PING"])
    }

    // Keys.

    /// DEL: how many keys were there.
    fn del<K: AsRef<[u8]>>(&self, keys: &[K]) -> Typed<Self::Reply, u64> {
        say(self, &with(&[b"DEL"], keys))
    }

    /// EXISTS: how many of the keys are there.
    fn exists<K: AsRef<[u8]>>(&self, keys: &[K]) -> Typed<Self::Reply, u64> {
        say(self, &with(&[b"EXISTS"], keys))
    }

    /// PEXPIRE: whether the key is there.
    fn expire(&self, key: impl AsRef<[u8]>, after: Duration) -> Typed<Self::Reply, bool> {
        say(self, &[b"PEXPIRE", key.as_ref(), millis(after).as_bytes()])
    }

    /// PERSIST: whether the key was to expire.
    fn persist(&self, key: impl AsRef<[u8]>) -> Typed<Self::Reply, bool> {
        say(self, &[b"PERSIST", key.as_ref()])
    }

    /// PTTL: milliseconds; -1 if the key does not expire, -2 if it is not there.
    fn pttl(&self, key: impl AsRef<[u8]>) -> Typed<Self::Reply, i64> {
        say(self, &[b"PTTL", key.as_ref()])
    }

    /// TYPE: `string`, `list`, ..., `none`.
    fn type_of(&self, key: impl AsRef<[u8]>) -> Typed<Self::Reply, String> {
        say(self, &[b"TYPE", key.as_ref()])
    }

    /// RENAME
    fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Typed<Self::Reply, ()> {
        say(self, &[b"RENAME", from.as_ref(), to.as_ref()])
    }

    /// KEYS: all that match a pattern.
    fn keys(&self, pattern: impl AsRef<[u8]>) -> Typed<Self::Reply, Vec<Vec<u8>>> {
        say(self, &[b"KEYS", pattern.as_ref()])
    }

    /// SCAN: the next cursor, and keys. A cursor of 0 begins, and ends, a walk.
    fn scan(&self, cursor: u64, pattern: impl AsRef<[u8]>, count: u64) -> Typed<Self::Reply, (u64, Vec<Vec<u8>>)> {
        say(self, &[b"SCAN", cursor.to_string().as_bytes(), b"MATCH", pattern.as_ref(), b"COUNT", count.to_string().as_bytes()])
    }

    /// DBSIZE
    fn dbsize(&self) -> Typed<Self::Reply, u64> {
        say(self, &[b"DBSIZE"])
    }

    /// FLUSHALL
    fn flush_all(&self) -> Typed<Self::Reply, ()> {
        say(self, &[b"FLUSHALL"])
    }

    // Strings.

    /// GET
    fn get(&self, key: impl AsRef<[u8]>) -> Typed<Self::Reply, Option<Vec<u8>>> {
        say(self, &[b"GET", key.as_ref()])
    }

    /// SET
    fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Typed<Self::Reply, ()> {
        say(self, &[b"SET", key.as_ref(), value.as_ref()])
    }

    /// SET PX: a value that expires.
    fn set_for(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, ttl: Duration) -> Typed<Self::Reply, ()> {
        say(self, &[b"SET", key.as_ref(), value.as_ref(), b"PX", millis(ttl).as_bytes()])
    }

    /// SET NX: whether the key was not there, and is now.
    fn set_new(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Typed<Self::Reply, bool> {
        say(self, &[b"SET", key.as_ref(), value.as_ref(), b"NX"])
    }

    /// GETDEL
    fn get_del(&self, key: impl AsRef<[u8]>) -> Typed<Self::Reply, Option<Vec<u8>>> {
        say(self, &[b"GETDEL", key.as_ref()])
    }

    /// MGET
    fn mget<K: AsRef<[u8]>>(&self, keys: &[K]) -> Typed<Self::Reply, Vec<Option<Vec<u8>>>> {
        say(self, &with(&[b"MGET"], keys))
    }

    /// MSET
    fn mset<K: AsRef<[u8]>, V: AsRef<[u8]>>(&self, pairs: &[(K, V)]) -> Typed<Self::Reply, ()> {
        say(self, &with_pairs(&[b"MSET"], pairs))
    }

    /// INCR
    fn incr(&self, key: impl AsRef<[u8]>) -> Typed<Self::Reply, i64> {
        say(self, &[b"INCR", key.as_ref()])
    }

    /// DECR
    fn decr(&self, key: impl AsRef<[u8]>) -> Typed<Self::Reply, i64> {
        say(self, &[b"DECR", key.as_ref()])
    }

    /// INCRBY
    fn incr_by(&self, key: impl AsRef<[u8]>, by: i64) -> Typed<Self::Reply, i64> {
        say(self, &[b"INCRBY", key.as_ref(), by.to_string().as_bytes()])
    }

    /// APPEND: the new length.
    fn append(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Typed<Self::Reply, u64> {
        say(self, &[b"APPEND", key.as_ref(), value.as_ref()])
    }

    // Hashes.

    /// HGET
    fn hget(&self, key: impl AsRef<[u8]>, field: impl AsRef<[u8]>) -> Typed<Self::Reply, Option<Vec<u8>>> {
        say(self, &[b"HGET", key.as_ref(), field.as_ref()])
    }

    /// HSET: how many fields are new.
    fn hset<F: AsRef<[u8]>, V: AsRef<[u8]>>(&self, key: impl AsRef<[u8]>, fields: &[(F, V)]) -> Typed<Self::Reply, u64> {
        say(self, &with_pairs(&[b"HSET", key.as_ref()], fields))
    }

    /// HDEL: how many fields were there.
    fn hdel<F: AsRef<[u8]>>(&self, key: impl AsRef<[u8]>, fields: &[F]) -> Typed<Self::Reply, u64> {
        say(self, &with(&[b"HDEL", key.as_ref()], fields))
    }

    /// HGETALL: fields and values.
    fn hgetall(&self, key: impl AsRef<[u8]>) -> Typed<Self::Reply, Vec<Pair>> {
        say(self, &[b"HGETALL", key.as_ref()])
    }

    /// HINCRBY
    fn hincr_by(&self, key: impl AsRef<[u8]>, field: impl AsRef<[u8]>, by: i64) -> Typed<Self::Reply, i64> {
        say(self, &[b"HINCRBY", key.as_ref(), field.as_ref(), by.to_string().as_bytes()])
    }

    /// HLEN
    fn hlen(&self, key: impl AsRef<[u8]>) -> Typed<Self::Reply, u64> {
        say(self, &[b"HLEN", key.as_ref()])
    }

    // Lists.

    /// LPUSH: the new length.
    fn lpush<V: AsRef<[u8]>>(&self, key: impl AsRef<[u8]>, values: &[V]) -> Typed<Self::Reply, u64> {
        say(self, &with(&[b"LPUSH", key.as_ref()], values))
    }

    /// RPUSH: the new length.
    fn rpush<V: AsRef<[u8]>>(&self, key: impl AsRef<[u8]>, values: &[V]) -> Typed<Self::Reply, u64> {
        say(self, &with(&[b"RPUSH", key.as_ref()], values))
    }

    /// LPOP
    fn lpop(&self, key: impl AsRef<[u8]>) -> Typed<Self::Reply, Option<Vec<u8>>> {
        say(self, &[b"LPOP", key.as_ref()])
    }

    /// RPOP
    fn rpop(&self, key: impl AsRef<[u8]>) -> Typed<Self::Reply, Option<Vec<u8>>> {
        say(self, &[b"RPOP", key.as_ref()])
    }

    /// LRANGE
    fn lrange(&self, key: impl AsRef<[u8]>, first: i64, last: i64) -> Typed<Self::Reply, Vec<Vec<u8>>> {
        say(self, &[b"LRANGE", key.as_ref(), first.to_string().as_bytes(), last.to_string().as_bytes()])
    }

    /// LLEN
    fn llen(&self, key: impl AsRef<[u8]>) -> Typed<Self::Reply, u64> {
        say(self, &[b"LLEN", key.as_ref()])
    }

    /// BLPOP: the key and its first element, or `None` after the time-out (zero: waits for ever). Dropping the future ends the wait, and takes nothing.
    fn blpop<K: AsRef<[u8]>>(&self, keys: &[K], timeout: Duration) -> Typed<Self::Reply, Option<Pair>> {
        let seconds = seconds(timeout);
        let mut args = with(&[b"BLPOP"], keys);
        args.push(seconds.as_bytes());
        Typed::new(self.send_blocking(&args))
    }

    /// BRPOP: as [`Commands::blpop`], the last element.
    fn brpop<K: AsRef<[u8]>>(&self, keys: &[K], timeout: Duration) -> Typed<Self::Reply, Option<Pair>> {
        let seconds = seconds(timeout);
        let mut args = with(&[b"BRPOP"], keys);
        args.push(seconds.as_bytes());
        Typed::new(self.send_blocking(&args))
    }

    // Sets.

    /// SADD: how many members are new.
    fn sadd<V: AsRef<[u8]>>(&self, key: impl AsRef<[u8]>, members: &[V]) -> Typed<Self::Reply, u64> {
        say(self, &with(&[b"SADD", key.as_ref()], members))
    }

    /// SREM: how many members were there.
    fn srem<V: AsRef<[u8]>>(&self, key: impl AsRef<[u8]>, members: &[V]) -> Typed<Self::Reply, u64> {
        say(self, &with(&[b"SREM", key.as_ref()], members))
    }

    /// SMEMBERS
    fn smembers(&self, key: impl AsRef<[u8]>) -> Typed<Self::Reply, Vec<Vec<u8>>> {
        say(self, &[b"SMEMBERS", key.as_ref()])
    }

    /// SISMEMBER
    fn sismember(&self, key: impl AsRef<[u8]>, member: impl AsRef<[u8]>) -> Typed<Self::Reply, bool> {
        say(self, &[b"SISMEMBER", key.as_ref(), member.as_ref()])
    }

    /// SCARD
    fn scard(&self, key: impl AsRef<[u8]>) -> Typed<Self::Reply, u64> {
        say(self, &[b"SCARD", key.as_ref()])
    }

    // Sorted sets.

    /// ZADD: how many members are new.
    fn zadd<M: AsRef<[u8]>>(&self, key: impl AsRef<[u8]>, members: &[(f64, M)]) -> Typed<Self::Reply, u64> {
        let scores: SmallVec<[String; 8]> = members.iter().map(|(score, _)| score.to_string()).collect();
        let mut args: Slices<'_> = SmallVec::from_slice(&[b"ZADD", key.as_ref()]);
        args.extend(members.iter().zip(&scores).flat_map(|((_, member), score)| [score.as_bytes(), member.as_ref()]));
        say(self, &args)
    }

    /// ZREM: how many members were there.
    fn zrem<M: AsRef<[u8]>>(&self, key: impl AsRef<[u8]>, members: &[M]) -> Typed<Self::Reply, u64> {
        say(self, &with(&[b"ZREM", key.as_ref()], members))
    }

    /// ZSCORE
    fn zscore(&self, key: impl AsRef<[u8]>, member: impl AsRef<[u8]>) -> Typed<Self::Reply, Option<f64>> {
        say(self, &[b"ZSCORE", key.as_ref(), member.as_ref()])
    }

    /// ZINCRBY: the new score.
    fn zincr_by(&self, key: impl AsRef<[u8]>, by: f64, member: impl AsRef<[u8]>) -> Typed<Self::Reply, f64> {
        say(self, &[b"ZINCRBY", key.as_ref(), by.to_string().as_bytes(), member.as_ref()])
    }

    /// ZRANGE WITHSCORES, by rank.
    fn zrange(&self, key: impl AsRef<[u8]>, first: i64, last: i64) -> Typed<Self::Reply, Vec<(Vec<u8>, f64)>> {
        say(self, &[b"ZRANGE", key.as_ref(), first.to_string().as_bytes(), last.to_string().as_bytes(), b"WITHSCORES"])
    }

    /// ZCARD
    fn zcard(&self, key: impl AsRef<[u8]>) -> Typed<Self::Reply, u64> {
        say(self, &[b"ZCARD", key.as_ref()])
    }

    // Streams.

    /// XADD: the id of the new entry.
    fn xadd<F: AsRef<[u8]>, V: AsRef<[u8]>>(&self, key: impl AsRef<[u8]>, fields: &[(F, V)]) -> Typed<Self::Reply, String> {
        say(self, &with_pairs(&[b"XADD", key.as_ref(), b"*"], fields))
    }

    /// XLEN
    fn xlen(&self, key: impl AsRef<[u8]>) -> Typed<Self::Reply, u64> {
        say(self, &[b"XLEN", key.as_ref()])
    }

    /// XRANGE: entries from one id to another; `-` and `+` are the ends.
    fn xrange(&self, key: impl AsRef<[u8]>, from: &str, to: &str) -> Typed<Self::Reply, Vec<StreamEntry>> {
        say(self, &[b"XRANGE", key.as_ref(), from.as_bytes(), to.as_bytes()])
    }

    /// XREAD BLOCK: the entries behind an id (`$`: those to come) of each key that has some; empty after the time-out (zero: waits for ever).
    fn xread_blocking(&self, key: impl AsRef<[u8]>, after: &str, timeout: Duration) -> Typed<Self::Reply, Vec<KeyEntries>> {
        Typed::new(self.send_blocking(&[b"XREAD", b"BLOCK", millis_or_zero(timeout).as_bytes(), b"STREAMS", key.as_ref(), after.as_bytes()]))
    }

    // Channels, scripts, the node itself.

    /// PUBLISH: how many have been sent the message.
    fn publish(&self, channel: impl AsRef<[u8]>, message: impl AsRef<[u8]>) -> Typed<Self::Reply, u64> {
        say(self, &[b"PUBLISH", channel.as_ref(), message.as_ref()])
    }

    /// EVAL: a script of Lua.
    fn eval<A: AsRef<[u8]>, T: FromValue>(&self, script: &str, keys: &[A], args: &[A]) -> Typed<Self::Reply, T> {
        let count = keys.len().to_string();
        let mut all = with(&[b"EVAL", script.as_bytes(), count.as_bytes()], keys);
        all.extend(args.iter().map(AsRef::as_ref));
        Typed::new(self.send(&all))
    }

    /// WATCH: a later transaction of this connection does nothing if one of the keys was changed. For a connection that nobody else uses.
    fn watch<K: AsRef<[u8]>>(&self, keys: &[K]) -> Typed<Self::Reply, ()> {
        say(self, &with(&[b"WATCH"], keys))
    }

    /// WAIT: how many slaves have what this connection has written, after at most that long.
    fn wait_for_replicas(&self, replicas: u64, timeout: Duration) -> Typed<Self::Reply, u64> {
        say(self, &[b"WAIT", replicas.to_string().as_bytes(), millis_or_zero(timeout).as_bytes()])
    }

    /// INFO, of one section.
    fn info(&self, section: &str) -> Typed<Self::Reply, String> {
        say(self, &[b"INFO", section.as_bytes()])
    }

    /// CONFIG GET: names and values.
    fn config_get(&self, pattern: &str) -> Typed<Self::Reply, Vec<(String, String)>> {
        say(self, &[b"CONFIG", b"GET", pattern.as_bytes()])
    }

    /// CONFIG SET
    fn config_set(&self, name: &str, value: &str) -> Typed<Self::Reply, ()> {
        say(self, &[b"CONFIG", b"SET", name.as_bytes(), value.as_bytes()])
    }

    /// REPLICAOF: the node becomes a slave. It keeps its data until it has the master's.
    fn replica_of(&self, host: &str, port: u16) -> Typed<Self::Reply, ()> {
        say(self, &[b"REPLICAOF", host.as_bytes(), port.to_string().as_bytes()])
    }

    /// REPLICAOF NO ONE: the node becomes a master.
    fn promote(&self) -> Typed<Self::Reply, ()> {
        say(self, &[b"REPLICAOF", b"NO", b"ONE"])
    }
}

type Slices<'a> = SmallVec<[&'a [u8]; 16]>;

fn slices<A: AsRef<[u8]>>(args: &[A]) -> Slices<'_> {
    args.iter().map(AsRef::as_ref).collect()
}

fn with<'a, A: AsRef<[u8]>>(first: &[&'a [u8]], rest: &'a [A]) -> Slices<'a> {
    first.iter().copied().chain(rest.iter().map(AsRef::as_ref)).collect()
}

fn with_pairs<'a, A: AsRef<[u8]>, B: AsRef<[u8]>>(first: &[&'a [u8]], pairs: &'a [(A, B)]) -> Slices<'a> {
    first.iter().copied().chain(pairs.iter().flat_map(|(a, b)| [a.as_ref(), b.as_ref()])).collect()
}

#[inline]
fn say<C: Commands + ?Sized, T: FromValue>(client: &C, args: &[&[u8]]) -> Typed<C::Reply, T> {
    Typed::new(client.send(args))
}

/// No time-out of a caller means "at once" for a key, nor "for ever" for a wait that was to be short.
fn millis(time: Duration) -> String {
    time.as_millis().max(1).to_string()
}

fn millis_or_zero(time: Duration) -> String {
    if time.is_zero() { "0".to_owned() } else { millis(time) }
}

fn seconds(time: Duration) -> String {
    if time.is_zero() { "0".to_owned() } else { format!("{:.3}", time.as_secs_f64().max(0.001)) }
}
