//! Fields of hashes that are past their time: missing to every command, and deleted by a master that comes across them. The stream says HDEL.

use smallvec::SmallVec;

use super::{Ctx, Flags, NodeState};
use crate::config::Events;
use crate::keyspace::{DbIndex, Key, UnixMs};
use crate::replication::Role;
use crate::resp::encode_command;

/// Fields that are deleted in one go.
pub(super) const FIELDS_PER_STEP: usize = 64;

impl Ctx<'_> {
    /// The moment by which fields are past their time for this command: none is while the master's stream or a file is read.
    #[inline]
    pub fn field_clock(&self) -> UnixMs {
        if self.node.applying_stream || self.node.loading.is_some() { UnixMs(i64::MIN) } else { self.now() }
    }

    /// Deletes those of a hash's fields that are past their time, if that is this node's business: a master's, or that of whoever writes to a
    /// writable slave. It is no change of the command that came across them.
    #[cold]
    pub fn delete_due_fields<'n>(&mut self, key: Key<'_>, names: impl Iterator<Item = &'n [u8]>) {
        let may_write = self.spec.flags.contains(Flags::WRITE) && !self.node.config.replica_read_only;
        if self.node.data_is_frozen() || !(matches!(self.node.role, Role::Master) || may_write) {
            return;
        }
        let now = self.field_clock();
        let mut deletion: Vec<&[u8]> = vec![b"HDEL", key.bytes];
        let edited = self.node.keyspace.db_mut(self.db).edit_hash(key, false, |hash| {
            for name in names {
                if hash.get().get(name).is_some_and(|field| field.is_due(now)) {
                    hash.remove(name);
                    deletion.push(name);
                }
            }
        });
        let Some(edited) = edited.filter(|_| deletion.len() > 2) else { return };
        self.node.fields_expired(self.db, key, deletion.len() - 2, edited.emptied);
        self.node.add_effect(self.db, |out| encode_command(out, &deletion));
    }

    /// Deletes fields of a hash that are past their time before one is chosen by chance, as Redis does; not more than a turn has time for.
    pub fn delete_some_due_fields(&mut self, key: Key<'_>) {
        let hash = self.node.keyspace.db(self.db).get(key).and_then(|entry| entry.hash());
        let is_due = hash.and_then(|hash| hash.next_expiry()).is_some_and(|at| at < self.field_clock());
        if is_due && !self.node.data_is_frozen() && matches!(self.node.role, Role::Master) {
            self.node.expire_fields(self.db, key, FIELDS_PER_STEP);
        }
    }

    /// Tells slaves when a field expires that they have been told the value of.
    pub fn propagate_expiry(&mut self, key: Key<'_>, name: &[u8]) {
        let hash = self.node.keyspace.db(self.db).get(key).and_then(|entry| entry.hash());
        if let Some(at) = hash.and_then(|hash| hash.get(name)).and_then(|field| field.expire) {
            self.end_unit();
            self.propagate_fields(&[b"HPEXPIREAT", key.bytes, itoa::Buffer::new().format(at.0).as_bytes()], &[name]);
        }
    }

    /// What this command says further is not in one transaction with what it has said, unless a client wanted one: a server before 7.4, which does
    /// not know how fields expire, would refuse the values as well.
    pub fn end_unit(&mut self) {
        if self.node.effects.depth == 1 {
            self.node.flush_effects();
        }
    }
}

impl NodeState {
    /// Deletes fields of a hash that are past their time, the first ones first, `max` at most. Returns how many.
    pub(super) fn expire_fields(&mut self, db: DbIndex, key: Key<'_>, max: usize) -> usize {
        let now = UnixMs(self.now_ms);
        let mut names: Vec<u8> = std::mem::take(&mut self.expire_cycle.names);
        let mut ends: SmallVec<[usize; FIELDS_PER_STEP]> = SmallVec::new();
        let edited = self.keyspace.db_mut(db).edit_hash(key, false, |hash| {
            hash.take_due(now, max, &mut |name| {
                name.append_to(&mut names);
                ends.push(names.len());
            })
        });
        if let Some(edited) = edited.filter(|edited| edited.result > 0) {
            self.fields_expired(db, key, edited.result, edited.emptied);
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let fields = starts.zip(&ends).map(|(start, end)| &names[start..*end]);
            let deletion: SmallVec<[&[u8]; FIELDS_PER_STEP + 2]> = [b"HDEL", key.bytes].into_iter().chain(fields).collect();
            self.add_effect(db, |out| encode_command(out, &deletion));
        }
        names.clear();
        self.expire_cycle.names = names;
        ends.len()
    }

    /// Tells of a hash that has lost so many fields by their time; of its end as well if it has lost all.
    fn fields_expired(&mut self, db: DbIndex, key: Key<'_>, count: usize, emptied: bool) {
        self.stats.expired_subkeys += count as u64;
        self.signal(db, key.bytes);
        self.notify(Events::HASH, "hexpired", db, key.bytes);
        if emptied {
            self.notify(Events::GENERIC, "del", db, key.bytes);
        }
    }
}
