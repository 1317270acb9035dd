//! The wire format of clients: requests in, replies out. Bytes only; a leaf.

mod decode;
mod encode;

pub use decode::{ArgRange, Args, Decoder, Limits, ProtocolError};
pub use encode::{Proto, Reply, encode_command};
