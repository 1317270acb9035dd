//! REPLICAOF, SLAVEOF, REPLCONF, PSYNC, SYNC: the words of both ends of a link. They change the role, the slave's entry and the history's name on the
//! node's thread, so that they work inside EXEC; connecting, snapshots and sessions are left to the actors by `Request`s.

use std::net::IpAddr;

use slog::{info, warn};

use super::role_info::{self, role};
use super::{Acl, Client, ClientFlags, CmdResult, CommandError, Ctx, Flags, NodeState, Request, Slot, Spec};
use crate::env::Mistake;
use crate::replication::{
    Direction, LinkDownCause, LinkState, MasterLink, NodeEvent, PsyncDecision, PsyncRefusal, ReplId, ReplOffset, Replica, ReplicaState, Role,
    StreamPos, SyncId, SyncNumber, SyncReason,
};
use crate::resp::encode_command;
use crate::types::number::parse_i64;

/// A longer `ip-address` is refused, as by Redis.
const ANNOUNCED_IP_BYTES_MAX: usize = 255;

fn replicaof(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.node.failover.is_some() {
        return Err("ERR REPLICAOF not allowed while failing over.".into());
    }
    let (host, port) = (ctx.args.at(1), ctx.args.at(2));
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        if matches!(ctx.node.role, Role::Replica(_)) {
            promote(ctx.node);
            info!(ctx.node.log, "MASTER MODE enabled"; "addr" => %ctx.client().addr, "user" => &ctx.client().user);
        }
        ctx.out.ok();
        return Ok(());
    }
    if ctx.client().is(ClientFlags::REPLICA) {
        return Err("ERR Command is not valid when client is a replica.".into());
    }
    let port = parse_i64(port).and_then(|port| u16::try_from(port).ok()).ok_or(CommandError::text("ERR Invalid master port"))?;
    let host = std::str::from_utf8(host).ok().filter(|host| !host.chars().any(|c| c.is_control() || c.is_whitespace()));
    let host = host.ok_or(CommandError::text("ERR Invalid master host"))?;
    if let Role::Replica(link) = &ctx.node.role
        && link.host.eq_ignore_ascii_case(host)
        && link.port == port
    {
        if link.refused.is_some() {
            accept_refused(ctx.node);
        }
        ctx.out.simple("OK Already connected to specified master");
        return Ok(());
    }
    if is_own_address(ctx.node, ctx.client().laddr.ip(), host, port) {
        return Err("ERR REPLICAOF refused: that is the address of this server itself".into());
    }
    follow(ctx.node, host, port);
    info!(ctx.node.log, "REPLICAOF {host}:{port} enabled"; "addr" => %ctx.client().addr, "user" => &ctx.client().user);
    ctx.out.ok();
    Ok(())
}

/// Whether this node listens there. Redis accepts itself as master and then waits for itself for ever. Names other than `localhost` are not
/// resolved here.
fn is_own_address(node: &NodeState, reached_at: Option<IpAddr>, host: &str, port: u16) -> bool {
    if port != node.tcp_port {
        return false;
    }
    let bound = |ip: IpAddr| {
        node.config.bind.iter().any(|bind| {
            let bind = bind.trim_start_matches('-');
            bind == "*" || bind == "::*" || bind.parse::<IpAddr>().is_ok_and(|bound| bound == ip || bound.is_unspecified())
        })
    };
    let loopback = IpAddr::from([127, 0, 0, 1]);
    let ip = if host.eq_ignore_ascii_case("localhost") { Some(loopback) } else { host.parse::<IpAddr>().ok() };
    ip.is_some_and(|ip| {
        ip.is_unspecified() || (bound(ip) && (ip.is_loopback() || Some(ip) == reached_at || node.config.bind.contains(&host.to_owned())))
    })
}

/// Takes the master's data after all, at once. False: none was refused.
pub(super) fn accept_refused(node: &mut NodeState) -> bool {
    let Role::Replica(link) = &mut node.role else { return false };
    let Some(refused) = link.refused.take() else { return false };
    link.consent = true;
    info!(node.log, "The master's data is accepted"; "refused_before" => refused);
    node.requests.push(Request::Follow);
    true
}

/// Ends the link to the present master at this very command: what else of its stream has been read is not applied any more.
fn cut_link(node: &mut NodeState) {
    node.sync_from_master_failed("this node follows another master now, or none");
    for (_, client) in node.clients.iter_mut() {
        if client.is(ClientFlags::MASTER) {
            client.flags |= ClientFlags::CLOSE_ASAP;
        }
    }
}

