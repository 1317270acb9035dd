//! REPLICATION VERIFY and REPAIR: whether slaves have what this master has, slot by slot, at one place of the stream; and saying anew what they lack. The
//! commands order it and tell the result; `actor/verifier.rs` does it.

use super::blocked::Wait;
use super::key_waits::timeout_ms;
use super::mend_copy::Copying;
use super::verify_link::Relay;
use super::{CmdResult, CommandError, Ctx, NodeState, Request};
use crate::keyspace::DbIndex;
use crate::replication::verify::{Compared, Verdict};
use crate::replication::{ReplOffset, ReplicaState, Role};
use crate::resp::Reply;
use crate::types::number::parse_i64;

pub(super) use super::verify_link::{marked, reported};

/// Keys that are named one by one in a reply.
const NAMES_SHOWN: usize = 100;

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyOrder {
    pub repair: bool,
    /// The slave at this address alone.
    pub only: Option<String>,
    pub db: Option<DbIndex>,
}

/// What is being done.
#[derive(Clone, Debug)]
pub struct VerifyProgress {
    pub order: VerifyOrder,
    pub started_ms: i64,
    /// `comparing`, or `repairing`.
    pub phase: &'static str,
    pub rounds: u64,
    pub mended: u64,
}

/// What has been done last.
#[derive(Clone, Debug, Default)]
pub struct VerifyResult {
    pub order: VerifyOrder,
    /// Why it did not come to its end.
    pub error: Option<String>,
    /// Where the last cut was.
    pub offset: ReplOffset,
    /// Keys at that cut.
    pub keys: u64,
    pub took_ms: i64,
    pub rounds: u64,
    pub replicas: Vec<Compared>,
    /// How they stood before the repair.
    pub before: Vec<Compared>,
    /// Things said anew.
    pub mended: u64,
    /// Keys that could not be repaired.
    pub left: Vec<(DbIndex, Vec<u8>)>,
}

/// All that the node's thread knows of verifications.
#[derive(Default)]
pub struct Verification {
    pub running: Option<VerifyProgress>,
    pub(super) last: Option<VerifyResult>,
    /// When that was, in Unix seconds.
    ended_unix: i64,
    /// What slaves have sent, by their clients' numbers, until the Verifier reads it.
    pub(crate) inbox: Vec<(u64, Vec<u8>)>,
    /// Bytes that slaves have sent in this round.
    pub(super) told_bytes: usize,
    pub(super) relay: Relay,
    /// What is being said in pieces.
    pub(super) copying: Option<Copying>,
}

impl Verification {
    /// What has been told belongs to the round before.
    pub(crate) fn round_begins(&mut self) {
        self.inbox.clear();
        self.told_bytes = 0;
    }
}

impl VerifyResult {
    fn state(&self) -> &'static str {
        let any = |is: fn(&Verdict) -> bool| self.replicas.iter().any(|one| is(&one.verdict));
        match self.error {
            Some(_) => "failed",
            None if any(|verdict| matches!(verdict, Verdict::Differs { .. })) => "differs",
            None if any(|verdict| matches!(verdict, Verdict::Failed(_) | Verdict::Unable(_))) => "incomplete",
            None => "equal",
        }
    }
}

/// `REPLICATION VERIFY STATUS | STOP | [<ip> <port> | ALL] [DB <n>] [TIMEOUT <ms>] [NOWAIT]`
pub(super) fn verify(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.args.len() == 3 && ctx.args.at(2).eq_ignore_ascii_case(b"status") {
        status(ctx);
        return Ok(());
    }
    if ctx.args.len() == 3 && ctx.args.at(2).eq_ignore_ascii_case(b"stop") {
        if ctx.node.verification.running.is_none() {
            return Err("ERR no verification is running".into());
        }
        ctx.node.requests.push(Request::StopVerifying("stopped by REPLICATION VERIFY STOP".to_owned()));
        ctx.out.ok();
        return Ok(());
    }
    start(ctx, false)
}

/// `REPLICATION REPAIR [<ip> <port> | ALL] [DB <n>] [TIMEOUT <ms>] [NOWAIT]`
pub(super) fn repair(ctx: &mut Ctx<'_>) -> CmdResult {
    start(ctx, true)
}

/// The order, until when its client waits, and whether it waits at all.
fn parse(ctx: &Ctx<'_>, repair: bool) -> Result<(VerifyOrder, Option<i64>, bool), CommandError> {
    let mut order = VerifyOrder { repair, ..VerifyOrder::default() };
    let (mut deadline_ms, mut waits, mut at) = (None, true, 2);
    while at < ctx.args.len() {
        let (word, value) = (ctx.args.at(at), ctx.args.get(at + 1));
        at += 2;
        match (word.to_ascii_lowercase().as_slice(), value) {
            (b"all", _) if at == 4 => at -= 1,
            (b"nowait", _) => {
                waits = false;
                at -= 1;
            }
            (b"db", Some(number)) => {
                let number = parse_i64(number).and_then(|number| u32::try_from(number).ok());
                let known = number.filter(|number| *number < ctx.node.keyspace.databases());
                order.db = Some(DbIndex(known.ok_or(CommandError::text("ERR DB index is out of range"))?));
            }
            (b"timeout", Some(_)) => deadline_ms = timeout_ms(ctx, at - 1)?,
            (_, Some(port)) if at == 4 => {
                let port = parse_i64(port).and_then(|port| u16::try_from(port).ok()).ok_or(CommandError::SYNTAX)?;
                order.only = Some(format!("{}:{port}", String::from_utf8_lossy(word)));
            }
            _ => return Err(CommandError::SYNTAX),
        }
    }
    Ok((order, deadline_ms, waits))
}

