//! The wire format of clients: requests in, replies out. Bytes only; a leaf.

mod check;
mod decode;
mod encode;
mod value;

#[doc(hidden)]
pub use check::check_requests;
pub use decode::{ArgRange, Args, Decoder, Limits, ProtocolError};
pub use encode::{Proto, Reply, encode_command};
pub use value::{ErrorKind, NotResp, ReplyError, Value, decode_value};
