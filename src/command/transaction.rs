//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.

use super::client::{Client, Queued};
use super::execute::call;
use super::{Acl, Begin, ClientFlags, CmdResult, CommandError, Ctx, Find, Flags, KeySpec, NodeState, Slot, Spec};
use crate::resp::{ArgRange, Args};

/// The commands that run at once inside MULTI instead of being queued.
pub(super) fn runs_inside_multi(spec: &Spec) -> bool {
    matches!(spec.name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
}

impl Queued {
    /// Copies a request behind those queued before it.
    pub(super) fn push(&mut self, spec: &'static Spec, row: usize, args: Args<'_>) {
        let bytes_from = self.bytes.len();
        let ranges_from = self.ranges.len();
        for arg in args.iter() {
            let start = (self.bytes.len() - bytes_from) as u32;
            self.ranges.push(ArgRange { start, len: arg.len() as u32 });
            self.bytes.extend_from_slice(arg);
        }
        self.commands.push((spec, row, bytes_from, ranges_from..self.ranges.len()));
    }
}

/// Forgets an open MULTI and the watched keys: EXEC, DISCARD, RESET, a client that goes.
pub(crate) fn discard(node: &mut NodeState, slot: Slot) {
    if let Some(client) = node.clients.get_mut(slot) {
        client.queued = Queued::default();
        client.flags -= ClientFlags::MULTI | ClientFlags::DIRTY_EXEC;
        unwatch_all(node, slot);
    }
}

fn unwatch_all(node: &mut NodeState, slot: Slot) {
    let client = node.clients.at_mut(slot);
    client.flags -= ClientFlags::DIRTY_CAS;
    for (db, key) in std::mem::take(&mut client.watched) {
        node.watches.remove(db, &key, slot.0);
    }
}

fn multi(ctx: &mut Ctx<'_>) -> CmdResult {
    let client = ctx.client_mut();
    if client.is(ClientFlags::MULTI) {
        return Err("ERR MULTI calls can not be nested".into());
    }
    client.flags |= ClientFlags::MULTI;
    ctx.out.ok();
    Ok(())
}

fn exec(ctx: &mut Ctx<'_>) -> CmdResult {
    if !ctx.client().is(ClientFlags::MULTI) {
        return Err("ERR EXEC without MULTI".into());
    }
    let watched_expired = has_expired_watched_key(ctx.node, ctx.client());
    let client = ctx.client_mut();
    let flags = client.flags;
    let queued = std::mem::take(&mut client.queued);
    discard(ctx.node, ctx.slot);
    if flags.contains(ClientFlags::DIRTY_EXEC) {
        return Err("EXECABORT Transaction discarded because of previous errors.".into());
    }
    if flags.contains(ClientFlags::DIRTY_CAS) || watched_expired {
        ctx.out.null_array();
        return Ok(());
    }
    ctx.out.array(queued.commands.len());
    for (spec, row, bytes_from, ranges) in &queued.commands {
        let args = Args::new(&queued.bytes[*bytes_from..], &queued.ranges[ranges.clone()]);
        if let Err(error) = call(ctx.node, ctx.slot, *row, spec, args, None, ctx.out) {
            // A stream that can't be applied stops its link; a client reads the error in its place.
            if ctx.node.applying_stream {
                return Err(error);
            }
            ctx.out.error(&error.0);
        }
    }
    Ok(())
}

/// A watched key that was there when WATCH was said and whose time has come since counts as changed (Redis 6.0.9).
fn has_expired_watched_key(node: &NodeState, client: &Client) -> bool {
    client.watched.iter().any(|(db, key)| {
        let key = crate::keyspace::Key { bytes: key, hash: node.keyspace.hash(key) };
        let expire = node.keyspace.db(*db).get(key).and_then(|entry| entry.expire_at());
        expire.is_some_and(|at| at.0 < node.now_ms)
    })
}

fn discard_command(ctx: &mut Ctx<'_>) -> CmdResult {
    if !ctx.client().is(ClientFlags::MULTI) {
        return Err("ERR DISCARD without MULTI".into());
    }
    discard(ctx.node, ctx.slot);
    ctx.out.ok();
    Ok(())
}

fn watch(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.client().is(ClientFlags::MULTI) {
        return Err("ERR WATCH inside MULTI is not allowed".into());
    }
    if ctx.client().is(ClientFlags::DIRTY_CAS) {
        // EXEC will fail anyway.
        ctx.out.ok();
        return Ok(());
    }
    for index in 1..ctx.args.len() {
        let key = ctx.key(index);
        // A key that is expired already is deleted now, so that only later changes count.
        ctx.write(key);
        let (db, slot) = (ctx.db, ctx.slot);
        let client = ctx.client_mut();
        if !client.watched.iter().any(|(d, k)| *d == db && k == key.bytes) {
            client.watched.push((db, key.bytes.to_vec()));
            ctx.node.watches.add(db, key.bytes, slot.0);
        }
    }
    ctx.out.ok();
    Ok(())
}

fn unwatch(ctx: &mut Ctx<'_>) -> CmdResult {
    unwatch_all(ctx.node, ctx.slot);
    ctx.out.ok();
    Ok(())
}

const WATCHED: &[KeySpec] = &[KeySpec { flags: &["RO"], begin: Begin::Index(1), find: Find::Range { last: -1, step: 1, limit: 0 }, notes: "" }];

const QUICK: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::FAST).union(Flags::ALLOW_BUSY);
const AROUND: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE);

