//! The wire format of clients: requests in, replies out. Bytes only; a leaf.

mod check;
mod decode;
mod encode;

#[doc(hidden)]
pub use check::check_requests;
pub use decode::{ArgRange, Args, Decoder, Limits, ProtocolError};
pub use encode::{Proto, Reply, encode_command};
