//! The replication core, without I/O and actors: the stream with its numbering and backlog, the PSYNC decision, the state of both ends
//! of a link, the words on the wire.

mod admission;
mod backoff;
mod chunks;
mod events;
mod failover;
mod framing;
mod handshake;
mod history;
mod id;
mod link;
mod marks;
mod replicas;
mod safe_swap;
mod send_rate;
mod sending;
mod shared_snapshot;
mod stream;
pub mod verify;

pub use admission::{Admission, AdmissionRules, Hold};
pub use backoff::{Backoff, Pace};
pub use chunks::{CHUNK_BYTES, CHUNKS_HEADER, ChunkFraming, ChunkPos, Chunked, SyncId};
pub use events::{Events, LinkDownCause, NodeEvent};
pub use failover::{Candidate, Failover, FailoverStep};
pub use framing::{Framed, SnapshotForm, SnapshotFraming};
pub use handshake::{HandshakeOptions, LinkError, LinkEvent, ReplicaHandshake};
pub use history::{Direction, Moment, SyncHistory, SyncNumber, SyncOutcome, SyncReason, SyncRecord};
pub use id::{ReplId, ReplOffset, StreamPos};
pub use link::{LinkState, MasterLink, Role};
pub use marks::StreamMarks;
pub use replicas::{Replica, ReplicaState};
pub use safe_swap::{Held, SyncRefusal};
pub use send_rate::SendRate;
pub use sending::{Made, Next, SendFraming, SendingFrame};
pub use shared_snapshot::{SharedSnapshot, StreamKept};
pub use stream::{Backlog, GETACK, PsyncDecision, PsyncRefusal, SPILL_SEGMENT_BYTES, SpillLimits, SpillRefusal, Stream};
