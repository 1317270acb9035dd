//! What a handler works with: the node's state, its client, its arguments, its reply.

use super::client::Slot;
use super::state::EffectEnd;
use super::{Client, ClientFlags, Clients, CommandError, Effects, NodeState, Spec};
use crate::config::{Config, Events};
use crate::env::Env;
use crate::env::Mistake;
use crate::keyspace::eviction::Lfu;
use crate::keyspace::{DbIndex, Entry, Key, Keyspace, Kind, SetExpire, StrRef, UnixMs};
use crate::replication::Role;
use crate::resp::{Args, Reply, encode_command};

/// How a key is looked at for reading.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Its access time is touched.
    Read,
    Peek,
    Inspect,
}

/// One execution of one command.
pub struct Ctx<'a> {
    pub node: &'a mut NodeState,
    pub slot: Slot,
    /// The database that the client has selected; SELECT and SWAPDB change the client, not this.
    pub db: DbIndex,
    pub args: Args<'a>,
    pub spec: &'static Spec,
    pub out: &'a mut Reply,
    /// The hash of the first key, if staging has computed it.
    pub first_key_hash: Option<u64>,
    /// Set by `propagate`, so that the row's `Verbatim` does not apply.
    pub propagated: bool,
}

impl<'a> Ctx<'a> {
    pub fn client(&self) -> &Client {
        self.node.clients.at(self.slot)
    }
    pub fn client_mut(&mut self) -> &mut Client {
        self.node.clients.at_mut(self.slot)
    }
    pub fn now(&self) -> UnixMs {
        UnixMs(self.node.now_ms)
    }

