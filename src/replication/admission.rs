//! Which slaves that need a whole copy may have a snapshot made for them now, and why the others wait: for company (`repl-diskless-sync-delay`), for
//! snapshots before theirs (`repl-max-concurrent-syncs`), or because they broke off the last ones. Decides by what it is told; no I/O.

use std::collections::BTreeMap;

use super::ReplOffset;

/// The wait after the second snapshot in a row that a slave did not receive; doubled with each further one.
const BACKOFF_MIN_MS: i64 = 1000;
const BACKOFF_MAX_MS: i64 = 30_000;
/// A slave that has not been seen for so long begins anew.
const FORGET_MS: i64 = 10 * BACKOFF_MAX_MS;
/// Addresses that are remembered; the one that was seen first goes.
const ADDRESSES_MAX: usize = 1024;

/// Why a slave has no snapshot yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Others may come and share it.
    Delay,
    /// Enough snapshots are being made or sent.
    Limit,
    /// The last ones made for this slave were in vain.
    BackOff,
}

impl Hold {
    /// The code in logs.
    pub fn code(self) -> &'static str {
        match self {
            Hold::Delay => "diskless-sync-delay",
            Hold::Limit => "sync-limit",
            Hold::BackOff => "back-off",
        }
    }
}

/// What the directives say.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionRules {
    pub delay_ms: i64,
    /// So many waiting slaves end the delay; 0: none do.
    pub replicas_max: usize,
}

/// A slave that waits.
#[derive(Debug)]
struct Waiting<K> {
    who: K,
    since_ms: i64,
    not_before_ms: i64,
    told: Option<Hold>,
}

/// Snapshots that were begun for an address and not received.
#[derive(Debug)]
struct Attempts {
    in_vain: u32,
    last_ms: i64,
    /// The place of the last one.
    offset: ReplOffset,
}

/// `K` names a slave.
#[derive(Debug)]
pub struct Admission<K> {
    waiting: Vec<Waiting<K>>,
    attempts: BTreeMap<String, Attempts>,
}

impl<K> Default for Admission<K> {
    fn default() -> Self {
        Admission { waiting: Vec::new(), attempts: BTreeMap::new() }
    }
}

impl<K: Copy + PartialEq> Admission<K> {
    /// A slave has asked, which has this history up to `has`, if it has any of it; `random` spreads those that were cut off together.
    pub fn ask(&mut self, who: K, address: &str, has: Option<ReplOffset>, now_ms: i64, random: u64) {
        self.attempts.retain(|_, attempts| now_ms - attempts.last_ms < FORGET_MS);
        if let Some(attempts) = self.attempts.get(address)
            && has >= Some(attempts.offset)
        {
            // It did receive the last one, though the link did not live to hear of it.
            self.attempts.remove(address);
        }
        let not_before_ms = self.attempts.get(address).filter(|attempts| attempts.in_vain > 1).map_or(now_ms, |attempts| {
            let wait_ms = BACKOFF_MIN_MS.saturating_mul(1 << (attempts.in_vain - 2).min(16)).min(BACKOFF_MAX_MS);
            attempts.last_ms + wait_ms + (random % (wait_ms as u64 / 4)) as i64
        });
        self.forget(who);
        self.waiting.push(Waiting { who, since_ms: now_ms, not_before_ms, told: None });
    }

