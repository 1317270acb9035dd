//! The master's end of a link: what is known of each slave.

use super::{Hold, ReplOffset, SyncId, SyncNumber};
use crate::keyspace::SnapshotId;
use crate::rdb::Dialect;

/// How far a slave is, as INFO names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// Has said REPLCONF but not PSYNC: not a slave yet.
    Handshake,
    /// `wait_bgsave`: waits for a snapshot to start or to grow.
    WaitSnapshot,
    /// `wait_bgsave`: its snapshot is being made, and will be sent when its length is known.
    Prepared,
    /// `send_bulk`: gets the snapshot.
    SendBulk,
    /// Has got the snapshot by `$EOF`; the stream waits for its first ACK. INFO shows `send_bulk`.
    WaitAck,
    /// `online`
    Online,
}

impl ReplicaState {
    pub fn info_name(self) -> &'static str {
        match self {
            ReplicaState::Handshake | ReplicaState::WaitSnapshot | ReplicaState::Prepared => "wait_bgsave",
            ReplicaState::SendBulk | ReplicaState::WaitAck => "send_bulk",
            ReplicaState::Online => "online",
        }
    }
}

/// What a slave has told by REPLCONF and PSYNC, and how far it is.
#[derive(Clone, Debug)]
pub struct Replica {
    pub state: ReplicaState,
    pub listening_port: u16,
    pub announced_ip: Option<String>,
    pub capa_eof: bool,
    pub capa_psync2: bool,
    /// It answers the marks of a verification.
    pub capa_verify: bool,
    /// Takes the snapshot in numbered chunks.
    pub capa_chunks: bool,
    /// The snapshot that a former link broke off, and the first chunk that has not come.
    pub resume: Option<(SyncId, u64)>,
    /// Asked by SYNC: no FULLRESYNC line, no ACKs.
    pub plain_sync: bool,
    pub ack_offset: ReplOffset,
    /// What it has in its append-only file, if it has one.
    pub aof_ack_offset: ReplOffset,
    pub ack_ms: i64,
    /// The next byte of the stream to send is the one after this.
    pub sent: ReplOffset,
    /// It has not yet been sent all there was after it acknowledged its sync: `client-output-buffer-limit` does not count.
    pub catching_up: bool,
    /// It has acknowledged something by this connection.
    pub has_acked: bool,
    /// Steady ms when its socket last took something.
    pub progress_ms: i64,
    /// The snapshot that it is being sent, until it acknowledges it.
    pub snapshot: Option<SnapshotId>,
    /// How much of its full sync is done, while one goes on.
    pub sync_permille: Option<u16>,
    /// Why it waits for its snapshot to begin.
    pub hold: Option<Hold>,
    /// How far in the present history it was when it asked for its sync, if it had any of it.
    pub has: Option<ReplOffset>,
    /// Its running sync.
    pub sync: Option<SyncNumber>,
    /// Bytes of the snapshot handed to its socket.
    pub snapshot_sent: u64,
    /// Why this node gives it up.
    pub lost_because: Option<String>,
    /// REPLCONF rdb-only etc. of newer peers are kept here as told.
    pub version: Option<String>,
}

impl Replica {
    /// All there is has been sent. While it loads its snapshot that is only what the sockets hold.
    pub fn note_all_sent(&mut self) {
        if self.has_acked || self.plain_sync {
            self.catching_up = false;
        }
    }

    /// It follows the stream.
    pub fn is_online(&self) -> bool {
        self.state == ReplicaState::Online
    }

    /// What it is known to understand: all, if it is of this kind. Stock Redis tells no version, and gets what the directive says; those that do are of Valkey.
    pub fn dialect(&self, untold: Dialect) -> Dialect {
        let mut numbers = self.version.iter().flat_map(|version| version.split('.')).map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            _ if self.capa_chunks && !self.plain_sync => Dialect::Full,
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (7, 2) => Dialect::V7_2,
            _ => untold,
        }
    }
}

impl Default for Replica {
    fn default() -> Self {
        Replica {
            state: ReplicaState::Handshake,
            listening_port: 0,
            announced_ip: None,
            capa_eof: false,
            capa_psync2: false,
            capa_verify: false,
            capa_chunks: false,
            resume: None,
            plain_sync: false,
            ack_offset: ReplOffset(0),
            aof_ack_offset: ReplOffset(0),
            ack_ms: 0,
            sent: ReplOffset(0),
            catching_up: false,
            has_acked: false,
            progress_ms: 0,
            snapshot: None,
            sync_permille: None,
            hold: None,
            has: None,
            sync: None,
            snapshot_sent: 0,
            lost_because: None,
            version: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_tell_dialects() {
        let of = |version: Option<&str>| Replica { version: version.map(str::to_owned), ..Replica::default() }.dialect(Dialect::V7_0);
        assert_eq!(["7.2.4", "8.1.0-rc1", "255.255.255"].map(|version| of(Some(version))), [Dialect::V7_2; 3]);
        assert_eq!([None, Some("7.0.15"), Some("6.9"), Some("8"), Some("new.8.2"), Some("")].map(of), [Dialect::V7_0; 6]);
        assert_eq!(Replica { capa_chunks: true, ..Replica::default() }.dialect(Dialect::Oldest), Dialect::Full);
    }
}
