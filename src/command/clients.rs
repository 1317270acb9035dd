//! All clients of a node, and the few that somebody looks for often: slaves, monitors, the one with an id. What changes with every command or turn
//! asks those lists, never all clients.
//!
//! Invariants: `replicas` and `monitors` hold exactly the clients with the flag of that name; `counted_bytes` is the sum of the clients' own.

use std::collections::BTreeMap;

use super::client_memory::client_memory;
use super::{Client, ClientFlags, Slot};
use crate::replication::Replica;

/// Iteration is by slot; CLIENT LIST sorts by id.
#[derive(Default)]
pub struct Clients {
    slots: Vec<Option<Box<Client>>>,
    free: Vec<Slot>,
    next_id: u64,
    by_id: BTreeMap<u64, Slot>,
    /// In the order of their ids.
    replicas: Vec<Slot>,
    /// In the order in which they said MONITOR.
    monitors: Vec<Slot>,
    /// Memory of all clients but slaves and the master, each as it was when `count` saw it last.
    counted_bytes: usize,
    /// Where the next `some` begins.
    next_visit: usize,
}

impl Clients {
    pub fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
    pub fn insert(&mut self, client: Client) -> Slot {
        assert!(!client.flags.intersects(ClientFlags::REPLICA | ClientFlags::MONITOR), "clients become slaves and monitors later");
        let id = client.id;
        let client = Some(Box::new(client));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot.0 as usize] = client;
                slot
            }
            None => {
                self.slots.push(client);
                Slot(self.slots.len() as u32 - 1)
            }
        };
        self.by_id.insert(id, slot);
        slot
    }
    pub fn remove(&mut self, slot: Slot) -> Option<Box<Client>> {
        let client = self.slots.get_mut(slot.0 as usize)?.take()?;
        self.free.push(slot);
        self.by_id.remove(&client.id);
        self.counted_bytes -= client.counted_bytes;
        if client.is(ClientFlags::REPLICA) {
            self.replicas.retain(|replica| *replica != slot);
        }
        if client.is(ClientFlags::MONITOR) {
            self.monitors.retain(|monitor| *monitor != slot);
        }
        Some(client)
    }
    pub fn get(&self, slot: Slot) -> Option<&Client> {
        self.slots.get(slot.0 as usize)?.as_deref()
    }
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Client> {
        self.slots.get_mut(slot.0 as usize)?.as_deref_mut()
    }
    /// The client in a slot that is known to be taken.
    pub fn at(&self, slot: Slot) -> &Client {
        self.get(slot).expect("a running client has a slot")
    }
    pub fn at_mut(&mut self, slot: Slot) -> &mut Client {
        self.get_mut(slot).expect("a running client has a slot")
    }
    pub fn by_id(&self, id: u64) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }
    pub fn len(&self) -> usize {
        self.by_id.len()
    }
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &Client)> {
        self.slots.iter().enumerate().filter_map(|(i, client)| Some((Slot(i as u32), client.as_deref()?)))
    }
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Slot, &mut Client)> {
        self.slots.iter_mut().enumerate().filter_map(|(i, client)| Some((Slot(i as u32), client.as_deref_mut()?)))
    }

    /// A client has asked to be a slave.
    pub fn make_replica(&mut self, slot: Slot) -> &mut Client {
        let client = self.at_mut(slot);
        if !client.is(ClientFlags::REPLICA) {
            client.flags |= ClientFlags::REPLICA;
            let id = client.id;
            let at = self.replicas.partition_point(|replica| self.at(*replica).id < id);
            self.replicas.insert(at, slot);
            self.count(slot);
        }
        self.at_mut(slot)
    }
    /// The slaves, in the order in which they came.
    pub fn replicas(&self) -> impl ExactSizeIterator<Item = (Slot, &Client, &Replica)> {
        self.replicas.iter().map(|slot| {
            let client = self.at(*slot);
            (*slot, client, client.replica.as_deref().expect("a slave has told something"))
        })
    }

    pub fn make_monitor(&mut self, slot: Slot) {
        self.at_mut(slot).flags |= ClientFlags::MONITOR;
        self.monitors.push(slot);
    }
    pub fn end_monitor(&mut self, slot: Slot) {
        self.at_mut(slot).flags -= ClientFlags::MONITOR;
        self.monitors.retain(|monitor| *monitor != slot);
    }
    pub fn monitors(&self) -> &[Slot] {
        &self.monitors
    }

    /// Brings what a client holds up to date in the sum.
    pub fn count(&mut self, slot: Slot) {
        let Some(client) = self.slots.get_mut(slot.0 as usize).and_then(Option::as_deref_mut) else { return };
        let linked = client.flags.intersects(ClientFlags::REPLICA | ClientFlags::MASTER);
        let bytes = if linked { 0 } else { client_memory(client) };
        self.counted_bytes = self.counted_bytes + bytes - client.counted_bytes;
        client.counted_bytes = bytes;
    }
    /// The sum over all clients but slaves and the master, as they were counted last.
    pub fn counted_bytes(&self) -> usize {
        self.counted_bytes
    }
    /// Counts everybody anew.
    pub fn count_all(&mut self) {
        for index in 0..self.slots.len() {
            self.count(Slot(index as u32));
        }
    }

    /// The next clients to look after, in turn: some at each tick, so that everybody has been seen after a second of ticks.
    pub fn some(&mut self, ticks_a_second: u32) -> Vec<Slot> {
        let slots = self.slots.len();
        let visits = slots.div_ceil(ticks_a_second.max(1) as usize).max(VISITS_MIN).min(slots);
        let from = self.next_visit;
        self.next_visit = if slots == 0 { 0 } else { (from + visits) % slots };
        (from..from + visits).map(|at| Slot((at % slots) as u32)).filter(|slot| self.get(*slot).is_some()).collect()
    }
}