    /// It waits no more.
    pub fn forget(&mut self, who: K) {
        self.waiting.retain(|waiting| waiting.who != who);
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Those who wait, first come first.
    pub fn waiting(&self) -> impl Iterator<Item = K> {
        self.waiting.iter().map(|waiting| waiting.who)
    }

    /// Those for whom a snapshot may be begun now, if there is room for it.
    pub fn ready(&self, now_ms: i64, rules: AdmissionRules) -> Vec<K> {
        let due: Vec<&Waiting<K>> = self.waiting.iter().filter(|waiting| waiting.not_before_ms <= now_ms).collect();
        let is_over = due.iter().any(|waiting| now_ms - waiting.since_ms.max(waiting.not_before_ms) >= rules.delay_ms);
        let are_enough = rules.replicas_max > 0 && due.len() >= rules.replicas_max;
        if is_over || are_enough { due.into_iter().map(|waiting| waiting.who).collect() } else { Vec::new() }
    }

    /// A snapshot has been begun for this slave.
    pub fn begun(&mut self, address: &str, offset: ReplOffset, now_ms: i64) {
        if self.attempts.len() >= ADDRESSES_MAX
            && !self.attempts.contains_key(address)
            && let Some(oldest) = self.attempts.iter().min_by_key(|(_, attempts)| attempts.last_ms).map(|(address, _)| address.clone())
        {
            self.attempts.remove(&oldest);
        }
        let attempts = self.attempts.entry(address.to_owned()).or_insert(Attempts { in_vain: 0, last_ms: now_ms, offset });
        attempts.in_vain += 1;
        attempts.offset = offset;
        attempts.last_ms = now_ms;
    }

    /// It has received it.
    pub fn completed(&mut self, address: &str) {
        self.attempts.remove(address);
    }

    /// Why those wait who were not served though `ready` was asked; each reason is told once.
    pub fn untold(&mut self, now_ms: i64, ready: &[K]) -> Vec<(K, Hold, i64)> {
        let mut news = Vec::new();
        for waiting in &mut self.waiting {
            let left_ms = waiting.not_before_ms - now_ms;
            let hold = match () {
                () if left_ms > 0 => Hold::BackOff,
                () if ready.contains(&waiting.who) => Hold::Limit,
                () => Hold::Delay,
            };
            if waiting.told != Some(hold) {
                waiting.told = Some(hold);
                news.push((waiting.who, hold, left_ms.max(0)));
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: AdmissionRules = AdmissionRules { delay_ms: 0, replicas_max: 0 };
    const LATER: AdmissionRules = AdmissionRules { delay_ms: 5000, replicas_max: 3 };

    #[test]
    fn slaves_wait_for_company_until_the_first_has_waited_long_enough() {
        let mut admission = Admission::default();
        admission.ask(1, "a", None, 1000, 0);
        assert_eq!(admission.ready(1000, AT_ONCE), [1]);
        assert!(admission.ready(1000, LATER).is_empty());
        assert_eq!(admission.untold(1000, &[]), [(1, Hold::Delay, 0)]);
        admission.ask(2, "b", None, 4000, 0);
        assert!(admission.ready(5999, LATER).is_empty());
        assert_eq!(admission.ready(6000, LATER), [1, 2]);
        admission.forget(1);
        assert!(admission.ready(6000, LATER).is_empty());
        assert_eq!(admission.ready(9000, LATER), [2]);
    }

    #[test]
    fn enough_company_ends_the_delay() {
        let mut admission = Admission::default();
        for who in 1..=2 {
            admission.ask(who, &who.to_string(), None, 0, 0);
        }
        assert!(admission.ready(1, LATER).is_empty());
        admission.ask(3, "3", None, 0, 0);
        assert_eq!(admission.ready(1, LATER), [1, 2, 3]);
        assert_eq!(admission.untold(1, &[1, 2, 3]), [1, 2, 3].map(|who| (who, Hold::Limit, 0)));
        assert!(admission.untold(2, &[1, 2, 3]).is_empty(), "each reason is told once");
    }

    #[test]
    fn who_breaks_off_waits_longer_each_time() {
        let mut admission = Admission::default();
        let mut waits = Vec::new();
        let mut now_ms = 0;
        for _ in 0..9 {
            admission.ask(1, "a", None, now_ms, 0);
            let before = now_ms;
            while admission.ready(now_ms, AT_ONCE).is_empty() {
                now_ms += 1000;
            }
            waits.push((now_ms - before) / 1000);
            admission.forget(1);
            admission.begun("a", ReplOffset(5), now_ms);
        }
        assert_eq!(waits, [0, 0, 1, 2, 4, 8, 16, 30, 30]);
        // Others do not suffer for it.
        admission.ask(2, "b", None, now_ms, 0);
        assert_eq!(admission.ready(now_ms, AT_ONCE), [2]);
        admission.ask(1, "a", None, now_ms, 7);
        assert_eq!(admission.untold(now_ms, &[2])[1], (1, Hold::BackOff, 30_007));
        // Who asks for what comes after the last snapshot has had it; before it, not.
        admission.ask(1, "a", Some(ReplOffset(4)), now_ms, 7);
        assert_eq!(admission.ready(now_ms, AT_ONCE), [2]);
        admission.ask(1, "a", Some(ReplOffset(5)), now_ms, 7);
        assert_eq!(admission.ready(now_ms, AT_ONCE), [2, 1]);
        for _ in 0..5 {
            admission.begun("a", ReplOffset(5), now_ms);
        }
        admission.completed("a");
        admission.ask(1, "a", None, now_ms, 7);
        assert_eq!(admission.ready(now_ms, AT_ONCE), [2, 1]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut admission: Admission<u32> = Admission::default();
        for n in 0..5000 {
            admission.begun(&format!("10.0.0.1:{n}"), ReplOffset(5), n);
        }
        assert_eq!(admission.attempts.len(), ADDRESSES_MAX);
        admission.ask(1, "10.0.0.1:4999", None, 5000 + FORGET_MS, 0);
        assert_eq!(admission.ready(5000 + FORGET_MS, AT_ONCE), [1]);
        assert!(admission.attempts.is_empty());
    }
}
