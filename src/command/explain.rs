//! REPLICATION: what this server tells of its replication beyond Redis's INFO: every link with its lag and progress, and the last syncs with the reason of
//! each. The container of all commands that no other server has. Reads the state.

use super::help::{container, help};
use super::replication::accept_refused;
use super::role_info::replica_address;
use super::verify::{repair, verify};
use super::{CmdResult, CommandError, Ctx, Flags, NodeState, Spec};
use crate::replication::{LinkState, MasterLink, Replica, Role, SyncOutcome, SyncRecord};
use crate::resp::Reply;
use crate::types::number::parse_i64;

fn pair(out: &mut Reply, name: &str, value: &str) {
    out.bulk(name.as_bytes());
    out.bulk(value.as_bytes());
}

fn pair_int(out: &mut Reply, name: &str, value: i64) {
    out.bulk(name.as_bytes());
    out.int(value);
}

/// `REPLICATION HISTORY [COUNT n]`: the newest first.
fn history(ctx: &mut Ctx<'_>) -> CmdResult {
    let count = match (ctx.args.len(), ctx.args.get(2)) {
        (2, _) => usize::MAX,
        (4, Some(option)) if option.eq_ignore_ascii_case(b"count") => {
            let count = parse_i64(ctx.args.at(3)).ok_or(CommandError::NOT_INTEGER)?;
            usize::try_from(count).map_err(|_| CommandError::text("ERR COUNT must not be negative"))?
        }
        _ => return Err(CommandError::SYNTAX),
    };
    let (node, out) = (&*ctx.node, &mut *ctx.out);
    let records = node.syncs.records();
    let shown = records.len().min(count);
    out.array(shown);
    for record in records.take(shown) {
        sync(out, record, node.steady_ms);
    }
    Ok(())
}

fn sync(out: &mut Reply, record: &SyncRecord, steady_ms: i64) {
    let error = match &record.outcome {
        SyncOutcome::Failed(why) => Some(why),
        _ => None,
    };
    out.map(11 + usize::from(error.is_some()));
    pair_int(out, "number", record.number.0 as i64);
    pair_int(out, "started-ms", record.started_unix_ms);
    pair(out, "direction", record.direction.name());
    pair(out, "peer", &record.peer);
    pair(out, "kind", if record.reason.is_full() { "full" } else { "partial" });
    pair(out, "reason", record.reason.code());
    pair(out, "state", record.outcome.name());
    pair_int(out, "offset", record.offset.0 as i64);
    pair_int(out, "bytes", record.bytes as i64);
    pair_int(out, "resumed", record.resumed.into());
    pair_int(out, "took-ms", record.age_ms(steady_ms));
    if let Some(error) = error {
        pair(out, "error", error);
    }
}

/// `REPLICATION STATUS`: this node, its link to a master if it has one, its slaves.
fn status(ctx: &mut Ctx<'_>) -> CmdResult {
    let (node, out) = (&*ctx.node, &mut *ctx.out);
    let link = match &node.role {
        Role::Replica(link) => Some(link),
        Role::Master => None,
    };
    out.map(4 + usize::from(link.is_some()));
    pair(out, "role", if link.is_some() { "slave" } else { "master" });
    pair(out, "replid", node.stream.replid.as_str());
    pair_int(out, "offset", node.stream.offset().0 as i64);
    if let Some(link) = link {
        out.bulk(b"master");
        master_link(node, link, out);
    }
    out.bulk(b"slaves");
    let replicas = node.clients.replicas();
    out.array(replicas.len());
    for (_, client, replica) in replicas {
        one_replica(node, &replica_address(client, replica), replica, out);
    }
    Ok(())
}

fn master_link(node: &NodeState, link: &MasterLink, out: &mut Reply) {
    let percent = link.sync_percent().filter(|_| link.state == LinkState::Sync);
    out.map(4 + [percent.is_some(), link.refused.is_some(), link.last_error.is_some()].into_iter().filter(|is_shown| *is_shown).count());
    pair(out, "address", &link.address());
    pair(out, "state", link.state.name());
    pair_int(out, "down-ms", link.down_since_ms.map_or(0, |since| (node.steady_ms - since).max(0)));
    pair_int(out, "sync-read-bytes", link.sync_read_bytes as i64);
    if let Some(percent) = percent {
        pair(out, "sync-percent", &format!("{percent:.1}"));
    }
    if let Some(refused) = &link.refused {
        pair(out, "sync-refused", refused);
    }
    if let Some(error) = &link.last_error {
        pair(out, "last-error", error);
    }
}

fn one_replica(node: &NodeState, address: &str, replica: &Replica, out: &mut Reply) {
    let offset = node.stream.offset().0;
    out.map(6 + usize::from(replica.sync_permille.is_some()) + usize::from(replica.hold.is_some()));
    pair(out, "address", address);
    pair(out, "state", replica.state.info_name());
    if let Some(hold) = replica.hold {
        pair(out, "waits-because", hold.code());
    }
    if let Some(permille) = replica.sync_permille {
        pair_int(out, "sync-permille", permille.into());
    }
    pair_int(out, "acked-offset", replica.ack_offset.0 as i64);
    pair_int(out, "lag-bytes", offset.saturating_sub(replica.ack_offset.0) as i64);
    pair_int(out, "lag-ms", node.stream_marks.lag_ms(replica.ack_offset, node.steady_ms));
    pair_int(out, "unsent-bytes", offset.saturating_sub(replica.sent.0) as i64);
}

