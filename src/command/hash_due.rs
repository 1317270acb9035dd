//! Fields of hashes that are past their time: missing to every command, and deleted by a master that comes across them. The stream says HDEL.

use super::{Ctx, Flags, NodeState};
use crate::config::Events;
use crate::keyspace::{DbIndex, Key, UnixMs};
use crate::replication::Role;
use crate::resp::encode_command;

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

    /// Tells slaves when a field expires that they have been told the value of. Servers before 7.4 do not know how: in one transaction with the
    /// value, they would refuse both.
    pub fn propagate_expiry(&mut self, key: Key<'_>, name: &[u8]) {
        let hash = self.node.keyspace.db(self.db).get(key).and_then(|entry| entry.hash());
        if let Some(at) = hash.and_then(|hash| hash.get(name)).and_then(|field| field.expire) {
            if self.node.effects.depth == 1 {
                self.node.flush_effects();
            }
            self.propagate(&[b"HPEXPIREAT", key.bytes, itoa::Buffer::new().format(at.0).as_bytes(), b"FIELDS", b"1", name]);
        }
    }
}

impl NodeState {
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
