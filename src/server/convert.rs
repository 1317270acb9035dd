//! Replies as the types of Rust.

use std::collections::BTreeMap;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::ClientError;
use crate::resp::{ReplyError, Value};
use crate::types::number::parse_i64;

/// What a reply can be turned into: numbers, strings, bytes, options, vectors, pairs, maps, and [`Value`] itself, which every reply is.
///
/// ```
/// use replikant::server::{FromValue, Value};
///
/// let reply = Value::Array(vec![Value::Bulk(b"7".to_vec()), Value::Null]);
/// assert_eq!(Vec::<Option<i64>>::from_value(reply)?, [Some(7), None]);
/// # Ok::<(), replikant::server::ClientError>(())
/// ```
pub trait FromValue: Sized {
    /// Converts one reply; an error reply is [`ClientError::Refused`].
    fn from_value(value: Value) -> Result<Self, ClientError>;

    /// Converts a reply into many of this type. Bytes and pairs have their own ways.
    #[doc(hidden)]
    fn many(value: Value) -> Result<Vec<Self>, ClientError> {
        match value {
            Value::Array(values) | Value::Set(values) | Value::Push(values) => values.into_iter().map(Self::from_value).collect(),
            Value::Null => Ok(Vec::new()),
            other => Err(ClientError::mismatch("array", &other)),
        }
    }
}

impl FromValue for Value {
    fn from_value(value: Value) -> Result<Self, ClientError> {
        match value {
            Value::Error(error) => Err(ClientError::Refused(error)),
            value => Ok(value),
        }
    }
}

impl FromValue for () {
    fn from_value(value: Value) -> Result<Self, ClientError> {
        Value::from_value(value).map(drop)
    }
}

