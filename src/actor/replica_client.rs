//! The slave's end of a link: connects, syncs, follows, and begins again when the link breaks.
//!
//! Owns: the attempts to link up (`replica_attempt.rs`), one at a time, and what is kept of a snapshot between two of them. Receives: `Follow`,
//! `StopFollowing`. Sends: ACKs, through the turn. Stops when the node stops.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use actix::prelude::*;
use futures::future::poll_fn;
use slog::{error, info, warn};

use super::replica_attempt::{Ended, LinkFailure, link_up};
use super::replica_load::Incoming;
use super::shell::Shell;
use super::timer::{every, is_late};
use crate::command::{ClientFlags, Request};
use crate::env::Mistake;
use crate::replication::{Backoff, LinkDownCause, Pace, Role};
use crate::resp::encode_command;

/// The actor of the link to the master.
pub struct ReplicaClient {
    shell: Rc<Shell>,
    /// The number of the attempt that counts. A cancelled future may be polled once more: an attempt with another number does nothing then, so
    /// that there are never two links.
    current: Rc<Cell<u64>>,
    backoff: Backoff,
    kept: Option<Kept>,
    last_tick_ms: i64,
}

/// What came of a snapshot before the link broke.
struct Kept {
    incoming: Incoming,
    until_ms: i64,
}

/// The role is replica of `MasterLink`'s host and port: link up, dropping what link there is.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Follow;

/// End the link: for good when the role has changed, or for a reason, to be tried again much later.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StopFollowing {
    pub reason: Option<String>,
}

impl ReplicaClient {
    pub fn new(shell: Rc<Shell>) -> Self {
        ReplicaClient { shell, current: Rc::default(), backoff: Backoff::default(), kept: None, last_tick_ms: 0 }
    }

    /// Ends the attempt, the link, and a waiting retry. Nothing of a snapshot is kept.
    fn drop_link(&mut self) {
        self.kept = None;
        self.current.set(self.current.get() + 1);
        let mut state = self.shell.state.borrow_mut();
        let masters: Vec<_> = state.clients.iter().filter(|(_, client)| client.is(ClientFlags::MASTER)).map(|(slot, _)| slot).collect();
        for slot in masters {
            self.shell.close(&mut state, slot);
        }
    }

    fn start(&mut self, ctx: &mut Context<Self>) {
        let (current, number) = (self.current.clone(), self.current.get());
        let (kept, until_ms) = self.kept.take().map_or((None, 0), |kept| (Some(kept.incoming), kept.until_ms));
        let had = kept.as_ref().and_then(|incoming| incoming.at);
        let mut link = Box::pin(link_up(self.shell.clone(), kept));
        let link = poll_fn(move |cx| if current.get() == number { link.as_mut().poll(cx).map(Some) } else { Poll::Ready(None) });
        ctx.spawn(link.into_actor(self).map(move |ended, act, ctx| {
            let Some(Ended { result, kept }) = ended.filter(|_| act.current.get() == number) else { return };
            if let Some(incoming) = kept {
                // Attempts that bring nothing new don't lengthen the time.
                let until_ms = if incoming.at == had { until_ms } else { act.keep_until_ms() };
                act.kept = Some(Kept { incoming, until_ms });
            }
            act.drop_kept_if_over();
            act.ended(result, ctx);
        }));
    }

    /// Until when what has come of a snapshot is kept, if the link has broken just now.
    fn keep_until_ms(&self) -> i64 {
        let mut state = self.shell.state.borrow_mut();
        state.tick();
        state.steady_ms.saturating_add_unsigned(state.config.repl_sync_keep_seconds.saturating_mul(1000))
    }

    fn drop_kept_if_over(&mut self) {
        let mut state = self.shell.state.borrow_mut();
        state.tick();
        if self.kept.take_if(|kept| kept.until_ms <= state.steady_ms).is_some() {
            info!(state.log, "What has come of the master's snapshot is not kept any longer");
            state.sync_from_master_failed("it was not gone on with in time");
        }
    }

