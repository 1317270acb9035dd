//! Who listens to which channels, patterns and shard channels, and how a message gets to them: into their output, which the turn writes. No
//! commands here. Both directions of every subscription are kept, so that a client that goes costs only its own.

use std::collections::BTreeMap;

use slog::warn;

use super::{ClientFlags, NodeState, Request, Slot};
use crate::resp::{Proto, Reply};
use crate::types::glob;

/// What a subscription names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    Channels,
    Patterns,
    Shards,
}

/// The subscriptions to the names of one space.
#[derive(Default)]
pub struct Subscriptions {
    /// Subscribers of each name by the number of their subscription: the first hears first.
    by_name: BTreeMap<Box<[u8]>, BTreeMap<u64, Slot>>,
    by_client: BTreeMap<Slot, BTreeMap<Box<[u8]>, u64>>,
    next: u64,
}

impl Subscriptions {
    fn add(&mut self, slot: Slot, name: &[u8]) {
        let own = self.by_client.entry(slot).or_default();
        if own.contains_key(name) {
            return;
        }
        self.next += 1;
        own.insert(name.into(), self.next);
        self.by_name.entry(name.into()).or_default().insert(self.next, slot);
    }

    fn remove(&mut self, slot: Slot, name: &[u8]) {
        let Some(own) = self.by_client.get_mut(&slot) else { return };
        let Some(number) = own.remove(name) else { return };
        if own.is_empty() {
            self.by_client.remove(&slot);
        }
        let subscribers = self.by_name.get_mut(name).expect("a client's subscription is known by its name too");
        subscribers.remove(&number);
        if subscribers.is_empty() {
            self.by_name.remove(name);
        }
    }

    /// How many names one client has.
    pub fn count(&self, slot: Slot) -> usize {
        self.by_client.get(&slot).map_or(0, BTreeMap::len)
    }

    /// The names of one client, sorted.
    pub fn of(&self, slot: Slot) -> Vec<Box<[u8]>> {
        self.by_client.get(&slot).map_or_else(Vec::new, |own| own.keys().cloned().collect())
    }

    /// How many subscribers a name has.
    pub fn subscribers(&self, name: &[u8]) -> usize {
        self.by_name.get(name).map_or(0, BTreeMap::len)
    }

    /// The names that have subscribers, sorted.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.by_name.keys().map(|name| &**name)
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// Everybody's subscriptions.
#[derive(Default)]
pub struct PubSub {
    pub channels: Subscriptions,
    pub patterns: Subscriptions,
    pub shards: Subscriptions,
}

impl PubSub {
    pub fn of(&self, space: Space) -> &Subscriptions {
        match space {
            Space::Channels => &self.channels,
            Space::Patterns => &self.patterns,
            Space::Shards => &self.shards,
        }
    }

    fn of_mut(&mut self, space: Space) -> &mut Subscriptions {
        match space {
            Space::Channels => &mut self.channels,
            Space::Patterns => &mut self.patterns,
            Space::Shards => &mut self.shards,
        }
    }

    /// The count that a confirmation shows: channels and patterns together, shard channels apart.
    pub fn shown_count(&self, slot: Slot, space: Space) -> usize {
        match space {
            Space::Channels | Space::Patterns => self.channels.count(slot) + self.patterns.count(slot),
            Space::Shards => self.shards.count(slot),
        }
    }
}

/// One message, encoded once for each protocol that a listener speaks.
struct Message<'a> {
    parts: &'a [&'a [u8]],
    encoded: [Option<Vec<u8>>; 2],
}

impl<'a> Message<'a> {
    fn new(parts: &'a [&'a [u8]]) -> Self {
        Message { parts, encoded: [None, None] }
    }

    fn bytes(&mut self, proto: Proto) -> &[u8] {
        let parts = self.parts;
        self.encoded[usize::from(proto == Proto::Resp3)].get_or_insert_with(|| {
            let mut reply = Reply::new(proto);
            reply.push(parts.len());
            parts.iter().for_each(|part| reply.bulk(part));
            reply.buf
        })
    }
}

impl NodeState {
    pub fn subscribe(&mut self, slot: Slot, space: Space, name: &[u8]) {
        self.pubsub.of_mut(space).add(slot, name);
        self.clients.at_mut(slot).flags |= ClientFlags::PUBSUB;
    }

    pub fn unsubscribe(&mut self, slot: Slot, space: Space, name: &[u8]) {
        self.pubsub.of_mut(space).remove(slot, name);
        let all = [Space::Channels, Space::Patterns, Space::Shards];
        if all.iter().all(|space| self.pubsub.of(*space).count(slot) == 0)
            && let Some(client) = self.clients.get_mut(slot)
        {
            client.flags -= ClientFlags::PUBSUB;
        }
    }

    /// Ends all subscriptions of a client without a word: RESET, a client that goes.
    pub fn unsubscribe_all(&mut self, slot: Slot) {
        for space in [Space::Channels, Space::Patterns, Space::Shards] {
            for name in self.pubsub.of(space).of(slot) {
                self.unsubscribe(slot, space, &name);
            }
        }
    }

