//! A verification on a slave: the mark that comes with the master's stream, what is told up the link, and what the slave's own slaves tell, which is handed on.
//! On a master: what slaves tell.

use slog::warn;

use super::role_info::replica_address;
use super::{ClientFlags, NodeState, Request, Slot};
use crate::keyspace::SnapshotId;
use crate::replication::verify::{Behind, Mark, Message, Report, UNABLE};
use crate::replication::{ReplicaState, Role};

/// What slaves may tell in one round: what they claim is not taken for ever.
const TOLD_BYTES_MAX: usize = 512 << 20;
/// What the link to the master may have unsent before reports of others are dropped.
const UNSENT_BYTES_MAX: usize = 8 << 20;

/// A mark has been met, and its cut been made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    pub mark: Mark,
    pub snapshot: SnapshotId,
}

/// One whose reports are handed on.
struct Relayed {
    client: u64,
    address: String,
    has_ended: bool,
}

/// The slaves behind this one, in the present round.
#[derive(Default)]
pub(super) struct Relay {
    id: u64,
    slaves: Vec<Relayed>,
}

/// The master's stream has a mark: the cut is here, between the command before and the one behind, and not at the turn's end. Without a master that
/// reads reports there is nothing to do.
#[cold]
pub(super) fn marked(node: &mut NodeState, text: &[u8]) {
    let is_wanted = matches!(&node.role, Role::Replica(link) if link.takes_reports);
    let Some(mark) = Mark::parse(text).filter(|_| is_wanted) else { return };
    let snapshot = node.keyspace.begin_snapshot();
    let mut relay = Relay { id: mark.id, slaves: Vec::new() };
    let mut behind = Vec::new();
    for (_, client, replica) in node.clients.replicas() {
        let address = replica_address(client, replica);
        let reports = replica.capa_verify && replica.state == ReplicaState::Online;
        if reports {
            relay.slaves.push(Relayed { client: client.id, address: address.clone(), has_ended: false });
        }
        behind.push(Behind { address, reports });
    }
    node.verification.relay = relay;
    node.tell_master(&Report::new(mark.id, Message::Begun { offset: node.stream.offset(), behind }).command());
    node.requests.push(Request::Digest(Box::new(Marked { mark, snapshot })));
}

/// A slave reports something: to this master, or to the master of this slave.
#[cold]
pub(super) fn reported(node: &mut NodeState, slot: Slot, body: &[u8]) {
    let client = node.clients.at(slot).id;
    match node.role {
        Role::Master if node.verification.running.is_some() => {
            node.verification.told_bytes = node.verification.told_bytes.saturating_add(body.len());
            if node.verification.told_bytes > TOLD_BYTES_MAX {
                return;
            }
            if node.verification.inbox.is_empty() {
                node.requests.push(Request::ReadReports);
            }
            node.verification.inbox.push((client, body.to_vec()));
        }
        Role::Master => {}
        Role::Replica(_) => hand_on(node, client, body),
    }
}

fn hand_on(node: &mut NodeState, client: u64, body: &[u8]) {
    let Some(mut report) = Report::parse(body).filter(|report| report.id == node.verification.relay.id) else { return };
    let Some(at) = node.verification.relay.slaves.iter().position(|one| one.client == client) else { return };
    let one = &mut node.verification.relay.slaves[at];
    if report.from.is_empty() {
        if one.has_ended {
            return;
        }
        report.from.clone_from(&one.address);
        one.has_ended = matches!(report.message, Message::Ended { .. } | Message::Failed(_));
    }
    if node.unsent_to_master() > UNSENT_BYTES_MAX {
        warn!(node.log, "Reports of a replica are dropped: the link to the master is too slow"; "replica" => &report.from);
        report.message = Message::Failed("the link of the slave before it is too slow for its reports".to_owned());
        node.verification.relay.slaves[at].has_ended = true;
    }
    node.tell_master(&report.command());
}

impl NodeState {
    /// Says something to the master that has no reply.
    pub(crate) fn tell_master(&mut self, command: &[u8]) {
        let master = self.clients.iter_mut().find(|(_, client)| client.is(ClientFlags::MASTER));
        if let Some((slot, client)) = master {
            client.out.extend_from_slice(command);
            self.written.push(slot);
        }
    }

    /// What the master has not been sent of it. Without a link there is nobody to wait for.
    pub(crate) fn unsent_to_master(&self) -> usize {
        self.clients.iter().find(|(_, client)| client.is(ClientFlags::MASTER)).map_or(0, |(_, client)| client.out.len())
    }

    /// Whether the master that the last mark came from is still there to be told.
    pub(crate) fn has_master_link(&self) -> bool {
        matches!(&self.role, Role::Replica(link) if link.is_up())
    }

    /// Tells the master of those behind this slave that have gone before they had answered.
    pub(crate) fn report_lost_slaves(&mut self) {
        let Relay { id, mut slaves } = std::mem::take(&mut self.verification.relay);
        for one in &mut slaves {
            if !one.has_ended && self.clients.by_id(one.client).is_none() {
                one.has_ended = true;
                let message = Message::Failed("its link was lost before it had answered".to_owned());
                self.tell_master(&Report { id, from: one.address.clone(), message }.command());
            }
        }
        self.verification.relay = Relay { id, slaves };
    }

    /// The slaves of this master, by their clients' numbers, with why one can't answer.
    pub(crate) fn slaves_to_verify(&self) -> Vec<(u64, String, Option<&'static str>)> {
        let of = |(_, client, replica): (Slot, &super::Client, &crate::replication::Replica)| {
            let unable = match replica.state {
                _ if !replica.capa_verify => Some(UNABLE),
                ReplicaState::Online => None,
                _ => Some("it is being synced"),
            };
            (client.id, replica_address(client, replica), unable)
        };
        self.clients.replicas().map(of).collect()
    }
}