    /// The argument at `index` as a key, with its hash.
    #[inline]
    pub fn key(&self, index: usize) -> Key<'a> {
        let bytes = self.args.at(index);
        let hash = match self.first_key_hash {
            Some(hash) if index as i32 == self.spec.keys.0 => hash,
            _ => self.node.keyspace.hash(bytes),
        };
        Key { bytes, hash }
    }

    /// Any bytes as a key.
    pub fn hashed<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        Key { bytes, hash: self.node.keyspace.hash(bytes) }
    }

    /// A key for reading, as `lookupKeyRead`: expired ones are missing (and deleted, on a master), hits and misses are counted, the entry's
    /// access time is touched. `read_with` saves a look-up where keys expire.
    #[inline]
    pub fn read(&mut self, key: Key<'_>) -> Option<&Entry> {
        if self.is_expired(self.db, key, false) || self.node.keyspace.db(self.db).get(key).is_none() {
            self.missed(key, Look::Read);
            return None;
        }
        self.node.stats.keyspace_hits += 1;
        let NodeState { keyspace, clients, now_ms, config, env, .. } = &*self.node;
        let entry = keyspace.db(self.db).get(key)?;
        Toucher { keyspace, clients, slot: self.slot, now_ms: *now_ms, config, env }.touch(entry);
        Some(entry)
    }

    /// A key that a command wanted to read is not there.
    #[inline]
    fn missed(&mut self, key: Key<'_>, look: Look) {
        self.node.stats.keyspace_misses += 1;
        if look != Look::Inspect {
            self.notify(Events::KEY_MISS, "keymiss", key.bytes);
        }
    }

    /// `read` for what is answered at once: a single look-up, its entry checked for expiry where it lies and handed to `f` with the reply.
    #[inline]
    pub fn read_with<R>(&mut self, key: Key<'_>, f: impl FnOnce(Option<&Entry>, &mut Reply) -> R) -> R {
        self.look_with(key, Look::Read, f)
    }

    /// `read_with` that leaves the access time alone (EXISTS, TTL, TYPE, OBJECT); it still counts as a hit or a miss.
    #[inline]
    pub fn peek_with<R>(&mut self, key: Key<'_>, f: impl FnOnce(Option<&Entry>, &mut Reply) -> R) -> R {
        self.look_with(key, Look::Peek, f)
    }

    /// `peek_with` that is no event if the key is missing (OBJECT).
    #[inline]
    pub fn inspect_with<R>(&mut self, key: Key<'_>, f: impl FnOnce(Option<&Entry>, &mut Reply) -> R) -> R {
        self.look_with(key, Look::Inspect, f)
    }

    #[inline]
    fn look_with<R>(&mut self, key: Key<'_>, look: Look, f: impl FnOnce(Option<&Entry>, &mut Reply) -> R) -> R {
        let NodeState { keyspace, stats, clients, now_ms, config, env, .. } = &mut *self.node;
        if let Some(entry) = keyspace.db(self.db).get(key) {
            if entry.expire_at().is_none_or(|at| at.0 >= *now_ms) {
                stats.keyspace_hits += 1;
                if look == Look::Read {
                    Toucher { keyspace, clients, slot: self.slot, now_ms: *now_ms, config, env }.touch(entry);
                }
                return f(Some(entry), self.out);
            }
            return self.look_at_due(key, look, f);
        }
        self.missed(key, look);
        f(None, self.out)
    }

    #[cold]
    fn look_at_due<R>(&mut self, key: Key<'_>, look: Look, f: impl FnOnce(Option<&Entry>, &mut Reply) -> R) -> R {
        if self.expire_if_due(self.db, key, false) {
            self.missed(key, look);
            return f(None, self.out);
        }
        self.node.stats.keyspace_hits += 1;
        f(self.node.keyspace.db(self.db).get(key), self.out)
    }

    /// A key for writing, as `lookupKeyWrite`: expired ones are deleted (master) or missing (slave); neither a hit nor a miss.
    #[inline]
    pub fn write(&mut self, key: Key<'_>) -> Option<&Entry> {
        self.lookup_in(self.db, key)
    }

    /// Like `write`, in any database (MOVE, COPY).
    #[inline]
    pub fn lookup_in(&mut self, db: DbIndex, key: Key<'_>) -> Option<&Entry> {
        if self.is_expired(db, key, true) {
            return None;
        }
        let entry = self.node.keyspace.db(db).get(key)?;
        self.node.toucher(self.slot).touch(entry);
        Some(entry)
    }

    /// Whether the key is there but as good as missing; a database without expiring keys is not even asked. `writes` for a command that writes.
    #[inline]
    pub fn is_expired(&mut self, db: DbIndex, key: Key<'_>, writes: bool) -> bool {
        self.node.keyspace.db(db).expires_len() > 0 && self.expire_if_due(db, key, writes)
    }

    /// Whether an entry is past its time, as this command must see it.
    #[inline]
    pub fn is_due(&self, entry: &Entry) -> bool {
        self.node.is_due(entry)
    }

    /// True if the key is there but past its time: then it is as good as missing. On a master it is deleted now, and DEL goes into the stream;
    /// so it is (but without a stream) when a client writes to a writable slave.
    fn expire_if_due(&mut self, db: DbIndex, key: Key<'_>, writes: bool) -> bool {
        match self.node.keyspace.db(db).get(key) {
            Some(entry) if self.node.is_due(entry) => {}
            _ => return false,
        }
        if self.node.data_is_frozen() {
            return true;
        }
        if matches!(self.node.role, Role::Master) || (writes && !self.node.config.replica_read_only) {
            self.node.delete_expired(db, key);
        }
        true
    }

    /// A string value for reading; WRONGTYPE if it is another type.
    pub fn read_string(&mut self, key: Key<'_>) -> Result<Option<StrRef<'_>>, CommandError> {
        match self.read(key) {
            None => Ok(None),
            Some(entry) => entry.string().map(Some).ok_or(CommandError::WRONG_TYPE),
        }
    }

    /// Overwrites a key that has not been looked up, or creates it. Under LFU overwriting counts as an access.
    #[inline]
    pub fn overwrite(&mut self, key: Key<'_>, value: &[u8]) {
        let existed = self.node.keyspace.db_mut(self.db).set_string(key, value, SetExpire::Clear);
        if existed
            && self.node.keyspace.access_clock() == 0
            && let Some(entry) = self.node.keyspace.db(self.db).get(key)
        {
            self.node.toucher(self.slot).touch(entry);
        }
    }

    /// Fails with WRONGTYPE if the key (looked up for writing) holds something that is not a string.
    pub fn check_string(&mut self, key: Key<'_>) -> Result<(), CommandError> {
        match self.write(key) {
            Some(entry) if entry.kind() != Kind::String => Err(CommandError::WRONG_TYPE),
            _ => Ok(()),
        }
    }

    /// A key of the current database has changed (`signalModifiedKey` and `server.dirty++`): call once for each changed key.
    #[inline]
    pub fn changed(&mut self, key: &[u8]) {
        self.node.changed(self.db, key);
    }

    /// As `changed`, where Redis counts a change for each of several elements.
    pub fn changed_by(&mut self, count: usize, key: &[u8]) {
        assert!(count > 0, "a change changes something");
        self.changed(key);
        self.node.dirty += count as u64 - 1;
    }

    /// Puts a command into the stream in place of the request (`alsoPropagate`); several calls become MULTI/EXEC. In database `self.db`.
    pub fn propagate(&mut self, args: &[&[u8]]) {
        self.propagate_in(self.db, args);
    }

    pub fn propagate_in(&mut self, db: DbIndex, args: &[&[u8]]) {
        self.propagated = true;
        self.node.add_effect(db, |out| encode_command(out, args));
    }

    /// As `propagate`, for what changes no data and older slaves do not know: it follows the unit's transaction.
    pub fn propagate_apart(&mut self, args: &[&[u8]]) {
        self.propagate(args);
        if let Some(last) = self.node.effects.ends.last_mut() {
            last.is_apart = true;
        }
    }

    /// The handler has changed something that must not reach the stream.
    pub fn propagate_nothing(&mut self) {
        self.propagated = true;
    }

    /// The integer argument at `index`.
    pub fn int(&self, index: usize) -> Result<i64, CommandError> {
        crate::types::number::parse_i64(self.args.at(index)).ok_or(CommandError::NOT_INTEGER)
    }
}

