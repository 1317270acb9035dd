//! What a handler works with: the node's state, its client, its arguments, its reply.

use super::client::Slot;
use super::{Client, CommandError, Effects, NodeState, Spec};
use crate::keyspace::{DbIndex, Entry, Key, Kind, StrRef, UnixMs};
use crate::replication::Role;
use crate::resp::{Args, Reply, encode_command};

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
    /// access time is touched.
    #[inline]
    pub fn read(&mut self, key: Key<'_>) -> Option<&Entry> {
        if !self.expire_if_due(self.db, key) {
            // The borrow of `get` cannot be returned on one path only; the second look-up hits the same cache lines.
            if self.node.keyspace.db(self.db).get(key).is_some() {
                self.node.stats.keyspace_hits += 1;
                return self.node.keyspace.db(self.db).get(key);
            }
        }
        self.node.stats.keyspace_misses += 1;
        None
    }

    /// A key for writing or for a look that is not a hit or miss: expired ones are deleted (master) or missing (slave).
    #[inline]
    pub fn write(&mut self, key: Key<'_>) -> Option<&Entry> {
        self.lookup_in(self.db, key)
    }

    /// Like `write`, in any database (MOVE, COPY).
    pub fn lookup_in(&mut self, db: DbIndex, key: Key<'_>) -> Option<&Entry> {
        if self.expire_if_due(db, key) {
            return None;
        }
        self.node.keyspace.db(db).get(key)
    }

    /// True if the key is there but past its time: then it is as good as missing. On a master it is deleted now, and DEL goes into the stream.
    #[inline]
    fn expire_if_due(&mut self, db: DbIndex, key: Key<'_>) -> bool {
        let due = match self.node.keyspace.db(db).get(key).and_then(Entry::expire_at) {
            Some(at) => at.0 < self.node.now_ms,
            None => return false,
        };
        if !due || self.node.applying_stream || self.node.loading.is_some() {
            return false;
        }
        if matches!(self.node.role, Role::Master) {
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

    /// Puts a command into the stream in place of the request (`alsoPropagate`); several calls become MULTI/EXEC. In database `self.db`.
    pub fn propagate(&mut self, args: &[&[u8]]) {
        self.propagate_in(self.db, args);
    }

    pub fn propagate_in(&mut self, db: DbIndex, args: &[&[u8]]) {
        self.propagated = true;
        self.node.add_effect(db, |out| encode_command(out, args));
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

impl NodeState {
    /// Counts a change and tells watchers.
    #[inline]
    pub fn changed(&mut self, db: DbIndex, key: &[u8]) {
        self.dirty += 1;
        if !self.watches.is_empty() {
            self.touch_watchers(db, key);
        }
    }

    #[cold]
    fn touch_watchers(&mut self, db: DbIndex, key: &[u8]) {
        for slot in self.watches.of(db, key) {
            if let Some(client) = self.clients.get_mut(Slot(slot)) {
                client.flags |= super::ClientFlags::DIRTY_CAS;
            }
        }
    }

    /// Adds one effect of the running unit, if anybody wants the stream.
    pub fn add_effect(&mut self, db: DbIndex, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.stream.is_active() && matches!(self.role, Role::Master) {
            encode(&mut self.effects.bytes);
            self.effects.ends.push((db, self.effects.bytes.len()));
        }
    }

    /// Deletes a key that is past its time, as master: counts it, tells watchers, and the stream says DEL or UNLINK.
    pub fn delete_expired(&mut self, db: DbIndex, key: Key<'_>) {
        let lazy = self.config.lazyfree_lazy_expire;
        if self.keyspace.db_mut(db).remove(key, lazy) {
            self.stats.expired_keys += 1;
            self.changed(db, key.bytes);
            let verb: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
            self.add_effect(db, |out| encode_command(out, &[verb, key.bytes]));
        }
    }

    /// Ends a unit: its effects go into the stream, in MULTI/EXEC when there are several.
    pub fn flush_effects(&mut self) {
        if self.effects.ends.is_empty() {
            return;
        }
        let effects = std::mem::take(&mut self.effects);
        let several = effects.ends.len() > 1;
        let mut start = 0;
        for (i, (db, end)) in effects.ends.iter().enumerate() {
            self.stream.select(*db);
            if several && i == 0 {
                self.stream.append(b"*1\r\n$5\r\nMULTI\r\n");
            }
            self.stream.append(&effects.bytes[start..*end]);
            start = *end;
        }
        if several {
            self.stream.append(b"*1\r\n$4\r\nEXEC\r\n");
        }
        // The buffers are kept for the next unit.
        let Effects { mut bytes, mut ends, depth } = effects;
        bytes.clear();
        ends.clear();
        self.effects = Effects { bytes, ends, depth };
    }
}