fn start(ctx: &mut Ctx<'_>, repair: bool) -> CmdResult {
    let (order, deadline_ms, waits) = parse(ctx, repair)?;
    let node = &mut *ctx.node;
    if !matches!(node.role, Role::Master) {
        return Err("ERR a verification starts at the master, whose stream all slaves follow".into());
    }
    if node.verification.running.is_some() {
        return Err("ERR a verification is running already: REPLICATION VERIFY STATUS shows it".into());
    }
    if !node.clients.replicas().any(|(_, _, replica)| replica.state == ReplicaState::Online) {
        return Err("ERR no slave is online".into());
    }
    if node.data_is_frozen() {
        return Err("ERR clients are paused: nothing may enter the stream".into());
    }
    let started_ms = node.steady_ms;
    node.verification.running = Some(VerifyProgress { order, started_ms, phase: "comparing", rounds: 0, mended: 0 });
    node.requests.push(Request::Verify);
    // Inside EXEC nobody can wait.
    if waits && node.effects.depth <= 1 {
        node.suspend(ctx.slot, Wait::Verified, deadline_ms);
    } else {
        ctx.out.simple("OK started");
    }
    Ok(())
}

fn status(ctx: &mut Ctx<'_>) {
    let (node, out) = (&*ctx.node, &mut *ctx.out);
    match (&node.verification.running, &node.verification.last) {
        (Some(running), _) => {
            out.map(6);
            text(out, "state", "running");
            text(out, "command", command_of(&running.order));
            text(out, "phase", running.phase);
            number(out, "took-ms", node.steady_ms - running.started_ms);
            number(out, "rounds", running.rounds as i64);
            number(out, "repaired", running.mended as i64);
        }
        (None, Some(last)) => write_result(out, last),
        (None, None) => {
            out.map(1);
            text(out, "state", "none");
        }
    }
}

fn text(out: &mut Reply, name: &str, value: &str) {
    out.bulk(name.as_bytes());
    out.bulk(value.as_bytes());
}

fn number(out: &mut Reply, name: &str, value: i64) {
    out.bulk(name.as_bytes());
    out.int(value);
}

fn command_of(order: &VerifyOrder) -> &'static str {
    if order.repair { "repair" } else { "verify" }
}

fn write_result(out: &mut Reply, result: &VerifyResult) {
    let is_repair = result.order.repair;
    out.map(7 + usize::from(result.error.is_some()) + if is_repair { 3 } else { 0 });
    text(out, "state", result.state());
    text(out, "command", command_of(&result.order));
    if let Some(error) = &result.error {
        text(out, "error", error);
    }
    number(out, "offset", result.offset.0 as i64);
    number(out, "keys", result.keys as i64);
    number(out, "rounds", result.rounds as i64);
    number(out, "took-ms", result.took_ms);
    out.bulk(b"slaves");
    write_replicas(out, &result.replicas);
    if is_repair {
        number(out, "repaired", result.mended as i64);
        out.bulk(b"before");
        write_replicas(out, &result.before);
        out.bulk(b"left");
        let shown = result.left.len().min(NAMES_SHOWN);
        out.array(shown);
        for (DbIndex(db), key) in &result.left[..shown] {
            out.array(2);
            out.int((*db).into());
            out.bulk(key);
        }
    }
}

impl Verification {
    /// The last result in INFO's form; `None` before the first.
    pub(super) fn summary(&self) -> Option<String> {
        let result = self.last.as_ref()?;
        let (command, state, slaves) = (command_of(&result.order), result.state(), result.replicas.len());
        let equal = result.replicas.iter().filter(|one| one.verdict == Verdict::Equal).count();
        let VerifyResult { offset, keys, rounds, mended, took_ms, .. } = result;
        Some(format!(
            "command={command},state={state},slaves={slaves},equal={equal},offset={offset},keys={keys},rounds={rounds},repaired={mended},ms={took_ms},ended={}",
            self.ended_unix
        ))
    }
}

fn write_replicas(out: &mut Reply, replicas: &[Compared]) {
    out.array(replicas.len());
    for Compared { address, via, verdict } in replicas {
        let more = match verdict {
            Verdict::Equal => 0,
            Verdict::Differs { .. } => 2,
            Verdict::Unable(_) | Verdict::Failed(_) => 1,
        };
        out.map(2 + usize::from(via.is_some()) + more);
        text(out, "address", address);
        if let Some(via) = via {
            text(out, "via", via);
        }
        match verdict {
            Verdict::Equal => text(out, "state", "equal"),
            Verdict::Unable(why) => {
                text(out, "state", "unable");
                text(out, "error", why);
            }
            Verdict::Failed(why) => {
                text(out, "state", "failed");
                text(out, "error", why);
            }
            Verdict::Differs { slots, databases } => {
                text(out, "state", "differs");
                number(out, "slots", *slots as i64);
                out.bulk(b"databases");
                write_databases(out, databases);
            }
        }
    }
}

fn write_databases(out: &mut Reply, databases: &[(u32, Vec<String>)]) {
    out.array(databases.len());
    for (db, ranges) in databases {
        out.map(2);
        number(out, "db", (*db).into());
        out.bulk(b"slots");
        out.array(ranges.len());
        ranges.iter().for_each(|range| out.bulk(range.as_bytes()));
    }
}

impl NodeState {
    /// The verification is over: whoever waits for it gets the result, which is kept.
    pub(crate) fn verification_ended(&mut self, result: VerifyResult) {
        for slot in self.blocked.waiting_for(Wait::Verified) {
            self.resume(slot, |out| write_result(out, &result));
        }
        self.end_copy();
        self.verification.running = None;
        self.verification.inbox.clear();
        self.verification.last = Some(result);
        self.verification.ended_unix = self.now_ms / 1000;
    }
}
