//! FAILOVER at the master's end, as a state machine without I/O: whom it waits for, until when, and when the place is handed over. Owns no clients and no
//! pause; who calls `next` acts on what it says.

use super::ReplOffset;

/// A slave that could take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it says that it is reached.
    pub host: String,
    pub port: u16,
    pub acked: ReplOffset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Writes are paused until a slave has all of the stream.
    WaitingForSync,
    /// This node follows the target, which has not said yet that it is the master.
    InProgress,
}

/// A failover that was asked for and has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    phase: Phase,
    target: Option<(String, u16)>,
    deadline_ms: Option<i64>,
    force: bool,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailoverStep {
    Wait,
    /// Follow this slave, asking it to take over.
    HandOver {
        host: String,
        port: u16,
    },
    /// Nobody has caught up in time: go on as before.
    GiveUp,
}

impl Failover {
    /// `force`: hand over to the target at the deadline, even if it lacks something then.
    pub fn new(target: Option<(String, u16)>, deadline_ms: Option<i64>, force: bool) -> Self {
        assert!(!force || (target.is_some() && deadline_ms.is_some()), "force needs a target and a deadline");
        Failover { phase: Phase::WaitingForSync, target, deadline_ms, force }
    }

    /// As INFO names it.
    pub fn state_name(failover: Option<&Failover>) -> &'static str {
        match failover.map(|failover| failover.phase) {
            None => "no-failover",
            Some(Phase::WaitingForSync) => "waiting-for-sync",
            Some(Phase::InProgress) => "failover-in-progress",
        }
    }

    /// Whether the target may be asked before it has all of the stream.
    pub fn is_forced(&self) -> bool {
        self.force
    }

    pub fn is_in_progress(&self) -> bool {
        self.phase == Phase::InProgress
    }

    /// Steady ms at which `next` has to be asked, whatever happens before. Once the target has been asked nothing but its answer counts.
    pub fn deadline_ms(&self) -> Option<i64> {
        if self.is_in_progress() { None } else { self.deadline_ms }
    }

    /// For the log.
    pub fn target(&self) -> String {
        self.target.as_ref().map_or_else(|| "any replica".to_owned(), |(host, port)| format!("{host}:{port}"))
    }

    /// `online`: the slaves that follow the stream, which ends at `offset`.
    pub fn next(&mut self, now_ms: i64, offset: ReplOffset, online: impl Iterator<Item = Candidate>) -> FailoverStep {
        if self.is_in_progress() {
            return FailoverStep::Wait;
        }
        let is_late = self.deadline_ms.is_some_and(|at| now_ms >= at);
        if is_late && !self.force {
            return FailoverStep::GiveUp;
        }
        let target = match (&self.target, is_late) {
            (Some(target), true) => Some(target.clone()),
            _ => online
                .filter(|candidate| candidate.acked == offset)
                .map(|candidate| (candidate.host, candidate.port))
                .find(|(host, port)| self.target.as_ref().is_none_or(|(wanted, at)| wanted.eq_ignore_ascii_case(host) && at == port)),
        };
        let Some((host, port)) = target else { return FailoverStep::Wait };
        self.phase = Phase::InProgress;
        self.target = Some((host.clone(), port));
        FailoverStep::HandOver { host, port }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16, acked: u64) -> Candidate {
        Candidate { host: "Host".to_owned(), port, acked: ReplOffset(acked) }
    }

    fn hand_over(port: u16) -> FailoverStep {
        FailoverStep::HandOver { host: "Host".to_owned(), port }
    }

    #[test]
    fn whoever_has_all_of_the_stream_first_takes_over() {
        let mut failover = Failover::new(None, None, false);
        assert_eq!(failover.next(0, ReplOffset(9), [at(1, 8), at(2, 0)].into_iter()), FailoverStep::Wait);
        assert_eq!(Failover::state_name(Some(&failover)), "waiting-for-sync");
        assert_eq!(failover.next(i64::MAX, ReplOffset(9), [at(1, 8), at(2, 9)].into_iter()), hand_over(2));
        assert_eq!((Failover::state_name(Some(&failover)), failover.target()), ("failover-in-progress", "Host:2".to_owned()));
        assert_eq!(failover.next(i64::MAX, ReplOffset(9), [at(1, 9)].into_iter()), FailoverStep::Wait, "one is enough");
    }

    #[test]
    fn a_target_is_waited_for_until_the_deadline() {
        let mut failover = Failover::new(Some(("host".to_owned(), 2)), Some(100), false);
        assert_eq!(failover.next(99, ReplOffset(9), [at(1, 9), at(2, 8)].into_iter()), FailoverStep::Wait);
        assert_eq!(failover.deadline_ms(), Some(100));
        let mut late = failover.clone();
        assert_eq!(late.next(100, ReplOffset(9), [at(2, 9)].into_iter()), FailoverStep::GiveUp);
        assert_eq!(failover.next(99, ReplOffset(9), [at(1, 9), at(2, 9)].into_iter()), hand_over(2));
        assert_eq!(failover.deadline_ms(), None);
    }

    #[test]
    fn force_hands_over_at_the_deadline_even_to_one_that_has_gone() {
        let mut failover = Failover::new(Some(("Host".to_owned(), 2)), Some(100), true);
        assert_eq!(failover.next(99, ReplOffset(9), [at(1, 9)].into_iter()), FailoverStep::Wait);
        assert_eq!(failover.next(100, ReplOffset(9), std::iter::empty()), hand_over(2));
    }
}
