//! The compact forms that RDB holds as one string: a whole small hash, list, set or sorted set, or a node of a list. Bytes to elements, every
//! byte checked as it is read; nothing is allocated, and no bytes make it panic.

mod intset;
#[cfg(test)]
mod tests;
mod ziplist;
mod zipmap;

use crate::types::listpack::{Elem, PackError, RedisElems};

/// Which form a string has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Since Redis 7.0.
    Listpack,
    /// Since Redis 2.0, until 6.2.
    Ziplist,
    /// Small hashes before Redis 2.6.
    Zipmap,
    /// Sets of integers.
    Intset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    #[error(transparent)]
    Listpack(#[from] PackError),
    #[error("{0:?} without its frame or of another length than it says")]
    Frame(Form),
    #[error("{0:?} with an unknown or cut element")]
    Element(Form),
    #[error("{0:?} with a wrong backward length")]
    Backlen(Form),
    #[error("{0:?} with another count than it says")]
    Count(Form),
    #[error("intset out of order")]
    Order,
}

/// The elements of a string in one of the forms. Ends behind the first error.
#[derive(Clone, Debug)]
pub(super) enum Elements<'a> {
    Listpack(RedisElems<'a>),
    Ziplist(ziplist::Elements<'a>),
    Zipmap(zipmap::Elements<'a>),
    Intset(intset::Elements<'a>),
}

impl<'a> Elements<'a> {
    /// Checks the frame.
    pub fn new(form: Form, bytes: &'a [u8]) -> Result<Self, CompactError> {
        Ok(match form {
            Form::Listpack => Elements::Listpack(RedisElems::new(bytes)?),
            Form::Ziplist => Elements::Ziplist(ziplist::Elements::new(bytes)?),
            Form::Zipmap => Elements::Zipmap(zipmap::Elements::new(bytes)?),
            Form::Intset => Elements::Intset(intset::Elements::new(bytes)?),
        })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Elem<'a>, CompactError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = match self {
            Elements::Listpack(elements) => return elements.next().map(|elem| Ok(elem?)),
            Elements::Ziplist(elements) => elements.step(),
            Elements::Zipmap(elements) => elements.step(),
            Elements::Intset(elements) => elements.step(),
        };
        if step.is_err() {
            *self = Elements::Intset(intset::Elements::default());
        }
        step.transpose()
    }
}

/// Takes `N` bytes from the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (front, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*front)
}

/// Takes `len` bytes from the front.
fn take_len<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (front, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(front)
}