/// Becomes a slave, or the slave of another master, whom it asks to continue the history it has.
pub(super) fn follow(node: &mut NodeState, host: &str, port: u16) {
    let mut link = MasterLink::new(host.to_owned(), port, node.steady_ms);
    link.consent = true;
    // As Redis names it even before the attempt begins, for a ROLE in the same EXEC.
    link.state = LinkState::Connecting;
    // What a master has written itself may be what the new master has got from it, as a slave of the same history. Numbers begin with the
    // first slave: before it there is nothing to ask for.
    let own = node.stream.is_active().then(|| (node.stream.replid, node.stream.offset()));
    match &node.role {
        Role::Master => {
            link.cached = own;
            link.stream_db = node.stream.selected();
            link.down_since_ms = None;
        }
        Role::Replica(before) => {
            link.history_broken = before.history_broken;
            link.cached = if before.is_up() && !before.history_broken { own } else { before.cached };
            link.stream_db = match node.clients.iter().find(|(_, client)| client.is(ClientFlags::MASTER)) {
                Some((_, master)) => Some(master.db),
                None => before.stream_db,
            };
            link.down_since_ms = if before.is_up() { Some(node.steady_ms) } else { before.down_since_ms };
            link.disconnected_ms = before.disconnected_ms;
        }
    }
    cut_link(node);
    node.unblock_all_on_role_change();
    node.role = Role::Replica(Box::new(link));
    node.syncs.events.emit(|| NodeEvent::Follows { host: host.to_owned(), port });
    node.requests.push(Request::Follow);
}

/// Becomes a master that goes on with the history it has, under a new name. Slaves come back by PSYNC and so learn the name.
pub(super) fn promote(node: &mut NodeState) {
    let Role::Replica(link) = &node.role else { return };
    let new_id = ReplId::random(&*node.env.random);
    if link.history_broken {
        // Half a transaction is in the data: whoever follows the history before is not at the same place.
        node.stream.adopt(new_id, node.stream.offset());
    } else if !node.env.planted(Mistake::ReplidKept) {
        node.stream.shift_id(new_id);
    }
    if !node.env.planted(Mistake::OldMasterHeard) {
        cut_link(node);
        node.requests.push(Request::StopFollowing);
    }
    node.role = Role::Master;
    node.syncs.events.emit(|| NodeEvent::Promoted { replid: node.stream.replid.to_string() });
    // These and no others: who asks this node to take over is about to become its slave.
    node.requests.extend(node.clients.replicas().map(|(slot, ..)| Request::Close(slot)));
}

/// What is known of the client as a slave, which may be nothing yet.
fn told<'a>(ctx: &'a mut Ctx<'_>) -> &'a mut Replica {
    ctx.client_mut().replica.get_or_insert_default()
}

fn replconf(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.args.get(1).is_some_and(|option| option.eq_ignore_ascii_case(b"resume-sync")) {
        return resume_sync(ctx);
    }
    // The name and pairs of option and value.
    if ctx.args.len().is_multiple_of(2) {
        return Err(CommandError::SYNTAX);
    }
    let mut reply = "OK";
    for at in (1..ctx.args.len()).step_by(2) {
        let (option, value) = (ctx.args.at(at), ctx.args.at(at + 1));
        match option.to_ascii_lowercase().as_slice() {
            b"listening-port" => {
                let port = parse_i64(value).ok_or(CommandError::NOT_INTEGER)?;
                told(ctx).listening_port = u16::try_from(port).map_err(|_| CommandError::text("ERR Invalid listening port"))?;
            }
            b"ip-address" => {
                if value.len() > ANNOUNCED_IP_BYTES_MAX {
                    return Err(format!("ERR REPLCONF ip-address provided by replica instance is too long: {} bytes", value.len()).into());
                }
                let ip = printable(value).ok_or(CommandError::text("ERR Invalid ip-address"))?;
                told(ctx).announced_ip = (!ip.is_empty()).then_some(ip);
            }
            // Capabilities that are not known are none of our business.
            b"capa" => match value.to_ascii_lowercase().as_slice() {
                b"eof" => told(ctx).capa_eof = true,
                b"psync2" => told(ctx).capa_psync2 = true,
                b"verify" => {
                    told(ctx).capa_verify = true;
                    reply = "OK verify";
                }
                // Chunks have checksums of their own.
                b"chunks" => told(ctx).capa_chunks = !ctx.node.env.planted(Mistake::SnapshotUnverified),
                _ => {}
            },
            // Redis refuses it, Valkey's slaves say it and live with either answer.
            b"version" => told(ctx).version = Some(printable(value).ok_or(CommandError::SYNTAX)?),
            b"ack" => {
                acknowledge(ctx, value);
                return Ok(());
            }
            b"getack" => {
                answer_getack(ctx);
                return Ok(());
            }
            b"replikant-verify" if ctx.client().is(ClientFlags::REPLICA) => {
                super::verify::reported(ctx.node, ctx.slot, value);
                return Ok(());
            }
            _ => return Err(format!("ERR Unrecognized REPLCONF option: {}", String::from_utf8_lossy(&option[..option.len().min(128)])).into()),
        }
    }
    ctx.out.simple(reply);
    Ok(())
}

