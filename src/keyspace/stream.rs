//! Streams. Their value is `types::stream`'s, in one piece however small.

use super::Kind;
use super::big::{Big, BigBox, Value};
use super::db::Db;
use super::entry::{Entry, Key, ValueRef};
use crate::types::limits::Limits;
use crate::types::stream::{NodeLimits, Stream};

impl Entry {
    /// The value if it is a stream.
    pub fn stream(&self) -> Option<&Stream> {
        match self.value() {
            ValueRef::Big(Big::Stream(stream)) => Some(stream),
            _ => None,
        }
    }
}

impl Value {
    pub(super) fn new_stream() -> Self {
        Value::Big(BigBox::new(Big::Stream(Stream::new())))
    }
    pub(super) fn stream_mut(&mut self) -> &mut Stream {
        match self {
            Value::Big(big) => match big.get_mut() {
                Big::Stream(stream) => stream,
                _ => unreachable!("a stream has a stream's form"),
            },
            Value::Block(..) => unreachable!("a stream has no compact form"),
        }
    }
}

impl Db {
    /// Changes a stream, or creates it when `create` says so; an emptied one stays. `None` if there is none. The key must not hold another type.
    pub fn edit_stream<R>(&mut self, key: Key<'_>, create: bool, change: impl FnOnce(&mut Stream, NodeLimits) -> R) -> Option<R> {
        let edited = self.edit_collection(key, Kind::Stream, create, |value, limits, _| {
            if let Value::Block(..) = value {
                *value = Value::new_stream();
            }
            change(value.stream_mut(), node_limits(limits))
        });
        edited.map(|edited| edited.result)
    }
}

fn node_limits(limits: &Limits) -> NodeLimits {
    NodeLimits { bytes: limits.stream_node_bytes, entries: limits.stream_node_entries }
}
