//! For the unit tests of command families: a node with one client, commands as lines, replies and the stream as text.

use super::{NodeState, Slot};
use crate::keyspace::UnixMs;
use crate::replication::ReplOffset;
use crate::resp::{ArgRange, Args, Decoder, Limits};

pub(super) struct Bench {
    pub node: NodeState,
    pub slot: Slot,
    /// Where `stream` goes on.
    read_to: ReplOffset,
}

impl Bench {
    pub fn new() -> Self {
        let (mut node, slot) = NodeState::for_tests();
        node.tick();
        node.stream.activate(None);
        Bench { node, slot, read_to: ReplOffset(0) }
    }

    /// Runs a command given as words. `""` stands for an empty argument.
    pub fn say(&mut self, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(|word| if word == "\"\"" { &b""[..] } else { word.as_bytes() }).collect();
        let reply = self.node.run(self.slot, &words);
        String::from_utf8_lossy(&reply).trim_end().replace("\r\n", " ")
    }

    /// The commands that have entered the stream since the last call, but for SELECT.
    pub fn stream(&mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        let backlog = self.node.stream.backlog().expect("the stream is active");
        backlog.read(self.read_to, |part| {
            bytes.extend_from_slice(part);
            true
        });
        self.read_to = self.node.stream.offset();
        let limits = Limits { bulk_bytes_max: 1 << 20, args_max: 1000, line_bytes_max: 1 << 16, unauthenticated: false };
        let mut ranges: Vec<ArgRange> = Vec::new();
        let mut commands = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let len = Decoder::default().decode(rest, &limits, &mut ranges).expect("the stream is made of commands").expect("whole ones");
            let words: Vec<_> = Args::new(rest, &ranges).iter().map(String::from_utf8_lossy).collect();
            commands.push(words.join(" "));
            rest = &rest[len..];
        }
        commands.retain(|command| !command.starts_with("SELECT"));
        commands
    }

    /// Runs a command and returns what the stream says of it.
    pub fn streamed(&mut self, line: &str) -> Vec<String> {
        self.stream();
        self.say(line);
        self.stream()
    }

    /// Lets time go by, for the commands to come.
    pub fn pass_ms(&mut self, ms: i64) {
        self.node.now_ms += ms;
        self.node.now_us += ms * 1000;
        self.node.steady_ms += ms;
        self.node.keyspace.set_clock(UnixMs(self.node.now_ms));
    }
}
