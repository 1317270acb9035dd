//! Turns outside the Keyspace's messages: a client of this process that awaits its reply gets its turn on the spot. It is the very turn of the sockets, with
//! all that are ready; what else a turn brings with it (snapshot steps, what commands ask of the actors, notices to slaves, timers) is the Keyspace's own,
//! which is told to take a turn whenever there is any of it.

use slog::crit;

use super::shell::{NodeFailure, Shell};
use crate::command::{CycleKind, active_expire_cycle};

/// What active expiry may add to a turn where the timer's cycles leave too many keys that are due.
const EXPIRE_FAST_NS: u64 = 300_000;

impl Shell {
    /// Runs a turn at once, unless one is running already or the node stops.
    pub(super) fn turn_now(&self) {
        if self.is_stopping() {
            return;
        }
        if self.state.try_borrow_mut().is_err() || self.turn.try_borrow_mut().is_err() {
            return self.request_turn();
        }
        let (clock, offset, deadline_ms) = {
            let state = self.state.borrow();
            (state.env.clock.clone(), state.stream.offset(), state.next_deadline_ms())
        };
        let started_ns = clock.monotonic_ns();
        let Some(left) = self.guarded_turn() else { return };
        // CPU time costs a call of the system; time that has passed is no less.
        let ns = clock.monotonic_ns() - started_ns;
        let mut state = self.state.borrow_mut();
        state.stats.turns += 1;
        state.stats.turns_ns += ns;
        state.stats.longest_turn_ns = state.stats.longest_turn_ns.max(ns);
        state.stats.longest_turn_ever_ns = state.stats.longest_turn_ever_ns.max(ns);
        let is_done = !left && !state.has_work() && state.stream.offset() == offset && state.next_deadline_ms() == deadline_ms;
        drop(state);
        if !is_done {
            self.request_turn();
        }
    }

    /// A panic in a turn is a bug: the node stops and says so, the host application lives. True if requests are left.
    pub(super) fn guarded_turn(&self) -> Option<bool> {
        let turn = std::panic::AssertUnwindSafe(|| {
            let left = self.turn.borrow_mut().run(self);
            active_expire_cycle(&mut self.state.borrow_mut(), CycleKind::Fast, EXPIRE_FAST_NS);
            left
        });
        match std::panic::catch_unwind(turn) {
            Ok(left) => Some(left),
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                crit!(self.state.borrow().log, "The node stops because of a bug"; "panic" => &text);
                self.stop(Some(NodeFailure::Panic(text)));
                None
            }
        }
    }
}
