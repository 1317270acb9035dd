//! One request from its arguments to its reply and effects: the checks before a command, the call, what goes into the stream after it.

use super::blocked::Wait;
use super::context::Ctx;
use super::error::cited;
use super::{Client, ClientFlags, CmdResult, CommandError, Flags, NodeState, Propagate, ReplyMode, Room, Slot, Spec};
use crate::replication::Role;
use crate::resp::{Args, Proto, Reply, encode_command};

/// How a request went. Clients have their reply either way; a link whose stream has failed must stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executed {
    Done,
    Failed(CommandError),
    /// Clients are paused: nothing has happened, and the request is to come again.
    Postponed,
}

/// Executes one request: `row` is the command's number in the node's table, if its name is known; `first_key_hash` the hash of its
/// first key, if the caller has it already.
pub fn execute(node: &mut NodeState, slot: Slot, args: Args<'_>, row: Option<usize>, first_key_hash: Option<u64>, out: &mut Reply) -> Executed {
    let executed = answered(node, slot, args, row, first_key_hash, out);
    if node.blocked.keys.has_ready() {
        node.serve_ready_keys();
    }
    executed
}

fn answered(node: &mut NodeState, slot: Slot, args: Args<'_>, row: Option<usize>, first_key_hash: Option<u64>, out: &mut Reply) -> Executed {
    let reply_from = out.buf.len();
    let result = checked(node, slot, args, row, first_key_hash, out);
    match &result {
        Ok(Executed::Postponed) => return Executed::Postponed,
        Ok(_) => {}
        Err(error) => out.error(&error.0),
    }
    let Some(client) = node.clients.get_mut(slot) else { return Executed::Done };
    client.commands += 1;
    if client.is(ClientFlags::REPLICA) && out.buf.len() > reply_from && client.last_command.is_none_or(|spec| spec.name != "psync") {
        out.buf.truncate(reply_from);
        node.replica_wants_reply(slot);
        return Executed::Done;
    }
    match client.reply_mode {
        ReplyMode::On => {}
        ReplyMode::Off => out.buf.truncate(reply_from),
        // CLIENT REPLY SKIP itself says nothing, nor does the command after it.
        ReplyMode::SkipNext => {
            out.buf.truncate(reply_from);
            client.reply_mode = ReplyMode::SkipThis;
        }
        // Its reply comes later, and is skipped then.
        ReplyMode::SkipThis if client.is(ClientFlags::BLOCKED) => {}
        ReplyMode::SkipThis => {
            out.buf.truncate(reply_from);
            client.reply_mode = ReplyMode::On;
        }
    }
    match result {
        Ok(executed) => executed,
        Err(error) => Executed::Failed(error),
    }
}

fn checked(
    node: &mut NodeState,
    slot: Slot,
    args: Args<'_>,
    row: Option<usize>,
    first_key_hash: Option<u64>,
    out: &mut Reply,
) -> Result<Executed, CommandError> {
    let (row, spec) = match resolve(node, args, row) {
        Ok(found) => found,
        Err(error) => {
            node.refuse(slot, None, &error);
            return Err(error);
        }
    };
    let parent = node.commands.rows[row];
    // What a script says of itself takes the place of what its command is.
    let flags = if spec.runs_scripts() && spec.arity_fits(args.len()) { node.script_flags(spec, args) } else { spec.flags };
    let out_of_memory = node.clients.at(slot).is(ClientFlags::AUTHENTICATED) && node.is_out_of_memory();
    let admitted = match spec.arity_fits(args.len()) {
        true => admit(node, slot, parent, spec, flags, out_of_memory),
        false => Err(CommandError::arity(&full_name(parent, spec))),
    };
    if let Err(error) = admitted {
        node.refuse(slot, Some((row, spec)), &error);
        return Err(if spec.name == "exec" { aborted(node, slot, error) } else { error });
    }
    if node.blocked.is_paused() && node.postpone(slot, spec, flags) {
        return Ok(Executed::Postponed);
    }
    let client = node.clients.at_mut(slot);
    if client.is(ClientFlags::MULTI) && !super::transaction::runs_inside_multi(spec) {
        client.queued.push(spec, row, args);
        out.simple("QUEUED");
        return Ok(Executed::Done);
    }
    call(node, slot, row, spec, args, first_key_hash, out).map(|()| Executed::Done)
}

/// An EXEC that is refused itself ends its transaction all the same.
fn aborted(node: &mut NodeState, slot: Slot, error: CommandError) -> CommandError {
    super::transaction::discard(node, slot);
    let reason = error.0.strip_prefix("ERR ").unwrap_or(&error.0);
    format!("EXECABORT Transaction discarded because of: {reason}").into()
}

