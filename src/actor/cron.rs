//! What the Keyspace does by the clock, in small steps: active expiry, save points, client time-outs, rates.

use std::time::Duration;

use actix::prelude::*;
use slog::{info, warn};

use super::keyspace::Keyspace;
use super::timer::has_clock;
use crate::command::{ClientFlags, CycleKind, NodeState, Request, active_expire_cycle, slow_budget_ns_per_second};
use crate::persistence::{Attempt, save_due};

/// Samples of the counters for INFO's rates: the last ones, a tenth of a second apart.
const SAMPLES: usize = 16;
const SAMPLE_MS: i64 = 100;
/// Active expiry has its budget in slices of this length, with turns between them.
const EXPIRE_SLICE_NS: u64 = 500_000;

pub(super) fn start(act: &Keyspace, ctx: &mut Context<Keyspace>) {
    if !has_clock() {
        return;
    }
    let hz = act.shell.state.borrow().config.hz.clamp(1, 500);
    ctx.run_later(Duration::from_millis(1000 / u64::from(hz)), move |act, ctx| {
        if !act.shell.is_stopping() {
            tick(act);
            let budget_ns = slow_budget_ns_per_second(&act.shell.state.borrow().config) / u64::from(hz);
            expire(act, ctx, budget_ns);
            // `hz` may have changed.
            start(act, ctx);
        }
    });
}

/// One slice of active expiry, and the next ones behind the runtime's other work while keys are due and there is budget.
fn expire(act: &mut Keyspace, ctx: &mut Context<Keyspace>, budget_ns: u64) {
    let slice_ns = budget_ns.min(EXPIRE_SLICE_NS);
    let more = {
        let mut state = act.shell.state.borrow_mut();
        state.tick();
        active_expire_cycle(&mut state, CycleKind::Slow, slice_ns)
    };
    act.shell.request_turn();
    if more && budget_ns > slice_ns {
        let later = actix_rt::task::yield_now().into_actor(act);
        ctx.spawn(later.map(move |(), act, ctx| expire(act, ctx, budget_ns - slice_ns)));
    }
}

fn tick(act: &mut Keyspace) {
    // An actor that panics just ends: the node can't go on without it.
    let to = act.shell.addresses();
    if !to.master.connected() || !to.replica.connected() {
        return act.shell.stop(Some(super::NodeFailure::Panic("a replication actor has ended by a bug".to_owned())));
    }
    {
        let mut state = act.shell.state.borrow_mut();
        let state = &mut *state;
        state.tick();
        for db in 0..state.keyspace.databases() {
            state.keyspace.db_mut(crate::keyspace::DbIndex(db)).shrink_step();
        }
        sample(state);
        clients(state);
        save_points(state);
    }
    act.shell.request_turn();
}

fn sample(state: &mut NodeState) {
    let stats = &mut state.stats;
    if stats.samples.back().is_none_or(|last| state.now_ms - last.ms >= SAMPLE_MS) {
        stats.samples.push_back(stats.sample(state.now_ms));
        if stats.samples.len() > SAMPLES {
            stats.samples.pop_front();
        }
    }
    state.note_memory(state.keyspace.allocated() as u64);
}

/// `timeout`, and the soft limits of output buffers; some clients at each tick.
fn clients(state: &mut NodeState) {
    let timeout_ms = state.config.timeout as i64 * 1000;
    let limits = state.config.client_output_buffer_limit;
    let now_ms = state.steady_ms;
    for slot in state.clients.some(state.config.hz) {
        state.count_client(slot);
        let client = state.clients.at_mut(slot);
        if client.flags.intersects(ClientFlags::MASTER | ClientFlags::REPLICA) {
            continue;
        }
        let waits = client.flags.intersects(ClientFlags::BLOCKED | ClientFlags::PUBSUB | ClientFlags::IN_PROCESS);
        if timeout_ms > 0 && !waits && now_ms - client.last_interaction_ms > timeout_ms {
            state.requests.push(Request::Close(slot));
            continue;
        }
        let limit = limits[if client.is(ClientFlags::PUBSUB) { 2 } else { 0 }];
        if limit.soft == 0 || (client.out.len() as u64) <= limit.soft {
            client.soft_limit_since_ms = None;
            continue;
        }
        let since = *client.soft_limit_since_ms.get_or_insert(now_ms);
        if now_ms - since > limit.soft_seconds as i64 * 1000 {
            warn!(state.log, "Client closed for overcoming of the soft output buffer limit"; "id" => client.id, "addr" => %client.addr);
            state.stats.output_limit_disconnections += 1;
            state.requests.push(Request::Close(slot));
        }
    }
}

fn save_points(state: &mut NodeState) {
    if state.save.bgsave_started_ms.is_some() || state.loading.is_some() {
        return;
    }
    let changes = state.dirty - state.save.dirty_at_last_save.min(state.dirty);
    let last_try = Attempt { succeeded: state.save.last_bgsave_ok, seconds_ago: (state.now_ms - state.save.last_try_ms) / 1000 };
    if save_due(&state.config.save, changes, state.now_ms / 1000 - state.save.last_save_unix, last_try) {
        info!(state.log, "Save point reached: saving in the background"; "changes" => changes);
        state.save.bgsave_started_ms = Some(state.now_ms);
        state.requests.push(Request::BackgroundSave);
    }
}
