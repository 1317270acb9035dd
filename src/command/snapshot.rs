//! How a snapshot of the node is written, and what becomes of one that has been loaded.
//!
//! For whom it is written decides its version, and the version what is in it.

use slog::warn;

use super::{ClientFlags, Effects, Functions, NodeState, Request, Slot};
use crate::config::ReplDialect;
use crate::keyspace::{DbIndex, Keyspace};
use crate::rdb::{self, Aux, Dialect, Head, Library, LoadCause, LoadError, WriterOptions};
use crate::replication::{Replica, Role};

impl NodeState {
    /// How a snapshot that is begun now is to be written for such readers.
    pub fn writer_options(&self, dialect: Dialect) -> WriterOptions {
        let access = self.access_when_writing();
        let version = rdb::version_for(&self.keyspace, self.functions.libraries_len() > 0, dialect);
        WriterOptions { version, compress: self.config.rdbcompression, checksum: self.config.rdbchecksum, access }
    }

    /// What a slave is known to read, or else what the directive says that it does.
    pub fn dialect_of(&self, replica: &Replica) -> Dialect {
        replica.dialect(match self.config.repl_dialect {
            ReplDialect::V6_2 => Dialect::Oldest,
            ReplDialect::V7_0 => Dialect::V7_0,
            ReplDialect::V7_2 => Dialect::V7_2,
            ReplDialect::V8_2 => Dialect::Full,
        })
    }

    /// Whether `repl-dialect-loss` forbids to sync a slave of this dialect now.
    pub fn would_lose(&self, dialect: Dialect) -> bool {
        self.config.repl_dialect_refuses && self.writer_options(Dialect::Full).version > dialect.version_max()
    }

    /// Where nothing may be lost, slaves that do not know an effect are given up before it is in the stream.
    pub(super) fn drop_replicas_that_lose(&mut self, effects: &Effects) {
        if !self.config.repl_dialect_refuses {
            return;
        }
        let needed = effects.each().map(|(_, bytes)| dialect_needed(bytes)).max().unwrap_or(Dialect::Oldest);
        let losing: Vec<Slot> = self.clients.replicas().filter(|(.., replica)| self.dialect_of(replica) < needed).map(|(slot, ..)| slot).collect();
        for slot in losing {
            let client = self.clients.at_mut(slot);
            warn!(self.log, "A replica is given up: it does not know a command that follows"; "replica" => %client.addr, "reason" => "dialect-loss");
            client.replica.get_or_insert_default().lost_because = Some("dialect-loss".to_owned());
            self.requests.push(Request::Close(slot));
        }
    }

    /// What stands before the keys of a snapshot written so. Libraries that its readers may not know are left out, which the log tells.
    pub fn snapshot_head(&self, options: &WriterOptions) -> Head {
        let needed = rdb::version_needed(&self.keyspace, self.functions.libraries_len() > 0);
        if options.version < needed {
            let expiring_hashes: u64 = (0..self.keyspace.databases()).map(|db| self.keyspace.db(DbIndex(db)).expiring_hashes()).sum();
            let libraries = if rdb::holds_functions(options.version) { 0 } else { self.functions.libraries_len() };
            warn!(
                self.log,
                "Left out of the snapshot: what replicas that have not told their version can't be known to load, see repl-dialect";
                "rdb_version" => options.version, "rdb_version_needed" => needed, "libraries" => libraries,
                "hashes_without_times" => if rdb::holds_field_expiry(options.version) { 0 } else { expiring_hashes }
            );
        }
        let holds = rdb::holds_functions(options.version);
        let libraries = if holds { self.functions.libraries().map(<[u8]>::to_vec).collect() } else { Vec::new() };
        Head { aux: self.snapshot_aux(), libraries }
    }