    /// Sends a message to everyone who listens to the channel, by its name or by a pattern. How many times it was sent.
    pub fn publish(&mut self, channel: &[u8], message: &[u8]) -> usize {
        let mut sent = self.send_to(Space::Channels, channel, &mut Message::new(&[b"message", channel, message]));
        if self.pubsub.patterns.is_empty() {
            return sent;
        }
        // Not even `*` matches the empty name, where KEYS has an exception.
        let hears = |pattern: &[u8]| glob::matches(pattern, channel, false) && (!channel.is_empty() || pattern.is_empty());
        let patterns: Vec<Box<[u8]>> = self.pubsub.patterns.by_name.keys().filter(|pattern| hears(pattern)).cloned().collect();
        for pattern in patterns {
            sent += self.send_to(Space::Patterns, &pattern, &mut Message::new(&[b"pmessage", &pattern, channel, message]));
        }
        sent
    }

    /// Sends a message to everyone who listens to the shard channel.
    pub fn publish_to_shard(&mut self, channel: &[u8], message: &[u8]) -> usize {
        self.send_to(Space::Shards, channel, &mut Message::new(&[b"smessage", channel, message]))
    }

    fn send_to(&mut self, space: Space, name: &[u8], message: &mut Message<'_>) -> usize {
        let Some(subscribers) = self.pubsub.of(space).by_name.get(name) else { return 0 };
        let slots: Vec<Slot> = subscribers.values().copied().collect();
        for slot in &slots {
            let proto = self.clients.at(*slot).proto;
            self.push(*slot, message.bytes(proto));
        }
        slots.len()
    }

    /// Appends to a client's output what it has not asked for just now; the turn writes it. The executing client has it behind its reply. One
    /// that does not read is closed at its limit, or others could fill the memory through it.
    pub fn push(&mut self, slot: Slot, bytes: &[u8]) {
        let client = self.clients.at_mut(slot);
        // What a slave is sent is the stream and nothing else.
        if client.flags.intersects(ClientFlags::CLOSE_ASAP | ClientFlags::REPLICA | ClientFlags::MASTER) {
            return;
        }
        client.out.extend_from_slice(bytes);
        if !client.is(ClientFlags::PUSHED) {
            client.flags |= ClientFlags::PUSHED;
            self.written.push(slot);
        }
        let class = usize::from(client.is(ClientFlags::PUBSUB)) * 2;
        let hard = self.config.client_output_buffer_limit[class].hard;
        if hard > 0 && client.out.len() as u64 > hard {
            warn!(self.log, "Client closed for overcoming of output buffer limits"; "id" => client.id, "addr" => %client.addr);
            client.flags |= ClientFlags::CLOSE_ASAP;
            self.stats.output_limit_disconnections += 1;
            self.requests.push(Request::Close(slot));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Client, testing::Bench};
    use super::*;
    use crate::env::Addr;

    fn another(b: &mut Bench) -> Slot {
        let addr = Addr::Ip(([10, 0, 0, 1], 77).into());
        let id = b.node.clients.next_id();
        let mut client = Client::new(id, addr.clone(), addr, 9, b.node.now_ms);
        client.flags |= ClientFlags::AUTHENTICATED;
        b.node.clients.insert(client)
    }

    fn heard(b: &mut Bench, slot: Slot) -> String {
        String::from_utf8(std::mem::take(&mut b.node.clients.at_mut(slot).out)).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn a_message_is_encoded_for_each_listener() {
        let mut b = Bench::new();
        let (old, new) = (another(&mut b), another(&mut b));
        b.node.clients.at_mut(new).proto = Proto::Resp3;
        b.node.subscribe(old, Space::Channels, b"news");
        b.node.subscribe(new, Space::Patterns, b"n*");
        b.node.subscribe(new, Space::Patterns, b"n*");
        assert_eq!(b.say("publish news hi"), ":2");
        assert_eq!(heard(&mut b, old), "*3 $7 message $4 news $2 hi ");
        assert_eq!(heard(&mut b, new), ">4 $8 pmessage $2 n* $4 news $2 hi ");
        assert_eq!(b.node.written, [old, new]);
        assert_eq!(b.say("spublish news hi"), ":0");
        assert_eq!(b.say("publish other hi"), ":0");
    }

    #[test]
    fn who_goes_is_forgotten_everywhere() {
        let mut b = Bench::new();
        let slot = another(&mut b);
        for (space, name) in [(Space::Channels, "a"), (Space::Patterns, "*"), (Space::Shards, "a"), (Space::Shards, "b")] {
            b.node.subscribe(slot, space, name.as_bytes());
        }
        assert_eq!((b.node.pubsub.shown_count(slot, Space::Patterns), b.node.pubsub.shown_count(slot, Space::Shards)), (2, 2));
        b.node.unsubscribe(slot, Space::Shards, b"a");
        assert!(b.node.clients.at(slot).is(ClientFlags::PUBSUB));
        b.node.unsubscribe_all(slot);
        assert!(!b.node.clients.at(slot).is(ClientFlags::PUBSUB));
        let PubSub { channels, patterns, shards } = &b.node.pubsub;
        for subscriptions in [channels, patterns, shards] {
            assert!(subscriptions.by_client.is_empty() && subscriptions.is_empty());
        }
    }

    #[test]
    fn who_does_not_read_is_closed_at_the_limit() {
        let mut b = Bench::new();
        let slot = another(&mut b);
        b.node.config.client_output_buffer_limit[2].hard = 100;
        b.node.subscribe(slot, Space::Channels, b"c");
        for _ in 0..10 {
            assert_eq!(b.say("publish c 12345678901234567890"), ":1");
        }
        assert!(b.node.clients.at(slot).out.len() < 200);
        assert_eq!(b.node.requests, [Request::Close(slot)]);
    }
}