/// `REPLCONF resume-sync <sync id> <chunk>`: the snapshot that a former link broke off, and the first chunk that has not come.
fn resume_sync(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.args.len() != 4 {
        return Err(CommandError::SYNTAX);
    }
    let chunk = parse_i64(ctx.args.at(3)).and_then(|chunk| u64::try_from(chunk).ok()).ok_or(CommandError::NOT_INTEGER)?;
    let id = SyncId::parse(ctx.args.at(2)).ok_or(CommandError::SYNTAX)?;
    told(ctx).resume = Some((id, chunk));
    ctx.out.ok();
    Ok(())
}

/// A peer's text that INFO will show in a line; nothing that would break the line.
fn printable(text: &[u8]) -> Option<String> {
    let fits = text.len() <= ANNOUNCED_IP_BYTES_MAX && text.iter().all(|byte| byte.is_ascii_graphic() && *byte != b',');
    fits.then(|| String::from_utf8_lossy(text).into_owned())
}

/// `REPLCONF ACK <offset> [FACK <offset>]` never gets a reply. FACK tells of the slave's append-only file.
fn acknowledge(ctx: &mut Ctx<'_>, offset: &[u8]) {
    let (now_ms, slot) = (ctx.node.steady_ms, ctx.slot);
    let in_aof = ctx.args.get(3).filter(|option| option.eq_ignore_ascii_case(b"fack")).and_then(|_| parse_i64(ctx.args.get(4)?));
    let client = ctx.client_mut();
    if !client.is(ClientFlags::REPLICA) {
        return;
    }
    let (Some(offset), Some(replica)) = (parse_i64(offset).and_then(|n| u64::try_from(n).ok()), client.replica.as_deref_mut()) else { return };
    replica.ack_offset = replica.ack_offset.max(ReplOffset(offset));
    if let Some(in_aof) = in_aof.and_then(|n| u64::try_from(n).ok()) {
        replica.aof_ack_offset = replica.aof_ack_offset.max(ReplOffset(in_aof));
    }
    (replica.ack_ms, replica.has_acked) = (now_ms, true);
    if replica.state == ReplicaState::WaitAck {
        // It has loaded the snapshot: now the stream may follow.
        replica.state = ReplicaState::Online;
    }
    ctx.node.blocked.note_ack();
    ctx.node.requests.push(Request::ReplicaAcked(slot));
}

/// `REPLCONF GETACK *` in the master's stream. Its own bytes are not applied yet, so the answer leaves them out, as Redis's does.
fn answer_getack(ctx: &mut Ctx<'_>) {
    if !ctx.client().is(ClientFlags::MASTER) {
        return;
    }
    let (slot, offset) = (ctx.slot, ctx.node.stream.offset().to_string());
    // Replies to a master are thrown away; this is the one thing it is told.
    encode_command(&mut ctx.client_mut().out, &[b"REPLCONF", b"ACK", offset.as_bytes()]);
    ctx.node.written.push(slot);
}

/// What PSYNC and SYNC check first. False: there is nothing to do.
fn may_sync(ctx: &mut Ctx<'_>) -> Result<bool, CommandError> {
    if ctx.client().is(ClientFlags::REPLICA) {
        return Ok(false);
    }
    match &ctx.node.role {
        _ if ctx.node.failover.is_some() => Err("NOMASTERLINK Can't SYNC while failing over".into()),
        Role::Replica(link) if !link.is_up() => Err("NOMASTERLINK Can't SYNC while not connected with my master".into()),
        _ => {
            let told = told(ctx).clone();
            let dialect = ctx.node.dialect_of(&told);
            if !ctx.node.would_lose(dialect) {
                return Ok(true);
            }
            warn!(ctx.node.log, "A replica is refused: its dialect can't hold all there is"; "replica" => %ctx.client().addr, "reason" => "dialect-loss");
            // With this code a stock slave asks again later; another error would make it ask by SYNC.
            Err("NOMASTERLINK Can't SYNC: the dialect of this replica can't hold all there is (dialect-loss)".into())
        }
    }
}