    /// What a snapshot taken now says of itself: where in the stream it was taken, so that a slave that loads it can go on from there.
    fn snapshot_aux(&self) -> Aux {
        let mut aux = Aux::written_at(self.now_ms / 1000, self.keyspace.allocated() as u64);
        let is_broken = matches!(&self.role, Role::Replica(link) if link.history_broken);
        if self.stream.is_active() && !is_broken {
            let db = match &self.role {
                // Where no database is selected the next write says SELECT, so any will do.
                Role::Master => Some(self.stream.selected().unwrap_or_default()),
                Role::Replica(link) => {
                    let master = self.clients.iter().find(|(_, client)| client.is(ClientFlags::MASTER));
                    master.map_or(link.stream_db, |(_, client)| Some(client.db))
                }
            };
            // Where none is selected, the stream says SELECT before it needs one: any does to go on from this file, 0 in Redis.
            aux.repl_stream_db = Some(db.map_or(0, |db| i64::from(db.0)));
            aux.repl_id = Some(self.stream.replid.to_string());
            aux.repl_offset = i64::try_from(self.stream.offset().0).ok();
        }
        aux
    }

    /// Keys of all databases.
    pub fn keys_len(&self) -> u64 {
        (0..self.keyspace.databases()).map(|db| self.keyspace.db(DbIndex(db)).len()).sum()
    }

    /// Puts what a snapshot had in the place of all keys and functions; keeps them if its functions are bad.
    pub fn put_in_place(&mut self, keyspace: Keyspace, libraries: &[Library]) -> Result<(), LoadError> {
        self.functions = self.compiled(libraries)?;
        self.keyspace.replace(keyspace);
        self.expire_cycle.own.clear();
        Ok(())
    }

    /// Whether a snapshot's functions can be had.
    pub fn check_libraries(&mut self, libraries: &[Library]) -> Result<(), LoadError> {
        self.compiled(libraries).map(drop)
    }

    /// Compiles libraries aside from those in use.
    fn compiled(&mut self, libraries: &[Library]) -> Result<Functions, LoadError> {
        let used = std::mem::take(&mut self.functions);
        let result = libraries.iter().try_for_each(|Library { offset, code }| {
            let loaded = self.load_library(code, false);
            loaded.map(drop).map_err(|error| LoadError { offset: *offset, cause: LoadCause::Library(error.0.into_owned()) })
        });
        let compiled = std::mem::replace(&mut self.functions, used);
        result.map(|()| compiled)
    }
}

