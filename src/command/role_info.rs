//! ROLE and INFO replication: how a node and its links stand, under the names that Sentinel, client libraries and monitors read. Reads the state,
//! changes nothing.

use std::fmt::Display;

use super::{Client, CmdResult, Ctx, NodeState};
use crate::replication::{Failover, LinkState, MasterLink, Replica, ReplicaState, Role};

pub(super) fn role(ctx: &mut Ctx<'_>) -> CmdResult {
    let (node, out) = (&*ctx.node, &mut *ctx.out);
    match &node.role {
        Role::Master => {
            let online: Vec<_> = node.clients.replicas().filter(|(_, _, replica)| replica.state == ReplicaState::Online).collect();
            out.array(3);
            out.bulk(b"master");
            out.int(node.stream.offset().0 as i64);
            out.array(online.len());
            for (_, client, replica) in online {
                out.array(3);
                out.bulk(address(client, replica).as_bytes());
                out.bulk_int(replica.listening_port.into());
                out.bulk_int(replica.ack_offset.0 as i64);
            }
        }
        Role::Replica(link) => {
            out.array(5);
            out.bulk(b"slave");
            out.bulk(link.host.as_bytes());
            out.int(link.port.into());
            out.bulk(link.state.name().as_bytes());
            out.int(if link.is_up() { node.stream.offset().0 as i64 } else { -1 });
        }
    }
    Ok(())
}

/// Where a slave says it is reached, or else where it came from.
pub(super) fn address(client: &Client, replica: &Replica) -> String {
    match (&replica.announced_ip, client.addr.ip()) {
        (Some(announced), _) => announced.clone(),
        (None, Some(ip)) => ip.to_string(),
        (None, None) => client.addr.to_string(),
    }
}

/// Where the slave serves, as host and port.
pub fn replica_address(client: &Client, replica: &Replica) -> String {
    format!("{}:{}", address(client, replica), replica.listening_port)
}

fn field(out: &mut String, name: &str, value: impl Display) {
    out.push_str(&format!("{name}:{value}\r\n"));
}

/// The replication section of INFO, its title included.
pub(super) fn info(node: &NodeState, out: &mut String) {
    out.push_str("# Replication\r\n");
    match &node.role {
        Role::Master => field(out, "role", "master"),
        Role::Replica(link) => {
            field(out, "role", "slave");
            link_fields(node, link, out);
        }
    }
    replica_fields(node, out);
    history_fields(node, out);
}

/// The fields that only a slave shows.
fn link_fields(node: &NodeState, link: &MasterLink, out: &mut String) {
    let seconds_since = |ms: i64| (node.steady_ms - ms).max(0) / 1000;
    let syncing = link.state == LinkState::Sync;
    let applied = match link.cached {
        _ if link.is_up() => node.stream.offset().0,
        Some((_, offset)) => offset.0,
        None => 0,
    };
    let unapplied = if link.is_up() { node.unapplied.len() as u64 } else { 0 };
    field(out, "master_host", &link.host);
    field(out, "master_port", link.port);
    field(out, "master_link_status", if link.is_up() { "up" } else { "down" });
    field(out, "master_last_io_seconds_ago", if link.is_up() { seconds_since(last_io_ms(node, link)) } else { -1 });
    field(out, "master_sync_in_progress", u8::from(syncing));
    field(out, "slave_read_repl_offset", applied + unapplied);
    field(out, "slave_repl_offset", applied);
    // No stream is gathered beside a snapshot here: the master keeps it.
    field(out, "replica_full_sync_buffer_size", 0);
    field(out, "replica_full_sync_buffer_peak", 0);
    field(out, "master_current_sync_attempts", link.attempts);
    field(out, "master_total_sync_attempts", link.total_attempts);
    if syncing {
        sync_fields(link, out);
        field(out, "master_sync_last_io_seconds_ago", seconds_since(link.sync_last_io_ms));
    }
    if link.is_up() {
        field(out, "master_link_up_since_seconds", seconds_since(link.up_since_ms));
    } else {
        // Ours alone.
        if let Some(error) = &link.last_error {
            field(out, "master_last_error", one_line(error));
        }
        if let Some(refused) = &link.refused {
            field(out, "master_sync_refused", refused);
        }
        // A link that has never been up has no such time.
        field(out, "master_link_down_since_seconds", link.down_since_ms.map_or(-1, seconds_since));
    }
    field(out, "total_disconnect_time_sec", link.total_disconnected_ms(node.steady_ms) / 1000);
    field(out, "slave_priority", node.config.replica_priority);
    field(out, "slave_read_only", u8::from(node.config.replica_read_only));
    field(out, "replica_announced", u8::from(node.config.replica_announced));
}