/// Slots that a tick looks at at least.
const VISITS_MIN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Addr;

    fn add(clients: &mut Clients) -> Slot {
        let addr = Addr::Ip(([127, 0, 0, 1], 1).into());
        let client = Client::new(clients.next_id(), addr.clone(), addr, -1, 0);
        clients.insert(client)
    }

    #[test]
    fn slaves_come_by_age_and_go_with_their_clients() {
        let mut clients = Clients::default();
        let slots: Vec<Slot> = (0..4).map(|_| add(&mut clients)).collect();
        for slot in [slots[3], slots[1], slots[2]] {
            clients.make_replica(slot).replica.get_or_insert_default();
        }
        clients.make_replica(slots[1]);
        let order = |clients: &Clients| clients.replicas().map(|(slot, ..)| slot).collect::<Vec<_>>();
        assert_eq!(order(&clients), [slots[1], slots[2], slots[3]]);
        clients.remove(slots[2]);
        assert_eq!(order(&clients), [slots[1], slots[3]]);
        // Its place is taken by somebody who is none.
        assert_eq!(add(&mut clients), slots[2]);
        assert_eq!(order(&clients), [slots[1], slots[3]]);
        assert_eq!((clients.len(), clients.by_id(3), clients.by_id(5)), (4, None, Some(slots[2])));
    }

    #[test]
    fn memory_is_counted_as_clients_change_and_go() {
        let mut clients = Clients::default();
        let (a, b) = (add(&mut clients), add(&mut clients));
        clients.count_all();
        let each = clients.counted_bytes() / 2;
        clients.at_mut(a).out.reserve_exact(1000);
        clients.count(a);
        assert_eq!(clients.counted_bytes(), 2 * each + 1000);
        clients.make_replica(a).replica.get_or_insert_default();
        assert_eq!(clients.counted_bytes(), each);
        clients.remove(b);
        assert_eq!(clients.counted_bytes(), 0);
        clients.remove(a);
    }

    #[test]
    fn everybody_is_seen_within_a_second_and_few_at_a_time() {
        let mut clients = Clients::default();
        assert!(clients.some(10).is_empty());
        for _ in 0..3 {
            add(&mut clients);
        }
        assert_eq!(clients.some(10).len(), 3, "nobody twice");
        for _ in 3..1000 {
            add(&mut clients);
        }
        let mut seen: Vec<Slot> = (0..10).flat_map(|_| clients.some(10)).collect();
        assert_eq!(seen.len(), 1000);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
    }
}