fn replication_help(ctx: &mut Ctx<'_>) -> CmdResult {
    help(ctx.out, "REPLICATION", HELP);
    Ok(())
}

/// `REPLICATION ACCEPT`: the full sync that was refused may come.
fn accept(ctx: &mut Ctx<'_>) -> CmdResult {
    if !accept_refused(ctx.node) {
        return Err("ERR No full sync was refused".into());
    }
    ctx.out.ok();
    Ok(())
}

const HELP: &[&str] = &[
    "ACCEPT",
    "    Take the data of a master whose full sync this server has refused.",
    "HISTORY [COUNT <n>]",
    "    Return the last syncs with slaves and with the master, the newest first: how much, how long, and why a full one was needed.",
    "REPAIR [<ip> <port>|ALL] [DB <n>] [TIMEOUT <ms>] [NOWAIT]",
    "    Compare slaves with this master as VERIFY does, say anew in the stream what differs, and compare again.",
    "STATUS",
    "    Return this server's links: the master's state, and each slave's place and lag.",
    "VERIFY [<ip> <port>|ALL] [DB <n>] [TIMEOUT <ms>] [NOWAIT]",
    "    Compare slaves, and those behind them, with this master at one place of the stream, and name the slots that differ.",
    "VERIFY STATUS|STOP",
    "    Return the running verification or the last one's result; stop it.",
];

const READS: Flags = Flags::ADMIN.union(Flags::LOADING).union(Flags::STALE);

const ORDERS: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::BLOCKING);

const REPLICATION_ROWS: &[Spec] = &[
    Spec::new("accept", 2, Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::STALE), accept).docs(
        "server",
        "7.2.0",
        "O(1)",
        "Takes the data of a master whose full sync was refused.",
    ),
    Spec::new("help", 2, Flags::LOADING.union(Flags::STALE), replication_help).docs(
        "server",
        "7.2.0",
        "O(1)",
        "Returns helpful text about the different subcommands.",
    ),
    Spec::new("history", -2, READS, history).tips(&["nondeterministic_output"]).docs(
        "server",
        "7.2.0",
        "O(N) where N is the number of syncs returned.",
        "Returns the last syncs of this server, with the reason of each.",
    ),
    Spec::new("repair", -2, ORDERS, repair).docs(
        "server",
        "7.2.0",
        "O(N) where N is the number of keys, in short steps.",
        "Compares slaves with this master and repairs what differs.",
    ),
    Spec::new("status", 2, READS, status).tips(&["nondeterministic_output"]).docs(
        "server",
        "7.2.0",
        "O(N) where N is the number of slaves.",
        "Returns the links to the master and to the slaves.",
    ),
    Spec::new("verify", -2, ORDERS, verify).docs(
        "server",
        "7.2.0",
        "O(N) where N is the number of keys, in short steps.",
        "Compares slaves with this master, slot by slot.",
    ),
];

pub(super) const ROWS: &[Spec] = &[Spec::new("replication", -2, Flags::empty(), container)
    .docs("server", "7.2.0", "Depends on subcommand.", "A container for commands that explain and check replication.")
    .subcommands(REPLICATION_ROWS)];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use crate::replication::{Direction, PsyncRefusal, ReplOffset, SyncReason};

    #[test]
    fn the_history_tells_the_newest_sync_first() {
        let mut b = Bench::new();
        let at = b.node.moment();
        let reason = SyncReason::Psync(PsyncRefusal::OutOfBacklog);
        let number = b.node.syncs.begin(at, Direction::ToReplica, "10.0.0.7:6379".to_owned(), reason, ReplOffset(9));
        b.node.syncs.begin(at, Direction::FromMaster, "m:1".to_owned(), SyncReason::Continued, ReplOffset(10));
        b.node.syncs.failed(number, at, 77, "cut");
        let all = b.say("replication history");
        let full = "$9 direction $10 to-replica $4 peer $13 10.0.0.7:6379 $4 kind $4 full $6 reason $14 out-of-backlog $5 state $6 failed $6 offset :9 \
                    $5 bytes :77 $7 resumed :0 $7 took-ms :0 $5 error $3 cut";
        assert!(all.starts_with("*2 *22 $6 number :2 ") && all.ends_with(full), "{all}");
        assert!(b.say("replication history count 1").starts_with("*1 *22 $6 number :2 "));
        assert_eq!(b.say("replication history count -1"), "-ERR COUNT must not be negative");
        assert_eq!(b.say("replication history 1"), "-ERR syntax error");
    }

    #[test]
    fn the_status_of_a_lone_master_and_of_a_slave() {
        let mut b = Bench::new();
        assert!(b.say("replication status").ends_with("$6 offset :0 $6 slaves *0"));
        b.say("replicaof 10.0.0.9 7000");
        let status = b.say("replication status");
        let wanted = "$6 master *8 $7 address $13 10.0.0.9:7000 $5 state $10 connecting $7 down-ms :0 $15 sync-read-bytes :0 $6 slaves *0";
        assert!(status.starts_with("*10 $4 role $5 slave ") && status.ends_with(wanted), "{status}");
    }
}