/// For batches: an error is the result of one command and not of all.
impl<T: FromValue> FromValue for Result<T, ReplyError> {
    fn from_value(value: Value) -> Result<Self, ClientError> {
        match value {
            Value::Error(error) => Ok(Err(error)),
            value => T::from_value(value).map(Ok),
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Result<Self, ClientError> {
        match value {
            Value::Null => Ok(None),
            value => T::from_value(value).map(Some),
        }
    }
}

impl FromValue for bool {
    fn from_value(value: Value) -> Result<Self, ClientError> {
        match value {
            Value::Bool(value) => Ok(value),
            Value::Int(n) => Ok(n != 0),
            Value::Simple(_) => Ok(true),
            Value::Null => Ok(false),
            other => Err(ClientError::mismatch("boolean", &other)),
        }
    }
}

impl FromValue for i64 {
    fn from_value(value: Value) -> Result<Self, ClientError> {
        let parsed = match &value {
            Value::Int(n) => Some(*n),
            Value::Bulk(bytes) => parse_i64(bytes),
            _ => None,
        };
        parsed.ok_or_else(|| ClientError::mismatch("integer", &value))
    }
}

fn unsigned<T: TryFrom<i64>>(value: Value) -> Result<T, ClientError> {
    let found = value.kind();
    T::try_from(i64::from_value(value)?).map_err(|_| ClientError::Type { wanted: "integer without sign", found })
}

impl FromValue for u64 {
    fn from_value(value: Value) -> Result<Self, ClientError> {
        unsigned(value)
    }
}

impl FromValue for usize {
    fn from_value(value: Value) -> Result<Self, ClientError> {
        unsigned(value)
    }
}

impl FromValue for f64 {
    fn from_value(value: Value) -> Result<Self, ClientError> {
        let parsed = match &value {
            Value::Double(d) => Some(*d),
            Value::Int(n) => Some(*n as f64),
            Value::Bulk(bytes) => std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()),
            _ => None,
        };
        parsed.ok_or_else(|| ClientError::mismatch("double", &value))
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Result<Self, ClientError> {
        let found = value.kind();
        String::from_utf8(Vec::<u8>::from_value(value)?).map_err(|_| ClientError::Type { wanted: "text in UTF-8", found })
    }
}

/// A string's bytes, by way of [`FromValue::many`].
impl FromValue for u8 {
    fn from_value(value: Value) -> Result<Self, ClientError> {
        unsigned(value)
    }

    fn many(value: Value) -> Result<Vec<Self>, ClientError> {
        match value {
            Value::Bulk(bytes) | Value::Verbatim { text: bytes, .. } => Ok(bytes),
            Value::Simple(text) | Value::BigNumber(text) => Ok(text.into_bytes()),
            Value::Int(n) => Ok(n.to_string().into_bytes()),
            other => Err(ClientError::mismatch("string", &other)),
        }
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: Value) -> Result<Self, ClientError> {
        T::many(value)
    }
}

fn fixed<const N: usize>(value: Value) -> Result<[Value; N], ClientError> {
    match value {
        Value::Array(values) => <[Value; N]>::try_from(values).map_err(|_| ClientError::Type { wanted: "array of another length", found: "array" }),
        other => Err(ClientError::mismatch("array", &other)),
    }
}

/// Pairs are also what maps hold, and arrays that say key and value in turn.
impl<A: FromValue, B: FromValue> FromValue for (A, B) {
    fn from_value(value: Value) -> Result<Self, ClientError> {
        let [a, b] = fixed(value)?;
        Ok((A::from_value(a)?, B::from_value(b)?))
    }

    fn many(value: Value) -> Result<Vec<Self>, ClientError> {
        match value {
            Value::Map(pairs) => pairs.into_iter().map(|(a, b)| Ok((A::from_value(a)?, B::from_value(b)?))).collect(),
            Value::Array(values) if values.iter().all(|value| matches!(value, Value::Array(_))) => values.into_iter().map(Self::from_value).collect(),
            Value::Array(values) if values.len().is_multiple_of(2) => {
                let mut values = values.into_iter();
                let mut pairs = Vec::new();
                while let (Some(a), Some(b)) = (values.next(), values.next()) {
                    pairs.push((A::from_value(a)?, B::from_value(b)?));
                }
                Ok(pairs)
            }
            Value::Null => Ok(Vec::new()),
            other => Err(ClientError::mismatch("map", &other)),
        }
    }
}

impl<A: FromValue, B: FromValue, C: FromValue> FromValue for (A, B, C) {
    fn from_value(value: Value) -> Result<Self, ClientError> {
        let [a, b, c] = fixed(value)?;
        Ok((A::from_value(a)?, B::from_value(b)?, C::from_value(c)?))
    }
}

impl<A: FromValue, B: FromValue, C: FromValue, D: FromValue> FromValue for (A, B, C, D) {
    fn from_value(value: Value) -> Result<Self, ClientError> {
        let [a, b, c, d] = fixed(value)?;
        Ok((A::from_value(a)?, B::from_value(b)?, C::from_value(c)?, D::from_value(d)?))
    }
}

impl<K: FromValue + Ord, V: FromValue> FromValue for BTreeMap<K, V> {
    fn from_value(value: Value) -> Result<Self, ClientError> {
        Ok(<(K, V)>::many(value)?.into_iter().collect())
    }
}

/// A field or key, and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// A stream's key, and some of its entries.
pub type KeyEntries = (Vec<u8>, Vec<StreamEntry>);

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its id, such as `1526919030474-55`.
    pub id: String,
    /// Fields and values, in order.
    pub fields: Vec<Pair>,
}

impl FromValue for StreamEntry {
    fn from_value(value: Value) -> Result<Self, ClientError> {
        let [id, fields] = fixed(value)?;
        Ok(StreamEntry { id: String::from_value(id)?, fields: Pair::many(fields)? })
    }
}

/// A reply to come, as a type of Rust.
#[must_use = "the result, and errors, come when it is awaited"]
pub struct Typed<F, T> {
    reply: F,
    as_type: PhantomData<fn() -> T>,
}

impl<F, T> Typed<F, T> {
    pub(super) fn new(reply: F) -> Self {
        Typed { reply, as_type: PhantomData }
    }
}

impl<F, T> Future for Typed<F, T>
where
    F: Future<Output = Result<Value, ClientError>> + Unpin,
    T: FromValue,
{
    type Output = Result<T, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.reply).poll(cx)).and_then(T::from_value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::Bulk(text.as_bytes().to_vec())
    }

    #[test]
    fn replies_become_types() {
        assert_eq!(Vec::<u8>::from_value(bulk("ab")), Ok(b"ab".to_vec()));
        assert_eq!(Vec::<String>::from_value(Value::Set(vec![bulk("a"), bulk("b")])), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(Option::<String>::from_value(Value::Null), Ok(None));
        assert_eq!(bool::from_value(Value::Null), Ok(false));
        assert_eq!(f64::from_value(bulk("1.5")), Ok(1.5));
        let map = Value::Map(vec![(bulk("k"), Value::Int(1))]);
        assert_eq!(Vec::<(String, i64)>::from_value(map.clone()), Ok(vec![("k".to_owned(), 1)]));
        assert_eq!(BTreeMap::<String, u64>::from_value(map).map(|map| map["k"]), Ok(1));
        let flat = Value::Array(vec![bulk("k"), bulk("2")]);
        assert_eq!(Vec::<(String, i64)>::from_value(flat.clone()), Ok(vec![("k".to_owned(), 2)]));
        assert_eq!(<(String, i64)>::from_value(flat), Ok(("k".to_owned(), 2)));
        let nested = Value::Array(vec![Value::Array(vec![bulk("m"), Value::Double(0.5)])]);
        assert_eq!(Vec::<(String, f64)>::from_value(nested), Ok(vec![("m".to_owned(), 0.5)]));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        assert_eq!(i64::from_value(bulk("x")), Err(ClientError::Type { wanted: "integer", found: "string" }));
        assert!(u64::from_value(Value::Int(-1)).is_err());
        assert!(String::from_value(Value::Bulk(vec![0xff])).is_err());
        assert!(<(i64, i64)>::from_value(Value::Array(vec![Value::Int(1)])).is_err());
        let error = ReplyError::new("WRONGTYPE x");
        assert_eq!(<()>::from_value(Value::Error(error.clone())), Err(ClientError::Refused(error.clone())));
        let mixed = Value::Array(vec![Value::Error(error.clone()), Value::Int(1)]);
        assert_eq!(Vec::<Result<i64, ReplyError>>::from_value(mixed), Ok(vec![Err(error), Ok(1)]));
    }
}