/// Notes accesses in entries.
pub(super) struct Toucher<'a> {
    keyspace: &'a Keyspace,
    clients: &'a Clients,
    slot: Slot,
    now_ms: i64,
    config: &'a Config,
    env: &'a Env,
}

impl Toucher<'_> {
    /// Writes the LRU clock, in seconds. CLIENT NO-TOUCH is asked only when there is something to write.
    #[inline]
    pub fn touch(&self, entry: &Entry) {
        let clock = self.keyspace.access_clock();
        if entry.lru() != clock && !self.clients.get(self.slot).is_some_and(|client| client.is(ClientFlags::NO_TOUCH)) {
            self.note(entry);
        }
    }

    /// As `touch`, whatever CLIENT NO-TOUCH says.
    #[inline]
    pub fn note(&self, entry: &Entry) {
        match self.keyspace.access_clock() {
            0 => self.count(entry),
            clock => entry.set_lru(clock),
        }
    }

    /// Under LFU an access counts, though not every one.
    #[cold]
    fn count(&self, entry: &Entry) {
        let lfu = Lfu { minutes: Lfu::minutes_of(self.now_ms), log_factor: self.config.lfu_log_factor, decay_minutes: self.config.lfu_decay_time };
        let chance = (self.env.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        entry.set_lru(lfu.accessed(entry.lru(), chance));
    }
}

