//! Commands on whole databases: FLUSHDB, FLUSHALL, SWAPDB.

use super::{Acl, ClientFlags, CmdResult, CommandError, Ctx, Flags, NodeState, Propagate, Request, Slot, Spec};
use crate::keyspace::{DbIndex, Key};
use crate::types::number::parse_i64;

impl NodeState {
    /// Tells those who watch a key of `db` that is in one of `present_in` (FLUSHDB: the database itself; SWAPDB: either one).
    fn signal_db(&mut self, db: DbIndex, present_in: &[DbIndex]) {
        let NodeState { watches, keyspace, clients, .. } = self;
        for (bytes, watchers) in watches.in_db(db) {
            let key = Key { bytes, hash: keyspace.hash(bytes) };
            if present_in.iter().all(|db| keyspace.db(*db).get(key).is_none()) {
                continue;
            }
            for slot in watchers {
                if let Some(client) = clients.get_mut(Slot(*slot)) {
                    client.flags |= ClientFlags::DIRTY_CAS;
                }
            }
        }
    }

    fn flush_db(&mut self, db: DbIndex) {
        self.signal_db(db, &[db]);
        self.dirty += self.keyspace.flush(db);
        self.note_all_ready(db);
    }

    /// Redis saves after FLUSHALL if it has save points, or a restart would bring the old data back. A save that runs already has the old data:
    /// another follows it.
    fn save_emptiness(&mut self) {
        if self.config.save.is_empty() {
            return;
        }
        match self.save.bgsave_started_ms {
            Some(_) => self.save.scheduled = true,
            None => self.requests.push(Request::BackgroundSave),
        }
    }
}

/// SYNC and ASYNC are read for their syntax: what is flushed is always freed on another thread, in constant time here.
fn check_flush_mode(ctx: &Ctx<'_>) -> CmdResult {
    match ctx.args.get(1) {
        None => Ok(()),
        Some(mode) if ctx.args.len() == 2 && (mode.eq_ignore_ascii_case(b"SYNC") || mode.eq_ignore_ascii_case(b"ASYNC")) => Ok(()),
        Some(_) => Err(CommandError::SYNTAX),
    }
}

/// FLUSHDB and FLUSHALL reach the slaves even when there was nothing to delete here.
fn propagate_request(ctx: &mut Ctx<'_>) {
    match ctx.args.get(1) {
        Some(mode) => ctx.propagate(&[ctx.args.at(0), mode]),
        None => ctx.propagate(&[ctx.args.at(0)]),
    }
}

fn flushdb(ctx: &mut Ctx<'_>) -> CmdResult {
    check_flush_mode(ctx)?;
    ctx.node.flush_db(ctx.db);
    propagate_request(ctx);
    ctx.out.ok();
    Ok(())
}

fn flushall(ctx: &mut Ctx<'_>) -> CmdResult {
    check_flush_mode(ctx)?;
    for db in 0..ctx.node.keyspace.databases() {
        ctx.node.flush_db(DbIndex(db));
    }
    ctx.node.save_emptiness();
    propagate_request(ctx);
    ctx.out.ok();
    Ok(())
}

fn swapdb(ctx: &mut Ctx<'_>) -> CmdResult {
    let parse = |index: usize, error: &'static str| {
        parse_i64(ctx.args.at(index)).filter(|given| i32::try_from(*given).is_ok()).ok_or(CommandError::text(error))
    };
    let given = [parse(1, "ERR invalid first DB index")?, parse(2, "ERR invalid second DB index")?];
    let databases = i64::from(ctx.node.keyspace.databases());
    if given.iter().any(|db| !(0..databases).contains(db)) {
        return Err(CommandError::DB_OUT_OF_RANGE);
    }
    let [a, b] = given.map(|db| DbIndex(db as u32));
    if a != b {
        ctx.node.signal_db(a, &[a, b]);
        ctx.node.signal_db(b, &[a, b]);
        ctx.node.keyspace.swap(a, b);
        ctx.node.note_all_ready(a);
        ctx.node.note_all_ready(b);
    }
    ctx.node.dirty += 1;
    ctx.out.ok();
    Ok(())
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("flushall", -1, Flags::WRITE, flushall)
        .acl(Acl::KEYSPACE.union(Acl::DANGEROUS))
        .propagate(Propagate::Effects)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .docs("server", "1.0.0", "O(N) where N is the total number of keys in all databases", "Removes all keys from all databases."),
    Spec::new("flushdb", -1, Flags::WRITE, flushdb)
        .acl(Acl::KEYSPACE.union(Acl::DANGEROUS))
        .propagate(Propagate::Effects)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .docs("server", "1.0.0", "O(N) where N is the number of keys in the selected database", "Remove all keys from the current database."),
    Spec::new("swapdb", 3, Flags::WRITE.union(Flags::FAST), swapdb).acl(Acl::KEYSPACE.union(Acl::DANGEROUS)).docs(
        "server",
        "4.0.0",
        "O(N) where N is the count of clients watching or blocking on keys from both databases.",
        "Swaps two Redis databases.",
    ),
];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    fn is_touched(b: &mut Bench) -> bool {
        b.node.clients.at(b.slot).is(ClientFlags::DIRTY_CAS)
    }

    #[test]
    fn a_flush_of_nothing_still_reaches_the_slaves() {
        let mut b = Bench::new();
        assert_eq!(b.streamed("flushdb"), ["flushdb"]);
        assert_eq!(b.streamed("flushall async"), ["flushall async"]);
        assert_eq!(b.say("flushall now"), "-ERR syntax error");
        assert_eq!(b.say("flushdb sync async"), "-ERR syntax error");
        b.say("mset a 1 b 2");
        let dirty = b.node.dirty;
        b.say("flushall");
        assert_eq!(b.node.dirty, dirty + 2);
        assert_eq!(b.say("dbsize"), ":0");
    }

    #[test]
    fn the_empty_dataset_is_saved_where_there_are_save_points() {
        let mut b = Bench::new();
        b.node.config.save.clear();
        b.say("flushall");
        assert!(b.node.requests.is_empty());
        b.node.config.save.push((3600, 1));
        b.say("flushdb");
        assert!(b.node.requests.is_empty());
        b.say("flushall");
        assert_eq!(b.node.requests, [Request::BackgroundSave]);
        b.node.save.bgsave_started_ms = Some(1);
        b.say("flushall");
        assert!(b.node.save.scheduled && b.node.requests.len() == 1);
    }

    #[test]
    fn watchers_are_told_of_keys_that_were_there() {
        let mut b = Bench::new();
        b.say("watch a");
        b.say("flushdb");
        assert!(!is_touched(&mut b));
        b.say("set a 1");
        b.say("unwatch");
        b.say("watch a");
        b.say("flushall");
        assert!(is_touched(&mut b));
    }

    #[test]
    fn swapped_databases_tell_watchers_of_both() {
        let mut b = Bench::new();
        b.say("set a 1");
        b.say("copy a a db 3");
        b.say("flushdb");
        b.say("watch a");
        b.say("swapdb 1 2");
        assert!(!is_touched(&mut b));
        assert_eq!(b.streamed("swapdb 3 0"), ["swapdb 3 0"]);
        assert!(is_touched(&mut b));
        assert_eq!(b.say("get a"), "$1 1");
        assert_eq!(b.say("swapdb x 0"), "-ERR invalid first DB index");
        assert_eq!(b.say("swapdb 0 16"), "-ERR DB index is out of range");
    }
}