    /// The attempt, or the link, is over: says why and tries again.
    fn ended(&mut self, ended: Result<(), LinkFailure>, ctx: &mut Context<Self>) {
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        if ended.is_ok() {
            self.backoff.reset();
        }
        let failure = ended.err().unwrap_or(LinkFailure::Closed);
        let reason = failure.to_string();
        let state = &mut *state;
        state.link_is_down(failure.cause(), &reason);
        if self.kept.is_none() {
            state.sync_from_master_failed(&reason);
        }
        let Role::Replica(link) = &mut state.role else { return };
        warn!(state.log, "The link to the master is down"; "master" => link.address(), "why" => &reason);
        if let LinkFailure::Refused(refusal) = &failure {
            link.refused = Some(refusal.to_string());
        }
        link.last_error = Some(reason);
        link.go_down(state.steady_ms);
        let delay_ms = self.backoff.next_ms(failure.pace(), &*state.env.random);
        self.retry_after(delay_ms, ctx);
    }

    fn retry_after(&mut self, delay_ms: u64, ctx: &mut Context<Self>) {
        let number = self.current.get();
        ctx.run_later(Duration::from_millis(delay_ms), move |act, ctx| {
            if act.current.get() == number {
                act.start(ctx);
            }
        });
    }

    /// Once a second: an ACK, and whether the master is still there.
    fn tick(&mut self) {
        self.drop_kept_if_over();
        let mut state = self.shell.state.borrow_mut();
        state.tick();
        let state = &mut *state;
        let late = is_late(std::mem::replace(&mut self.last_tick_ms, state.steady_ms), state.steady_ms);
        let Role::Replica(link) = &mut state.role else { return };
        if !link.is_up() {
            return;
        }
        let Some((slot, client)) = state.clients.iter_mut().find(|(_, client)| client.is(ClientFlags::MASTER)) else { return };
        link.last_io_ms = client.last_interaction_ms;
        if !late && state.steady_ms - client.last_interaction_ms > state.config.repl_timeout as i64 * 1000 {
            warn!(state.log, "MASTER timeout: no data nor PING received...");
            state.requests.push(Request::Close(slot));
        } else {
            let received = if state.env.planted(Mistake::AckBeyondApplied) { client.query_buffer + state.unapplied.len() } else { 0 };
            let offset = (state.stream.offset().0 + received as u64).to_string();
            encode_command(&mut client.out, &[b"REPLCONF", b"ACK", offset.as_bytes()]);
            state.written.push(slot);
        }
        self.shell.request_turn();
    }
}

impl Actor for ReplicaClient {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        every(ctx, Duration::from_secs(1), |act, _| act.tick());
    }
}

impl Handler<Follow> for ReplicaClient {
    type Result = ();

    fn handle(&mut self, _: Follow, ctx: &mut Context<Self>) {
        self.drop_link();
        self.backoff.reset();
        self.start(ctx);
    }
}

impl Handler<StopFollowing> for ReplicaClient {
    type Result = ();

    fn handle(&mut self, message: StopFollowing, ctx: &mut Context<Self>) {
        self.drop_link();
        let Some(reason) = message.reason else { return };
        let shell = self.shell.clone();
        let mut state = shell.state.borrow_mut();
        let state = &mut *state;
        state.tick();
        state.link_is_down(LinkDownCause::Stream, &reason);
        if let Role::Replica(link) = &mut state.role {
            error!(state.log, "The link to the master is stopped"; "why" => &reason);
            link.last_error = Some(reason);
            link.go_down(state.steady_ms);
            let delay_ms = self.backoff.next_ms(Pace::Operator, &*state.env.random);
            self.retry_after(delay_ms, ctx);
        }
    }
}

/// The node stops.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StopAll;

impl Handler<StopAll> for ReplicaClient {
    type Result = ();

    fn handle(&mut self, _: StopAll, ctx: &mut Context<Self>) {
        self.drop_link();
        ctx.stop();
    }
}
