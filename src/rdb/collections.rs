//! Reading lists, sets, sorted sets and hashes, in every form that RDB has had for them. Streams are `stream.rs`'s.

use std::io::Read;

use super::compact::{Elements, Form};
use super::error::{LoadCause, LoadError};
use super::reader::Reader;
use super::types::Layout;
use super::value::{Part, Sink};
use crate::keyspace::{Kind, UnixMs};
use crate::types::listpack::{Elem, ElemBuf};
use crate::types::number::parse_f64;

const NO_VALUE: LoadCause = LoadCause::Corrupt("a field without a value");
const NO_SCORE: LoadCause = LoadCause::Corrupt("a score that is no number");
const NO_EXPIRY: LoadCause = LoadCause::Corrupt("a field's expiry that is no time");

impl<R: Read> Reader<R> {
    /// Reads a collection into `sink`, and tells of how many elements.
    pub(super) fn collection(&mut self, kind: Kind, layout: Layout, sink: &mut dyn Sink) -> Result<u64, LoadError> {
        sink.begin(kind);
        let mut parts = Parts { kind, count: 0, sink };
        match layout {
            Layout::Compact(_) => self.compact(layout, &mut parts)?,
            Layout::CompactExpires { least_in_front } => {
                if least_in_front {
                    self.source.array::<8>()?;
                }
                self.compact(layout, &mut parts)?;
            }
            _ => {
                let least = match layout {
                    Layout::ExpiresInFront { from_least: true } => i64::from_le_bytes(self.source.array()?),
                    _ => 0,
                };
                for _ in 0..self.plain_length()? {
                    let at = self.offset();
                    self.element(layout, least, &mut parts).map_err(|error| error.or_at(at))?;
                }
            }
        }
        Ok(parts.count)
    }

    /// One of a counted series.
    fn element(&mut self, layout: Layout, least: i64, parts: &mut Parts<'_>) -> Result<(), Refused> {
        match layout {
            Layout::Strings => Ok(parts.put(Part::Element(self.text()?))?),
            Layout::Nodes => Ok(self.compact(Layout::Compact(Form::Ziplist), parts)?),
            Layout::MarkedNodes => match self.plain_length()? {
                1 => Ok(parts.put(Part::Element(self.text()?))?),
                2 => Ok(self.compact(Layout::Compact(Form::Listpack), parts)?),
                _ => Err(LoadCause::Corrupt("unknown kind of a list's node").into()),
            },
            Layout::TextScores | Layout::BinaryScores => {
                self.hold_text()?;
                let score = match layout {
                    Layout::TextScores => self.text_score()?,
                    _ => f64::from_le_bytes(self.source.array()?),
                };
                if score.is_nan() {
                    return Err(NO_SCORE.into());
                }
                Ok(parts.put(Part::Member { member: &self.held, score })?)
            }
            Layout::Pairs => self.pair(None, parts),
            Layout::ExpiresInFront { from_least } => {
                let expire = match (self.plain_length()?, from_least) {
                    (0, _) => None,
                    (at, false) => Some(i64::try_from(at).map_err(|_| NO_EXPIRY)?),
                    (behind, true) => Some(least.checked_add_unsigned(behind - 1).filter(|at| *at > 0).ok_or(NO_EXPIRY)?),
                };
                self.pair(expire.map(UnixMs), parts)
            }
            Layout::ExpiresBehind => self.expires_behind(parts),
            Layout::Compact(_) | Layout::CompactExpires { .. } => unreachable!("not a counted series"),
        }
    }

    fn pair(&mut self, expire: Option<UnixMs>, parts: &mut Parts<'_>) -> Result<(), Refused> {
        self.hold_text()?;
        self.hold_second_text()?;
        Ok(parts.put(Part::Field { field: &self.held, value: &self.held_second, expire })?)
    }

