//! Timers of actors. Each tick arms the next one, so that a process that was stopped for a while has one tick to catch up with, not hundreds.

use std::time::Duration;

use actix::prelude::*;

/// How late a tick may be before silence in between says nothing about a peer: the process itself was stopped, and what came meanwhile is not read yet.
const LATE: Duration = Duration::from_secs(2);

/// Calls `tick` every `period`, as long as the actor lives.
pub(super) fn every<A: Actor<Context = Context<A>>>(ctx: &mut Context<A>, period: Duration, tick: fn(&mut A, &mut Context<A>)) {
    if has_clock() {
        ctx.run_later(period, move |act, ctx| {
            tick(act, ctx);
            every(ctx, period, tick);
        });
    }
}

/// Whether a timer can be armed. An actor whose System ends before it has begun is started by actix all the same, to be stopped, outside of any runtime.
pub(super) fn has_clock() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}

/// Whether a tick at `now_ms` comes so long after the one at `last_ms` that time-outs must wait for the next.
pub(super) fn is_late(last_ms: i64, now_ms: i64) -> bool {
    now_ms - last_ms > LATE.as_millis() as i64
}