pub(super) const ROWS: &[Spec] = &[
    Spec::new("discard", 1, QUICK, discard_command).acl(Acl::TRANSACTION).docs(
        "transactions",
        "2.0.0",
        "O(N), when N is the number of queued commands",
        "Discards a transaction.",
    ),
    Spec::new("exec", 1, AROUND.union(Flags::SKIP_SLOWLOG), exec).acl(Acl::TRANSACTION).docs(
        "transactions",
        "1.2.0",
        "Depends on commands in the transaction",
        "Executes all commands in a transaction.",
    ),
    Spec::new("multi", 1, QUICK, multi).acl(Acl::TRANSACTION).docs("transactions", "1.2.0", "O(1)", "Starts a transaction."),
    Spec::new("unwatch", 1, QUICK, unwatch).acl(Acl::TRANSACTION).docs(
        "transactions",
        "2.2.0",
        "O(1)",
        "Forgets about watched keys of a transaction.",
    ),
    Spec::new("watch", -2, QUICK, watch).acl(Acl::TRANSACTION).keys(1, -1, 1).key_specs(WATCHED).docs(
        "transactions",
        "2.2.0",
        "O(1) for every key.",
        "Monitors changes to keys to determine the execution of a transaction.",
    ),
];

impl From<CommandError> for String {
    fn from(error: CommandError) -> String {
        error.0.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use crate::replication::{MasterLink, Role};

    #[test]
    fn an_exec_that_is_refused_ends_the_transaction() {
        let mut b = Bench::new();
        b.say("multi");
        b.say("set a 1");
        assert_eq!(b.say("exec now"), "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command");
        assert_eq!(b.say("exec"), "-ERR EXEC without MULTI");
        assert_eq!(b.say("get a"), "$-1");
    }

    /// Replies as of 7.0.15 and 8.2.3.
    #[test]
    fn what_may_not_be_run_any_more_is_not_run_by_exec_either() {
        let mut b = Bench::new();
        for line in ["multi", "set a 1"] {
            b.say(line);
        }
        b.node.config.min_replicas_to_write = 2;
        assert_eq!(b.say("exec"), "-EXECABORT Transaction discarded because of: NOREPLICAS Not enough good replicas to write.");
        b.node.config.min_replicas_to_write = 0;
        for line in ["multi", "get a", "set a 1"] {
            b.say(line);
        }
        b.node.role = Role::Replica(Box::new(MasterLink::new("master".to_owned(), 6379, b.node.steady_ms)));
        assert_eq!(b.say("exec"), "-EXECABORT Transaction discarded because of: READONLY You can't write against a read only replica.");
        b.say("multi");
        b.say("get a");
        assert_eq!(b.say("exec"), "*1 $-1");
        b.say("multi");
        b.say("get a");
        b.node.config.replica_serve_stale_data = false;
        let refused = "-EXECABORT Transaction discarded because of: MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
        assert_eq!(b.say("exec"), refused);
    }

    #[test]
    fn a_transaction_is_one_unit_in_the_stream() {
        let mut b = Bench::new();
        b.say("set due x px 10");
        b.pass_ms(11);
        b.say("multi");
        b.say("set a 1 px 5");
        b.say("get due");
        b.stream();
        b.say("exec");
        let at = b.node.now_ms + 5;
        assert_eq!(b.stream(), ["MULTI".to_owned(), format!("SET a 1 PXAT {at}"), "DEL due".to_owned(), "EXEC".to_owned()]);
        b.say("multi");
        b.say("incr n");
        assert_eq!(b.streamed("exec"), ["incr n"]);
    }
}