fn psync(ctx: &mut Ctx<'_>) -> CmdResult {
    if !ctx.client().is(ClientFlags::REPLICA)
        && let Some(option) = ctx.args.get(3)
        && option.eq_ignore_ascii_case(b"failover")
    {
        take_over(ctx)?;
    }
    if !may_sync(ctx)? {
        return Ok(());
    }
    let replid = ctx.args.at(1).to_ascii_lowercase();
    let wanted = parse_i64(ctx.args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    // No byte has a number below 1; the decision then says why.
    let wanted = StreamPos(u64::try_from(wanted).unwrap_or(0));
    let decision = match ReplId::parse(&replid) {
        None if replid != b"?" => PsyncDecision::Full(PsyncRefusal::OtherHistory),
        replid => ctx.node.stream.decide(replid, wanted),
    };
    match decision {
        PsyncDecision::Continue(sent) if ctx.node.env.planted(Mistake::BacklogOffByOne) => continue_sync(ctx, ReplOffset(sent.0 + 1)),
        PsyncDecision::Continue(sent) => continue_sync(ctx, sent),
        PsyncDecision::Full(PsyncRefusal::BeyondSwitch) if ctx.node.env.planted(Mistake::SwitchIgnored) => {
            let sent = wanted.before().min(ctx.node.stream.offset());
            continue_sync(ctx, sent);
        }
        PsyncDecision::Full(refusal) => {
            let is_ours = ReplId::parse(&replid).is_some_and(|replid| replid == ctx.node.stream.replid);
            told(ctx).has = is_ours.then(|| wanted.before());
            full_sync(ctx, Some(refusal));
        }
    }
    Ok(())
}

fn sync(ctx: &mut Ctx<'_>) -> CmdResult {
    if may_sync(ctx)? {
        told(ctx).plain_sync = true;
        full_sync(ctx, None);
    }
    Ok(())
}

/// `PSYNC <replid> <offset> FAILOVER`: the master of a coordinated failover hands its place over to this slave.
fn take_over(ctx: &mut Ctx<'_>) -> CmdResult {
    if matches!(ctx.node.role, Role::Master) {
        return Err("ERR PSYNC FAILOVER can't be sent to a master.".into());
    }
    if !ctx.args.at(1).eq_ignore_ascii_case(ctx.node.stream.replid.as_str().as_bytes()) {
        return Err("ERR PSYNC FAILOVER replid must match my replid.".into());
    }
    promote(ctx.node);
    warn!(ctx.node.log, "MASTER MODE enabled by a failover request"; "addr" => %ctx.client().addr);
    Ok(())
}

fn continue_sync(ctx: &mut Ctx<'_>, sent: ReplOffset) {
    let replid = ctx.node.stream.replid;
    become_replica(ctx, ReplicaState::Online).sent = sent;
    let lacking = ctx.node.stream.offset().0 - sent.0;
    let (at, number) = (ctx.node.moment(), begin_sync(ctx, SyncReason::Continued, sent));
    ctx.node.syncs.done(number, at, lacking);
    ctx.node.stream.hold_also(sent);
    let named = told(ctx).capa_psync2;
    ctx.out.simple(&if named { format!("CONTINUE {replid}") } else { "CONTINUE".to_owned() });
    ctx.node.stats.sync_partial_ok += 1;
    ctx.node.requests.push(Request::ContinueSync(ctx.slot));
    info!(ctx.node.log, "Partial resynchronization request accepted"; "replica" => %ctx.client().addr, "after" => sent.0,
        "bytes" => lacking);
}

/// FULLRESYNC is said when the snapshot begins, since it tells the place where it was taken.
fn full_sync(ctx: &mut Ctx<'_>, refusal: Option<PsyncRefusal>) {
    become_replica(ctx, ReplicaState::WaitSnapshot);
    if !ctx.node.stream.is_active() {
        // What was written before the first slave has no numbers, so the history begins here under a name of its own.
        let new_id = ReplId::random(&*ctx.node.env.random);
        ctx.node.stream.activate(Some(new_id));
    }
    ctx.node.stats.sync_full += 1;
    if refusal.is_some_and(|refusal| refusal != PsyncRefusal::FirstSync) {
        ctx.node.stats.sync_partial_err += 1;
    }
    ctx.node.requests.push(Request::FullSync(ctx.slot));
    let reason = refusal.map_or(SyncReason::PlainSync, SyncReason::Psync);
    let number = begin_sync(ctx, reason, ctx.node.stream.offset());
    told(ctx).sync = Some(number);
    let address = ctx.node.clients.get(ctx.slot).and_then(|client| Some(role_info::replica_address(client, client.replica.as_ref()?)));
    let asked = || (1..ctx.args.len()).map(|n| ctx.args.at(n).escape_ascii().to_string()).collect::<Vec<_>>().join(":");
    let stream = &ctx.node.stream;
    info!(ctx.node.log, "Full resync requested by replica"; "replica" => address.unwrap_or_default(), "reason" => reason.code(),
        "asked" => asked(), "have" => format!("{}:{}..{}", stream.replid, stream.kept_from().0, stream.offset().0));
}

/// Notes the sync of this client; its address is known by now.
fn begin_sync(ctx: &mut Ctx<'_>, reason: SyncReason, offset: ReplOffset) -> SyncNumber {
    let peer = ctx.node.clients.get(ctx.slot).and_then(|client| Some(role_info::replica_address(client, client.replica.as_ref()?)));
    let at = ctx.node.moment();
    ctx.node.syncs.begin(at, Direction::ToReplica, peer.unwrap_or_default(), reason, offset)
}

fn become_replica<'a>(ctx: &'a mut Ctx<'_>, state: ReplicaState) -> &'a mut Replica {
    let now_ms = ctx.node.steady_ms;
    let replica = ctx.node.clients.make_replica(ctx.slot).replica.get_or_insert_default();
    replica.state = state;
    replica.ack_ms = now_ms;
    replica.progress_ms = now_ms;
    replica.catching_up = true;
    replica
}

impl NodeState {
    /// A client that was a slave has been removed.
    pub fn slave_is_gone(&self, client: &Client) {
        let Some(replica) = client.replica.as_deref() else { return };
        self.syncs.events.emit(|| NodeEvent::SlaveGone { slave: role_info::replica_address(client, replica) });
    }

    /// The stream of the master is followed from here on.
    pub fn link_is_up(&self) {
        let Role::Replica(link) = &self.role else { return };
        self.syncs.events.emit(|| NodeEvent::LinkUp { master: link.address(), offset: self.stream.offset() });
    }

    /// The link to the master has ended, or an attempt has failed. To be called before the link is set down.
    pub fn link_is_down(&self, cause: LinkDownCause, why: &str) {
        let Role::Replica(link) = &self.role else { return };
        self.syncs.events.emit(|| NodeEvent::LinkDown { master: link.address(), was_up: link.is_up(), cause, why: why.to_owned() });
    }

    /// A slave has asked for something that has a reply. Between the bytes of a snapshot or of the stream the reply would harm, so the link
    /// ends, as in Redis.
    #[cold]
    pub(super) fn replica_wants_reply(&mut self, slot: Slot) {
        let client = self.clients.at_mut(slot);
        client.flags |= ClientFlags::CLOSE_ASAP;
        let command = client.last_command.map_or("", |spec| spec.name);
        warn!(self.log, "Replica generated a reply to a command, disconnecting it"; "replica" => %client.addr, "last_command" => command);
        self.requests.push(Request::Close(slot));
    }
}

const ROLE_CHANGE: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::STALE).union(Flags::NO_ASYNC_LOADING);
const SYNCS: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_ASYNC_LOADING).union(Flags::NO_MULTI);
const REPLCONFS: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE).union(Flags::ALLOW_BUSY);
const ROLES: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::FAST);

pub(super) const ROWS: &[Spec] = &[
    Spec::new("psync", -3, SYNCS, psync).docs("server", "2.8.0", "", "An internal command used in replication."),
    Spec::new("replconf", -1, REPLCONFS, replconf).docs("server", "3.0.0", "O(1)", "An internal command for configuring the replication stream."),
    Spec::new("replicaof", 3, ROLE_CHANGE, replicaof).docs(
        "server",
        "5.0.0",
        "O(1)",
        "Configures a server as replica of another, or promotes it to a master.",
    ),
    Spec::new("role", 1, ROLES, role).acl(Acl::ADMIN.union(Acl::DANGEROUS)).docs("server", "2.8.12", "O(1)", "Returns the replication role."),
    Spec::new("slaveof", 3, ROLE_CHANGE, replicaof).docs(
        "server",
        "1.0.0",
        "O(1)",
        "Sets a Redis server as a replica of another, or promotes it to being a master.",
    ),
    Spec::new("sync", 1, SYNCS, sync).docs("server", "1.0.0", "", "An internal command used in replication."),
];

#[cfg(test)]
#[path = "replication_tests.rs"]
mod tests;
