//! What the server knows of each client, whoever holds its socket.

use bitflags::bitflags;

use super::Spec;
use crate::env::Addr;
use crate::keyspace::DbIndex;
use crate::replication::{ReplOffset, Replica};
use crate::resp::{ArgRange, Proto};

/// A client's place in `Clients`; reused after it has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

bitflags! {
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ClientFlags: u32 {
        /// `M`: this node's master; its commands are the stream.
        const MASTER = 1 << 0;
        /// `S`: a slave of this node.
        const REPLICA = 1 << 1;
        /// `x`: in MULTI.
        const MULTI = 1 << 2;
        /// A command was refused while queueing: EXEC aborts.
        const DIRTY_EXEC = 1 << 3;
        /// `d`: a watched key has changed.
        const DIRTY_CAS = 1 << 4;
        /// `c`: closed once its replies are written.
        const CLOSE_AFTER_REPLY = 1 << 5;
        /// `A`: closed as soon as possible.
        const CLOSE_ASAP = 1 << 6;
        /// `U`
        const UNIX_SOCKET = 1 << 7;
        /// `e`: CLIENT NO-EVICT on.
        const NO_EVICT = 1 << 8;
        /// `b`: suspended in a blocking command; the bytes behind it wait.
        const BLOCKED = 1 << 9;
        /// `O`: MONITOR.
        const MONITOR = 1 << 10;
        /// `P`: subscribed.
        const PUBSUB = 1 << 11;
        /// Logged in, or no password is needed.
        const AUTHENTICATED = 1 << 12;
        /// Runs in this process, without a socket.
        const IN_PROCESS = 1 << 13;
        /// CLIENT NO-TOUCH on.
        const NO_TOUCH = 1 << 14;
        /// Stands in `NodeState::written` already.
        const PUSHED = 1 << 15;
    }
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    #[default]
    On,
    Off,
    /// The reply of CLIENT REPLY SKIP itself is not sent, nor the next one.
    SkipNext,
    SkipThis,
}

/// The commands that MULTI has queued, in one buffer.
#[derive(Default)]
pub struct Queued {
    pub bytes: Vec<u8>,
    pub ranges: Vec<ArgRange>,
    /// (row or subrow, number of the row, where its bytes start, range of its argument ranges)
    pub commands: Vec<(&'static Spec, usize, usize, std::ops::Range<usize>)>,
}

/// One client.
pub struct Client {
    /// Never reused; CLIENT ID.
    pub id: u64,
    pub addr: Addr,
    pub laddr: Addr,
    pub fd: i32,
    pub name: Vec<u8>,
    pub lib_name: Vec<u8>,
    pub lib_ver: Vec<u8>,
    pub user: String,
    pub db: DbIndex,
    pub proto: Proto,
    pub flags: ClientFlags,
    pub reply_mode: ReplyMode,
    pub queued: Queued,
    pub watched: Vec<(DbIndex, Vec<u8>)>,
    pub created_ms: i64,
    pub last_interaction_ms: i64,
    /// The last command's full name, for CLIENT LIST.
    pub last_command: Option<&'static Spec>,
    pub last_subcommand: Option<&'static Spec>,
    /// The stream's offset after its last write: what WAIT waits for.
    pub last_write: ReplOffset,
    /// Encoded replies that no socket has taken yet. The turn writes it out once, at its end.
    pub out: Vec<u8>,
    /// Total bytes in and out, commands.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub commands: u64,
    /// Bytes waiting in the query buffer and its capacity, as the connection last reported.
    pub query_buffer: usize,
    pub query_buffer_free: usize,
    /// Since when the output buffer is over its soft limit.
    pub soft_limit_since_ms: Option<i64>,
    /// What it has said as a slave.
    pub replica: Option<Box<Replica>>,
    /// Its part of `Clients::counted_bytes`.
    pub(super) counted_bytes: usize,
}

impl Client {
    pub fn new(id: u64, addr: Addr, laddr: Addr, fd: i32, now_ms: i64) -> Self {
        Client {
            id,
            addr,
            laddr,
            fd,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_ver: Vec::new(),
            user: "default".to_owned(),
            db: DbIndex(0),
            proto: Proto::Resp2,
            flags: ClientFlags::empty(),
            reply_mode: ReplyMode::On,
            queued: Queued::default(),
            watched: Vec::new(),
            created_ms: now_ms,
            last_interaction_ms: now_ms,
            last_command: None,
            last_subcommand: None,
            last_write: ReplOffset(0),
            out: Vec::new(),
            bytes_in: 0,
            bytes_out: 0,
            commands: 0,
            query_buffer: 0,
            query_buffer_free: 0,
            soft_limit_since_ms: None,
            replica: None,
            counted_bytes: 0,
        }
    }

    pub fn is(&self, flag: ClientFlags) -> bool {
        self.flags.contains(flag)
    }
}