/// The row of a request, or of its subcommand.
fn resolve(node: &NodeState, args: Args<'_>, row: Option<usize>) -> Result<(usize, &'static Spec), CommandError> {
    let Some(row) = row else { return Err(unknown(args)) };
    let parent = node.commands.rows[row];
    let mut spec = parent;
    if !parent.subcommands.is_empty() && args.len() > 1 {
        let given = args.at(1);
        spec = parent
            .subcommands
            .iter()
            .find(|sub| sub.name.as_bytes().eq_ignore_ascii_case(given))
            .ok_or_else(|| CommandError::unknown_subcommand(given, parent.name))?;
    }
    Ok((row, spec))
}

/// `client|list`, or `get`.
pub fn full_name(parent: &Spec, spec: &Spec) -> String {
    if std::ptr::eq(parent, spec) { spec.name.to_owned() } else { format!("{}|{}", parent.name, spec.name) }
}

/// The commands of Redis 8's module of vector sets.
const VECTOR_SETS: [&[u8]; 12] =
    [b"vadd", b"vcard", b"vdim", b"vemb", b"vgetattr", b"vinfo", b"vismember", b"vlinks", b"vrandmember", b"vrem", b"vsetattr", b"vsim"];

fn unknown(args: Args<'_>) -> CommandError {
    let name = args.at(0).to_ascii_lowercase();
    if VECTOR_SETS.contains(&name.as_slice()) {
        return "ERR vector sets are out of scope of this server".into();
    }
    if name == b"module" {
        return "ERR modules are out of scope of this server, which cannot load what is compiled for another".into();
    }
    let mut beginning = String::new();
    for arg in args.iter().skip(1) {
        if beginning.len() >= 128 {
            break;
        }
        beginning.push_str(&format!("'{}' ", cited(arg, 128 - beginning.len())));
    }
    CommandError(format!("ERR unknown command '{}', with args beginning with: {beginning}", cited(args.at(0), 128)).into())
}

/// Whether the client may run the command now. `parent` carries the flags that its subcommands share; `flags` are the command's, or those of the script that it
/// runs.
pub(super) fn admit(node: &NodeState, slot: Slot, parent: &'static Spec, spec: &'static Spec, flags: Flags, out_of_memory: bool) -> CmdResult {
    let client = node.clients.at(slot);
    if !client.is(ClientFlags::AUTHENTICATED) && !flags.contains(Flags::NO_AUTH) {
        return Err("NOAUTH Authentication required.".into());
    }
    if client.is(ClientFlags::MASTER) {
        return Ok(());
    }
    if flags.contains(Flags::ADMIN) && parent.name == "debug" {
        super::debug::check_allowed(node, client)?;
    }
    if client.is(ClientFlags::MULTI) && (flags | parent.flags).contains(Flags::NO_MULTI) {
        return Err("ERR Command not allowed inside a transaction".into());
    }
    if client.is(ClientFlags::MONITOR) {
        super::monitor::refuse_data_commands(spec)?;
    }
    if !flags.contains(Flags::ALLOW_BUSY) {
        node.scripts.refuse_if_busy()?;
    }
    // EXEC is as good as what it will run: the node's role may have changed since that was queued.
    let runs = |test: fn(Flags) -> bool| test(flags) || spec.name == "exec" && client.queued.commands.iter().any(|(queued, ..)| test(queued.flags));
    if out_of_memory && needs_memory(client, spec, flags) {
        return Err("OOM command not allowed when used memory > 'maxmemory'.".into());
    }
    if runs(|flags| flags.contains(Flags::WRITE)) {
        admit_write(node)?;
    }
    if client.is(ClientFlags::PUBSUB) && client.proto == Proto::Resp2 && !serves_subscribers(spec) {
        let name = full_name(parent, spec);
        return Err(
            format!("ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context").into()
        );
    }
    if let Role::Replica(link) = &node.role
        && !link.is_up()
        && !node.config.replica_serve_stale_data
        && runs(|flags| !flags.contains(Flags::STALE))
    {
        return Err("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.".into());
    }
    if node.loading.as_ref().is_some_and(|loading| !loading.is_async) && runs(|flags| !flags.contains(Flags::LOADING)) {
        return Err("LOADING Redis is loading the dataset in memory".into());
    }
    Ok(())
}

/// What is refused when there is no memory: commands that take some, and queueing, which could go on for ever.
fn needs_memory(client: &Client, spec: &Spec, flags: Flags) -> bool {
    match spec.name {
        "exec" => client.queued.commands.iter().any(|(queued, ..)| queued.flags.contains(Flags::DENYOOM)),
        "discard" | "quit" | "reset" => false,
        _ => flags.contains(Flags::DENYOOM) || client.is(ClientFlags::MULTI),
    }
}

