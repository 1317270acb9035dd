//! Slaves of slaves: the same bytes at the same offsets all the way down, whoever stands in between.

use crate::support::data::{churn, fill};
use crate::support::mixed::mix;
use crate::support::tap::{Framing, StreamTap, TapOptions};
use crate::support::{Daemon, Direction, Link, Peer, SOON, digest, info, info_u64, offset, replicate, wait_for, wait_in_sync};

fn chain_of(daemons: &[&Daemon]) {
    for pair in daemons.windows(2) {
        replicate(pair[1], pair[0].port);
        wait_in_sync(pair[0], pair[1]);
    }
}

#[test]
fn ours_ours_and_every_real_one() {
    for peer in Peer::ALL {
        let (top, middle, end) = (Daemon::replikant(&[]), Daemon::replikant(&[]), Daemon::redis(peer, &[]));
        fill(&mut top.client(), "before", 500);
        chain_of(&[&top, &middle, &end]);
        fill(&mut top.client(), "after", 500);
        churn(&mut top.client(), 3, 2000);
        let digest = wait_in_sync(&top, &middle);
        assert_eq!(wait_in_sync(&middle, &end), digest, "{}", peer.name());
        assert_eq!(info(&mut top.client(), "master_replid"), info(&mut end.client(), "master_replid"));
        wait_for(SOON, "equal offsets on all three", || {
            let offsets = [&top, &middle, &end].map(|daemon| offset(&mut daemon.client()));
            (offsets[0] == offsets[1] && offsets[1] == offsets[2]).then_some(())
        });
    }
}

const BIG_BACKLOG: &[&str] = &["--repl-backlog-size", "64mb"];

/// Servers each of which follows the one before by a link of its own.
struct Chain {
    daemons: Vec<Daemon>,
    links: Vec<Link>,
}

impl Chain {
    /// Ours first where `None` is, else this real one.
    fn new(makes: &[Option<Peer>]) -> Chain {
        let start = |make: &Option<Peer>| make.map_or_else(|| Daemon::replikant(BIG_BACKLOG), |peer| Daemon::redis(peer, BIG_BACKLOG));
        let daemons: Vec<Daemon> = makes.iter().map(start).collect();
        let links = daemons.windows(2).map(|pair| Link::to(pair[0].port)).collect();
        Chain { daemons, links }
    }

    fn attach_all(&self) {
        for (number, link) in self.links.iter().enumerate() {
            replicate(&self.daemons[number + 1], link.port);
            wait_in_sync(&self.daemons[number], &self.daemons[number + 1]);
        }
    }

    /// Equal data at equal offsets from this server down.
    fn wait_in_sync_from(&self, first: usize) -> String {
        let chain = &self.daemons[first..];
        let offsets = || chain.iter().map(|daemon| offset(&mut daemon.client())).collect::<Vec<_>>();
        wait_for(SOON, "equal data at equal offsets all the way down", || {
            let before = offsets();
            let digests: Vec<String> = chain.iter().map(|daemon| digest(&mut daemon.client())).collect();
            // The same again: nothing came in between.
            if before != offsets() || before.iter().any(|offset| *offset != before[0]) {
                return None;
            }
            assert!(digests.iter().all(|digest| *digest == digests[0]), "the data differs at offset {}: {digests:?}", before[0]);
            Some(digests[0].clone())
        })
    }

    /// Of this server and those below.
    fn full_syncs_from(&self, first: usize) -> Vec<u64> {
        self.daemons[first..].iter().map(|daemon| info_u64(&mut daemon.client(), "sync_full")).collect()
    }

    /// Data of every kind before the syncs and after, then breaks of each link while writes go on, at places that differ by the link.
    fn run(&self, seed: u64) {
        let mut client = self.daemons[0].client();
        mix(&mut client, seed, 4000);
        self.attach_all();
        mix(&mut client, seed + 1, 3000);
        self.wait_in_sync_from(0);
        let fulls = self.full_syncs_from(0);
        for (number, link) in (0..).zip(&self.links) {
            let cuts = link.cuts();
            link.cut_after(Direction::Down, 1 + 7919 * number);
            mix(&mut client, seed + 2 + number, 1500);
            wait_for(SOON, "the cut", || (link.cuts() > cuts).then_some(()));
        }
        self.wait_in_sync_from(0);
        assert_eq!(self.full_syncs_from(0), fulls, "a short break cost a full sync");
    }

    /// The servers above this one are gone; it becomes the master of those below, who keep what they have.
    fn promote(&mut self, number: usize, seed: u64) {
        let fulls = self.full_syncs_from(number);
        self.daemons[..number].iter_mut().for_each(Daemon::kill);
        let mut client = self.daemons[number].client();
        client.ok("SLAVEOF NO ONE");
        mix(&mut client, seed, 2000);
        self.wait_in_sync_from(number);
        assert_eq!(self.full_syncs_from(number), fulls, "a promotion cost a full sync");
    }
}