/// The dialect that an encoded effect is of. Facts of streams travel in commands that older slaves know, or change no data.
fn dialect_needed(effect: &[u8]) -> Dialect {
    let name = effect.split(|byte| *byte == b'\n').nth(2).unwrap_or_default().trim_ascii_end();
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    if is(b"hpexpireat") || is(b"hpersist") {
        Dialect::Full
    } else if is(b"function") {
        Dialect::V7_0
    } else {
        Dialect::Oldest
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;
    use crate::config::EnableWhere;
    use crate::keyspace::{Key, SetExpire, UnixMs};
    use crate::types::listpack::Elem;

    const LIBRARY: &[u8] = b"#!lua name=mylib\nredis.register_function('one', function() return 1 end)";

    #[test]
    fn readers_decide_what_is_written() {
        let mut b = Bench::new();
        assert_eq!([Dialect::Oldest, Dialect::Full].map(|dialect| b.node.writer_options(dialect).version), [9, 9]);
        b.node.load_library(LIBRARY, false).unwrap();
        for (dialect, version, libraries) in [(Dialect::Oldest, 9, vec![]), (Dialect::Full, 10, vec![LIBRARY.to_vec()])] {
            let options = b.node.writer_options(dialect);
            assert_eq!(options.version, version);
            assert_eq!(b.node.snapshot_head(&options).libraries, libraries);
        }
        let key = Key { bytes: b"h", hash: b.node.keyspace.hash(b"h") };
        let at = SetExpire::At(UnixMs(5_000_000_000_000));
        b.node.keyspace.db_mut(DbIndex(0)).edit_hash(key, true, |hash| hash.set(b"f", Elem::Int(1), at));
        let options = b.node.writer_options(Dialect::Oldest);
        assert_eq!((options.version, b.node.snapshot_head(&options).libraries.len()), (9, 0));
        let options = b.node.writer_options(Dialect::Full);
        assert_eq!((options.version, b.node.snapshot_head(&options).libraries.len()), (12, 1));
    }

    /// The counts that the version follows from are kept with every change.
    #[test]
    fn what_streams_know_decides_the_version() {
        let mut b = Bench::new();
        for (line, full) in [
            ("xadd s 1-1 f v", 9),
            ("xadd s 1-2 f v", 9),
            ("xdel s 1-1", 10),
            ("rename s t", 10),
            ("xgroup create t g $", 10),
            ("xgroup createconsumer t g alice", 11),
            ("copy t u", 11),
            ("del t", 11),
            ("xgroup delconsumer u g alice", 10),
            ("xgroup createconsumer u g bob", 11),
            ("xgroup destroy u g", 10),
            ("xgroup create u g $", 10),
            ("move u 3", 10),
            ("set u 1", 10),
            ("flushall", 9),
            ("xadd s 1-1 f v", 9),
            ("xgroup create s g $", 10),
            ("set s 1", 9),
        ] {
            let reply = b.say(line);
            assert!(!reply.starts_with('-'), "{line}: {reply}");
            assert_eq!([Dialect::Oldest, Dialect::Full].map(|dialect| b.node.writer_options(dialect).version), [9, full], "{line}");
        }
    }

    #[test]
    fn functions_come_with_the_keys_or_not_at_all() {
        let mut b = Bench::new();
        b.say("set old 1");
        b.node.load_library(LIBRARY, false).unwrap();
        let seed = b.node.keyspace.hash_seed();
        let keyspace = || Keyspace::new(16, seed);
        let library = |code: &[u8]| Library { offset: 77, code: code.to_vec() };
        let other = b"#!lua name=other\nredis.register_function('two', function() return 2 end)";
        let error = b.node.put_in_place(keyspace(), &[library(other), library(b"#!lua name=bad\nnonsense")]).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("the RDB has a library of functions that can't be loaded: ERR Error compiling function: "), "{text}");
        assert!(text.ends_with(" (at byte 77)"), "{text}");
        assert_eq!((b.say("get old"), b.say("fcall one 0")), ("$1 1".to_owned(), ":1".to_owned()));
        b.node.put_in_place(keyspace(), &[library(other)]).unwrap();
        assert_eq!((b.say("get old"), b.say("fcall two 0")), ("$-1".to_owned(), ":2".to_owned()));
        assert_eq!(b.say("fcall one 0"), "-ERR Function not found");
    }

    #[test]
    fn a_reload_keeps_functions() {
        let dir = tempfile::tempdir().unwrap();
        let mut b = Bench::new();
        b.node.config.dir = dir.path().to_owned();
        b.node.config.enable_debug_command = EnableWhere::Yes;
        b.node.load_library(LIBRARY, false).unwrap();
        b.node.save_now().unwrap();
        b.node.functions.flush();
        assert_eq!(b.say("debug reload nosave"), "+OK");
        assert_eq!(b.say("fcall one 0"), ":1");
    }

    #[test]
    fn effects_tell_who_knows_them() {
        let of = |words: &[&[u8]]| {
            let mut bytes = Vec::new();
            crate::resp::encode_command(&mut bytes, words);
            dialect_needed(&bytes)
        };
        assert_eq!([of(&[b"SET", b"function", b"v"]), of(&[b"hset", b"HPERSIST", b"f", b"v"])], [Dialect::Oldest; 2]);
        assert_eq!(of(&[b"function", b"LOAD", b"x"]), Dialect::V7_0);
        assert_eq!([of(&[b"HPEXPIREAT", b"h"]), of(&[b"HPERSIST", b"h"])], [Dialect::Full; 2]);
        assert_eq!(dialect_needed(b""), Dialect::Oldest);
    }
}
