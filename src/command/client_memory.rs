//! What clients hold, and `maxmemory-clients`: which of them are closed when they hold too much together. Each is counted when it has been
//! served, so that no command walks over all of them; only to choose whom to close are they all looked at.

use slog::info;

use super::{Client, ClientFlags, NodeState, Request, Slot};
use crate::resp::ArgRange;

/// Bytes that a client holds: its buffers, what MULTI has queued, its own record.
pub(super) fn client_memory(client: &Client) -> usize {
    std::mem::size_of::<Client>() + client.out.capacity() + client.query_buffer + client.query_buffer_free + queued_bytes(client)
}

/// What MULTI has queued.
pub(super) fn queued_bytes(client: &Client) -> usize {
    client.queued.bytes.capacity() + client.queued.ranges.capacity() * std::mem::size_of::<ArgRange>()
}

impl NodeState {
    /// Notes what a client holds, if anybody wants to know the sum.
    #[inline]
    pub fn count_client(&mut self, slot: Slot) {
        if self.config.maxmemory > 0 || self.config.maxmemory_clients != 0 {
            self.clients.count(slot);
        }
    }

    /// `maxmemory-clients` in bytes: a percentage (below 0 in the configuration) is one of `maxmemory`. 0 for no limit.
    fn client_memory_limit(&self) -> u64 {
        match u64::try_from(self.config.maxmemory_clients) {
            Ok(bytes) => bytes,
            Err(_) => (u128::from(self.config.maxmemory) * u128::from(self.config.maxmemory_clients.unsigned_abs()) / 100) as u64,
        }
    }

    /// Closes the clients that hold most until the rest is within `maxmemory-clients`. Once a turn.
    #[inline]
    pub fn evict_clients(&mut self) {
        if self.config.maxmemory_clients != 0 {
            self.evict_largest_clients();
        }
    }

    #[cold]
    fn evict_largest_clients(&mut self) {
        let limit = self.client_memory_limit();
        let mut sum = self.clients.counted_bytes() as u64;
        if limit == 0 || sum <= limit {
            return;
        }
        let spared = ClientFlags::NO_EVICT | ClientFlags::MASTER | ClientFlags::REPLICA | ClientFlags::IN_PROCESS;
        let candidates = self.clients.iter().filter(|(_, client)| !client.flags.intersects(spared));
        let mut largest: Vec<(usize, u64, Slot)> = candidates.map(|(slot, client)| (client_memory(client), client.id, slot)).collect();
        largest.sort_unstable_by(|a, b| b.cmp(a));
        for (bytes, id, slot) in largest {
            if sum <= limit {
                break;
            }
            sum = sum.saturating_sub(bytes as u64);
            let client = self.clients.at_mut(slot);
            // One that is being closed holds its memory until the turn's end.
            if !client.is(ClientFlags::CLOSE_ASAP) {
                client.flags |= ClientFlags::CLOSE_ASAP;
                info!(self.log, "Evicting client"; "id" => id, "addr" => %client.addr, "bytes" => bytes);
                self.stats.evicted_clients += 1;
                self.requests.push(Request::Close(slot));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    fn holding(b: &mut Bench, bytes: usize) -> Slot {
        let addr = b.node.clients.at(b.slot).addr.clone();
        let mut client = Client::new(b.node.clients.next_id(), addr.clone(), addr, -1, 0);
        client.flags |= ClientFlags::AUTHENTICATED;
        client.out.reserve_exact(bytes);
        b.node.clients.insert(client)
    }

    fn evicted(b: &mut Bench) -> Vec<Slot> {
        b.node.evict_clients();
        let close = |request| match request {
            Request::Close(slot) => Some(slot),
            _ => None,
        };
        let slots: Vec<Slot> = std::mem::take(&mut b.node.requests).into_iter().filter_map(close).collect();
        for slot in &slots {
            b.node.clients.remove(*slot);
        }
        slots
    }

    #[test]
    fn the_largest_clients_go_until_the_rest_fits() {
        let mut b = Bench::new();
        let sizes = [1_000, 50_000, 20_000, 90_000, 100];
        let slots = sizes.map(|bytes| holding(&mut b, bytes));
        b.node.clients.at_mut(slots[3]).flags |= ClientFlags::NO_EVICT;
        assert_eq!(evicted(&mut b), []);
        b.say("config set maxmemory-clients 200000");
        assert_eq!(evicted(&mut b), []);
        b.say("config set maxmemory-clients 120000");
        assert_eq!(evicted(&mut b), [slots[1]], "the one that may not be evicted counts and stays");
        b.say("config set maxmemory-clients 10000");
        assert_eq!(evicted(&mut b)[..2], [slots[2], slots[0]]);
        assert!(b.node.clients.get(slots[3]).is_some());
        assert!(b.node.stats.evicted_clients >= 3);
    }

    #[test]
    fn a_percentage_is_one_of_maxmemory() {
        let mut b = Bench::new();
        let large = holding(&mut b, 1 << 20);
        b.say("config set maxmemory-clients 5%");
        assert_eq!(evicted(&mut b), [], "of no limit");
        b.say("config set maxmemory 100mb");
        assert_eq!(evicted(&mut b), []);
        b.say("config set maxmemory 10mb");
        assert_eq!(evicted(&mut b), [large]);
    }
}