    fn expires_behind(&mut self, parts: &mut Parts<'_>) -> Result<(), Refused> {
        self.hold_text()?;
        self.hold_second_text()?;
        let expire = match i64::from_le_bytes(self.source.array()?) {
            -1 => None,
            at if at > 0 => Some(UnixMs(at)),
            _ => return Err(NO_EXPIRY.into()),
        };
        Ok(parts.put(Part::Field { field: &self.held, value: &self.held_second, expire })?)
    }

    /// A score as a length and its text, or a number that stands for one that is not finite.
    fn text_score(&mut self) -> Result<f64, Refused> {
        Ok(match self.source.byte()? {
            255 => f64::NEG_INFINITY,
            254 => f64::INFINITY,
            253 => return Err(NO_SCORE.into()),
            len => parse_f64(self.source.take(usize::from(len))?).ok_or(NO_SCORE)?,
        })
    }

    /// One string with all or some of the elements.
    fn compact(&mut self, layout: Layout, parts: &mut Parts<'_>) -> Result<(), LoadError> {
        let at = self.offset();
        let bytes = self.text()?;
        let given = match layout {
            Layout::Compact(form) => Elements::new(form, bytes).map_err(LoadCause::from).and_then(|elements| parts.compact(elements)),
            _ => Elements::new(Form::Listpack, bytes).map_err(LoadCause::from).and_then(|elements| parts.threes(elements)),
        };
        given.map_err(|cause| cause.at(at))
    }
}

/// The sink, and how many elements it has been given.
struct Parts<'s> {
    kind: Kind,
    count: u64,
    sink: &'s mut dyn Sink,
}

impl Parts<'_> {
    fn put(&mut self, part: Part<'_>) -> Result<(), LoadCause> {
        self.count += 1;
        self.sink.part(part)
    }

    fn compact(&mut self, mut elements: Elements<'_>) -> Result<(), LoadCause> {
        let (mut first, mut second) = (ElemBuf::new(), ElemBuf::new());
        while let Some(elem) = elements.next().transpose()? {
            let text = elem.bytes(&mut first);
            match self.kind {
                Kind::Hash => {
                    let value = elements.next().transpose()?.ok_or(NO_VALUE)?.bytes(&mut second);
                    self.put(Part::Field { field: text, value, expire: None })?;
                }
                Kind::ZSet => {
                    let score = elements.next().transpose()?.and_then(score).ok_or(NO_SCORE)?;
                    self.put(Part::Member { member: text, score })?;
                }
                _ => self.put(Part::Element(text))?,
            }
        }
        Ok(())
    }

    fn threes(&mut self, mut elements: Elements<'_>) -> Result<(), LoadCause> {
        let (mut first, mut second) = (ElemBuf::new(), ElemBuf::new());
        while let Some(field) = elements.next().transpose()? {
            let value = elements.next().transpose()?.ok_or(NO_VALUE)?.bytes(&mut second);
            let expire = match elements.next().transpose()?.and_then(Elem::as_int) {
                Some(0) => None,
                Some(at) if at > 0 => Some(UnixMs(at)),
                _ => return Err(NO_EXPIRY),
            };
            self.put(Part::Field { field: field.bytes(&mut first), value, expire })?;
        }
        Ok(())
    }
}

fn score(elem: Elem<'_>) -> Option<f64> {
    match elem {
        Elem::Int(number) => Some(number as f64),
        Elem::Bytes(text) => parse_f64(text),
    }
}

/// A cause whose place is yet to be told, or an error that has one.
pub(super) enum Refused {
    Here(LoadCause),
    There(LoadError),
}

impl Refused {
    pub fn or_at(self, offset: u64) -> LoadError {
        match self {
            Refused::Here(cause) => cause.at(offset),
            Refused::There(error) => error,
        }
    }
}

impl From<LoadCause> for Refused {
    fn from(cause: LoadCause) -> Self {
        Refused::Here(cause)
    }
}

impl From<LoadError> for Refused {
    fn from(error: LoadError) -> Self {
        Refused::There(error)
    }
}