#[test]
fn ours_real_ours_real() {
    for (seed, one, other) in [(10, Peer::V7, Peer::V8), (20, Peer::V6, Peer::Valkey)] {
        let mut chain = Chain::new(&[None, Some(one), None, Some(other)]);
        chain.run(seed);
        chain.promote(1, seed + 8);
        chain.promote(2, seed + 9);
    }
}

#[test]
fn real_ours_real_ours() {
    for (seed, one, other) in [(30, Peer::V7, Peer::V8), (40, Peer::Valkey, Peer::V6)] {
        let mut chain = Chain::new(&[Some(one), None, Some(other), None]);
        chain.run(seed);
        chain.promote(1, seed + 8);
        chain.promote(2, seed + 9);
    }
}

#[test]
fn a_slave_passes_the_stream_on_verbatim() {
    let (top, middle) = (Daemon::replikant(&[]), Daemon::replikant(&[]));
    chain_of(&[&top, &middle]);
    let mut at_top = StreamTap::attach(top.port);
    let mut at_middle = StreamTap::attach(middle.port);
    assert_eq!(at_top.replid, at_middle.replid);
    churn(&mut top.client(), 5, 1000);
    top.client().ok("SET the end");
    // Both taps forced a SELECT at a place of their own; the commands behind it are the same.
    let (above, below) = (at_top.effects_until(&["SET", "the"]), at_middle.effects_until(&["SET", "the"]));
    let without_select = |effects: Vec<Vec<String>>| -> Vec<Vec<String>> { effects.into_iter().filter(|words| words[0] != "SELECT").collect() };
    assert_eq!(without_select(above), without_select(below));
    wait_for(SOON, "equal offsets", || (offset(&mut top.client()) == offset(&mut middle.client())).then_some(()));
}

/// The history is one, so a position in it is good at every server of the chain.
#[test]
fn a_position_from_one_server_continues_at_another() {
    let (top, middle) = (Daemon::replikant(&[]), Daemon::replikant(&[]));
    chain_of(&[&top, &middle]);
    top.client().ok("SET a 1");
    wait_in_sync(&top, &middle);
    let mut tap = StreamTap::attach(middle.port);
    top.client().ok("SET b 2");
    assert!(tap.effects_until(&["SET", "b"]).iter().all(|effect| effect[0] == "SELECT"));
    let position = (tap.replid.clone(), tap.offset + 1);
    drop(tap);
    top.client().ok("SET c 3");
    for server in [&top, &middle] {
        let options = TapOptions { continue_from: Some(position.clone()), ..TapOptions::default() };
        let mut tap = StreamTap::with(server.port, options);
        assert_eq!(tap.framing, Framing::None, "a partial resync");
        assert_eq!(tap.effect(), ["SET", "c", "3"]);
    }
}

#[test]
fn after_the_top_is_gone_the_promoted_middle_goes_on_with_the_end_and_a_real_one() {
    let (mut top, middle) = (Daemon::replikant(&[]), Daemon::replikant(&[]));
    let (ours, real) = (Daemon::replikant(&[]), Daemon::redis(Peer::V7, &[]));
    fill(&mut top.client(), "before", 500);
    chain_of(&[&top, &middle]);
    for end in [&ours, &real] {
        replicate(end, top.port);
        wait_in_sync(&top, end);
    }
    wait_in_sync(&top, &middle);
    top.kill();
    let fulls = info_u64(&mut middle.client(), "sync_full");
    middle.client().ok("SLAVEOF NO ONE");
    assert_eq!(info(&mut middle.client(), "role").unwrap(), "master");
    for end in [&ours, &real] {
        replicate(end, middle.port);
    }
    middle.client().ok("SET after promotion");
    for end in [&ours, &real] {
        wait_in_sync(&middle, end);
    }
    assert_eq!(info_u64(&mut middle.client(), "sync_full"), fulls, "the ends continue the old history by replid2");
}

/// A slave that follows itself through others must not take anything down.
#[test]
fn a_ring_stays_answerable() {
    let (one, other) = (Daemon::replikant(&[]), Daemon::replikant(&[]));
    one.client().ok("SET a 1");
    replicate(&other, one.port);
    wait_in_sync(&one, &other);
    replicate(&one, other.port);
    wait_for(SOON, "both to be slaves", || {
        let roles = [&one, &other].map(|daemon| info(&mut daemon.client(), "role").unwrap());
        (roles == ["slave", "slave"]).then_some(())
    });
    one.client().ok("SLAVEOF NO ONE");
    one.client().ok("SET b 2");
    wait_in_sync(&one, &other);
}