/// Whether a subscribed client may say it in RESP2, where nothing tells a reply from a message.
fn serves_subscribers(spec: &Spec) -> bool {
    spec.name.ends_with("subscribe") || matches!(spec.name, "ping" | "quit" | "reset")
}

pub(super) fn admit_write(node: &NodeState) -> CmdResult {
    if !matches!(node.role, Role::Master) {
        return match node.config.replica_read_only {
            true => Err("READONLY You can't write against a read only replica.".into()),
            false => Ok(()),
        };
    }
    if node.config.stop_writes_on_bgsave_error && !node.save.last_bgsave_ok && !node.config.save.is_empty() {
        return Err("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may modify the data set are \
                    disabled, because this instance is configured to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). \
                    Please check the Redis logs for details about the RDB error."
            .into());
    }
    let wanted = node.config.min_replicas_to_write as usize;
    if wanted > 0 && node.config.min_replicas_max_lag > 0 && node.good_replicas() < wanted {
        return Err("NOREPLICAS Not enough good replicas to write.".into());
    }
    Ok(())
}

/// Runs a handler and sees to its statistics and effects. EXEC calls it for each queued command.
pub(super) fn call(
    node: &mut NodeState,
    slot: Slot,
    row: usize,
    spec: &'static Spec,
    args: Args<'_>,
    first_key_hash: Option<u64>,
    out: &mut Reply,
) -> CmdResult {
    let client = node.clients.at_mut(slot);
    let db = client.db;
    client.last_command = Some(spec);
    let parent = node.commands.rows[row];
    if !std::ptr::eq(parent, spec) {
        client.last_command = Some(parent);
        client.last_subcommand = Some(spec);
    } else {
        client.last_subcommand = None;
    }
    let dirty = node.dirty;
    let started_ns = node.clock_ns;
    node.effects.depth += 1;
    let mut ctx = Ctx { node, slot, db, args, spec, out, first_key_hash, propagated: false };
    let result = (spec.handler)(&mut ctx);
    let propagated = ctx.propagated;
    if spec.propagate == Propagate::Verbatim && !propagated && node.dirty != dirty {
        node.add_effect(db, |bytes| {
            let all: smallvec::SmallVec<[&[u8]; 16]> = args.iter().collect();
            encode_command(bytes, &all);
        });
    }
    node.tell_monitors(slot, spec, args);
    node.effects.depth -= 1;
    if node.effects.depth == 0 && !node.effects.ends.is_empty() {
        node.flush_effects();
        let offset = node.stream.offset();
        if let Some(client) = node.clients.get_mut(slot) {
            client.last_write = offset;
        }
    }
    node.clock_ns = node.env.clock.monotonic_ns();
    if spec.flags.contains(Flags::BLOCKING) && node.blocked.wait_of(slot) == Some(Wait::Keys) {
        // It counts when it has been executed to its end.
        return result;
    }
    let elapsed_ns = node.clock_ns - started_ns;
    // What a script calls is the script's own time.
    if !node.scripts.is_running() {
        node.note_duration(slot, spec, args, elapsed_ns);
        node.note_latency(super::latency::event_of(spec), elapsed_ns);
    }
    let stats = node.commands.stats_mut(row, spec);
    stats.calls += 1;
    stats.ns += elapsed_ns;
    if node.config.latency_tracking {
        stats.latencies.record(elapsed_ns);
    }
    node.stats.commands_processed += 1;
    if let Err(error) = &result {
        stats.failed += 1;
        node.stats.count_error(&error.0);
    }
    result
}

impl NodeState {
    /// A request was refused before it ran: an open MULTI can't be executed any more.
    fn refuse(&mut self, slot: Slot, row: Option<(usize, &'static Spec)>, error: &CommandError) {
        if let Some((row, spec)) = row {
            self.commands.stats_mut(row, spec).rejected += 1;
        }
        self.stats.count_error(&error.0);
        let client = self.clients.at_mut(slot);
        if client.is(ClientFlags::MULTI) {
            client.flags |= ClientFlags::DIRTY_EXEC;
        }
    }

    /// Whether there is no memory for more, whatever is evicted.
    pub(super) fn is_out_of_memory(&mut self) -> bool {
        self.config.maxmemory > 0 && self.make_room() == Room::Impossible
    }

    /// Slaves that are online and have acknowledged within `min-replicas-max-lag` seconds.
    pub fn good_replicas(&self) -> usize {
        let max_lag_ms = self.config.min_replicas_max_lag as i64 * 1000;
        let now_ms = self.steady_ms;
        let good = |replica: &crate::replication::Replica| {
            replica.state == crate::replication::ReplicaState::Online && now_ms - replica.ack_ms <= max_lag_ms
        };
        self.clients.replicas().filter(|(_, _, replica)| good(replica)).count()
    }
}
