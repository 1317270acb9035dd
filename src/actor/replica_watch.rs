//! What the ReplicationMaster sees to twice a second: pings, time-outs, slaves that are too far behind, an unused backlog, snapshots kept for too long.

use slog::{info, warn};

use super::replica_session::Kick;
use super::replication_master::ReplicationMaster;
use super::timer::is_late;
use crate::command::NodeState;
use crate::replication::{ReplId, ReplicaState, Role};

impl ReplicationMaster {
    /// One round.
    pub(super) fn tick(&mut self) {
        if !self.shell.addresses().keyspace.connected() {
            self.shell.stop(Some(super::NodeFailure::Panic("the Keyspace has ended by a bug".to_owned())));
        }
        if self.shell.is_stopping() {
            return;
        }
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        let state = &mut *state;
        state.tick();
        self.serve_waiting(state);
        let now_ms = state.steady_ms;
        let is_master = matches!(state.role, Role::Master);
        let ping_ms = state.config.repl_ping_replica_period as i64 * 1000;
        // While writes are paused for a failover or a shutdown nothing else may make the stream longer, or no slave ever has all of it.
        if is_master && state.failover.is_none() && state.shutdown.is_none() && !self.sessions.is_empty() && now_ms - self.last_ping_ms >= ping_ms {
            self.last_ping_ms = now_ms;
            state.stream.append(b"*1\r\n$4\r\nPING\r\n");
        }
        if !is_late(std::mem::replace(&mut self.last_tick_ms, now_ms), now_ms) {
            self.drop_lost(state);
        }
        self.expire_backlog(state, is_master);
        self.drop_unused_snapshots(state);
        for session in self.sessions.values() {
            session.addr.do_send(Kick);
        }
    }

    /// Closes links to slaves that say nothing or are too far behind.
    fn drop_lost(&mut self, state: &mut NodeState) {
        let now_ms = state.steady_ms;
        let timeout_ms = state.config.repl_timeout as i64 * 1000;
        let limit = state.config.client_output_buffer_limit[1];
        let offset = state.stream.offset().0;
        let mut lost = Vec::new();
        let mut soft = Vec::new();
        for (slot, client, replica) in state.clients.replicas() {
            let behind = offset - replica.sent.0.min(offset);
            // A limit below the backlog's size counts as that size: those bytes are kept anyway.
            let hard = limit.hard.max(state.config.repl_backlog_size);
            let silent =
                !replica.plain_sync && now_ms - replica.ack_ms > timeout_ms && matches!(replica.state, ReplicaState::Online | ReplicaState::WaitAck);
            // What a sync leaves a slave behind by is spilled, and its socket may be slow, but has to move.
            let catching_up = replica.catching_up;
            let stalled = (replica.state == ReplicaState::SendBulk || catching_up && replica.state == ReplicaState::Online)
                && now_ms - replica.progress_ms.max(client.last_interaction_ms) > timeout_ms;
            let over_soft = !catching_up && limit.soft > 0 && behind > limit.soft.max(state.config.repl_backlog_size);
            let soft_since = over_soft.then(|| client.soft_limit_since_ms.unwrap_or(now_ms));
            soft.push((slot, soft_since));
            if silent || stalled {
                warn!(state.log, "Disconnecting timedout replica"; "addr" => %client.addr, "state" => replica.state.info_name());
                lost.push(slot);
            } else if !catching_up && limit.hard > 0 && behind > hard
                || soft_since.is_some_and(|since| now_ms - since > limit.soft_seconds as i64 * 1000)
            {
                warn!(state.log, "Replica closed for overcoming of output buffer limits"; "addr" => %client.addr, "behind" => behind);
                state.stats.output_limit_disconnections += 1;
                lost.push(slot);
            }
        }
        for (slot, since) in soft {
            state.clients.at_mut(slot).soft_limit_since_ms = since;
        }
        for slot in lost {
            self.shell.close(state, slot);
        }
    }

    fn expire_backlog(&mut self, state: &mut NodeState, is_master: bool) {
        let ttl_ms = state.config.repl_backlog_ttl as i64 * 1000;
        let alone = state.clients.replicas().len() == 0 && !self.keeps_snapshots();
        let since = if alone { *self.alone_since_ms.get_or_insert(state.steady_ms) } else { state.steady_ms };
        if !alone {
            self.alone_since_ms = None;
        }
        if alone && is_master && ttl_ms > 0 && state.stream.is_active() && state.steady_ms - since > ttl_ms {
            state.stream.deactivate(ReplId::random(&*state.env.random));
            info!(state.log, "Replication backlog freed after {} seconds without connected replicas.", ttl_ms / 1000);
        }
    }
}