/// A text that may cite what others have said.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The link keeps the time of the snapshot's bytes; those of the stream are seen by the master's connection.
fn last_io_ms(node: &NodeState, link: &MasterLink) -> i64 {
    let master = node.clients.iter().find(|(_, client)| client.is(super::ClientFlags::MASTER));
    master.map_or(link.last_io_ms, |(_, client)| client.last_interaction_ms)
}

/// How much of the snapshot has come. Redis shows -1 before its header, and 0 as the total of one whose size is not told.
fn sync_fields(link: &MasterLink, out: &mut String) {
    let read = link.sync_read_bytes as i64;
    let (total, left) = match link.sync_total_bytes {
        Some(total) => (total as i64, total as i64 - read),
        None if read == 0 => (-1, -1),
        None => (0, -read),
    };
    // Without a size Redis knows no percentage. Before the header it shows -0.
    let percent = link.sync_percent().unwrap_or(if total == -1 { -0.0 } else { 0.0 });
    field(out, "master_sync_total_bytes", total);
    field(out, "master_sync_read_bytes", read);
    field(out, "master_sync_left_bytes", left);
    field(out, "master_sync_perc", format_args!("{percent:.2}"));
}

fn replica_fields(node: &NodeState, out: &mut String) {
    let replicas = node.clients.replicas();
    field(out, "connected_slaves", replicas.len());
    if node.config.min_replicas_to_write > 0 && node.config.min_replicas_max_lag > 0 {
        field(out, "min_slaves_good_slaves", node.good_replicas());
    }
    for (number, (_, client, replica)) in replicas.enumerate() {
        let online = replica.state == ReplicaState::Online;
        let lag = if online { (node.steady_ms - replica.ack_ms).max(0) / 1000 } else { 0 };
        let (ip, port, state, offset) = (address(client, replica), replica.listening_port, replica.state.info_name(), replica.ack_offset);
        field(out, &format!("slave{number}"), format_args!("ip={ip},port={port},state={state},offset={offset},lag={lag}"));
    }
}

fn history_fields(node: &NodeState, out: &mut String) {
    let stream = &node.stream;
    // 40 zeros and -1 stand for "no history before".
    let (replid2, second_offset) = match stream.replid2 {
        Some((replid, switch)) => (replid.to_string(), switch.0 as i64),
        None => ("0".repeat(40), -1),
    };
    field(out, "master_failover_state", Failover::state_name(node.failover.as_ref()));
    field(out, "master_replid", stream.replid);
    field(out, "master_replid2", replid2);
    field(out, "master_repl_offset", stream.offset());
    field(out, "second_repl_offset", second_offset);
    field(out, "repl_backlog_active", u8::from(stream.backlog().is_some()));
    field(out, "repl_backlog_size", stream.backlog_bytes());
    field(out, "repl_backlog_first_byte_offset", stream.backlog().map_or(0, |backlog| backlog.first().0));
    field(out, "repl_backlog_histlen", stream.backlog().map_or(0, |backlog| backlog.histlen()));
    if let Some(sync) = node.syncs.last_full() {
        let (direction, peer, reason, state) = (sync.direction.name(), &sync.peer, sync.reason.code(), sync.outcome.name());
        let (bytes, ms) = (sync.bytes, sync.age_ms(node.steady_ms));
        field(out, "repl_last_full_sync", format_args!("direction={direction},peer={peer},reason={reason},state={state},bytes={bytes},ms={ms}"));
    }
    if let Some(summary) = node.verification.summary() {
        field(out, "repl_last_verify", summary);
    }
}