impl NodeState {
    #[inline]
    pub(super) fn toucher(&self, slot: Slot) -> Toucher<'_> {
        Toucher { keyspace: &self.keyspace, clients: &self.clients, slot, now_ms: self.now_ms, config: &self.config, env: &self.env }
    }

    /// Whether an entry is past its time, as of the running command. Nothing is while the master's stream or a file is read.
    #[inline]
    pub fn is_due(&self, entry: &Entry) -> bool {
        match entry.expire_at() {
            Some(at) => at.0 < self.now_ms && !self.applying_stream && self.loading.is_none(),
            None => false,
        }
    }

    /// Counts a change and tells watchers.
    #[inline]
    pub fn changed(&mut self, db: DbIndex, key: &[u8]) {
        self.dirty += 1;
        self.signal(db, key);
        if matches!(self.role, Role::Replica(_)) && !self.applying_stream {
            self.note_own_write(db, key);
        }
    }

    /// Tells watchers, and who waits for it, of a key that has changed without counting it (`signalModifiedKey` alone): the second key of RENAME, an expired key.
    #[inline]
    pub fn signal(&mut self, db: DbIndex, key: &[u8]) {
        if !self.watches.is_empty() {
            self.touch_watchers(db, key);
        }
        if !self.blocked.keys.is_empty() {
            self.note_ready(db, key);
        }
    }

    #[cold]
    fn touch_watchers(&mut self, db: DbIndex, key: &[u8]) {
        for slot in self.watches.of(db, key) {
            match self.clients.get_mut(Slot(slot)) {
                Some(client) => client.flags |= ClientFlags::DIRTY_CAS,
                None => self.note_touched(slot),
            }
        }
    }

    /// A database has got other contents: everybody who watches one of its keys, or waits for one, is told.
    pub fn touch_all_watchers(&mut self, db: DbIndex) {
        self.note_all_ready(db);
        let watchers: Vec<u32> = self.watches.in_db(db).flat_map(|(_, clients)| clients.to_vec()).collect();
        for slot in watchers {
            match self.clients.get_mut(Slot(slot)) {
                Some(client) => client.flags |= super::ClientFlags::DIRTY_CAS,
                None => self.note_touched(slot),
            }
        }
    }

    /// Adds one effect of the running unit, if anybody wants the stream.
    pub fn add_effect(&mut self, db: DbIndex, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.stream.is_active() && matches!(self.role, Role::Master) {
            encode(&mut self.effects.bytes);
            self.effects.ends.push(EffectEnd { db, end: self.effects.bytes.len(), is_apart: false });
        }
    }

    /// Deletes a key that is past its time: tells watchers, and the stream says DEL or UNLINK. It is no change of the command that came across it:
    /// `dirty` stays, or the command would be propagated as well.
    pub fn delete_expired(&mut self, db: DbIndex, key: Key<'_>) {
        let lazy = self.config.lazyfree_lazy_expire;
        if self.keyspace.db_mut(db).remove(key, lazy) {
            self.stats.expired_keys += 1;
            self.signal(db, key.bytes);
            self.notify(Events::EXPIRED, "expired", db, key.bytes);
            let verb: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
            self.add_effect(db, |out| encode_command(out, &[verb, key.bytes]));
        }
    }

    /// Ends a unit: its effects go into the stream, in MULTI/EXEC when there are several.
    pub fn flush_effects(&mut self) {
        if self.effects.ends.is_empty() {
            return;
        }
        let mut effects = std::mem::take(&mut self.effects);
        if self.env.planted(Mistake::EffectsReversed) {
            effects = effects.reversed();
        }
        self.drop_replicas_that_lose(&effects);
        let several = effects.ends.iter().filter(|effect| !effect.is_apart).count() > 1;
        let mut is_first = true;
        for (effect, bytes) in effects.each().filter(|(effect, _)| !effect.is_apart) {
            self.stream.select(effect.db);
            if several && is_first {
                self.stream.append(b"*1\r\n$5\r\nMULTI\r\n");
            }
            is_first = false;
            self.stream.append(bytes);
        }
        if several {
            self.stream.append(b"*1\r\n$4\r\nEXEC\r\n");
        }
        for (effect, bytes) in effects.each().filter(|(effect, _)| effect.is_apart) {
            self.stream.select(effect.db);
            self.stream.append(bytes);
        }
        // The buffers are kept for the next unit.
        let Effects { mut bytes, mut ends, depth } = effects;
        bytes.clear();
        ends.clear();
        self.effects = Effects { bytes, ends, depth };
    }
}
