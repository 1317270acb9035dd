//! The compact block of a small hash: fields and values in turn (`Form::ListPack`), or fields, values and expiry times (`Form::ListPackEx`) in the
//! order in which they expire, as Redis has it: 0 stands for never, and is last.

use super::Field;
use crate::keyspace::UnixMs;
use crate::keyspace::entry::Form;
use crate::types::listpack::{Elem, Pack, PackMut};

const NEVER: i64 = 0;

/// A small hash, for reading.
#[derive(Clone, Copy)]
pub struct FieldPack<'a> {
    pack: Pack<'a>,
    /// Elements a field.
    width: usize,
}

fn width(form: Form) -> usize {
    if form == Form::ListPackEx { 3 } else { 2 }
}

fn moment(element: Elem<'_>) -> Option<UnixMs> {
    element.as_int().filter(|at| *at != NEVER).map(UnixMs)
}

impl<'a> FieldPack<'a> {
    pub fn new(form: Form, bytes: &'a [u8]) -> Self {
        FieldPack { pack: Pack::new(bytes), width: width(form) }
    }
    pub fn len(self) -> usize {
        self.pack.len() / self.width
    }
    pub fn is_empty(self) -> bool {
        self.pack.is_empty()
    }
    pub(super) fn find(self, name: &[u8]) -> Option<usize> {
        self.pack.find(name, self.width)
    }
    pub fn get(self, name: &[u8]) -> Option<Field<'a>> {
        self.find(name).map(|pos| self.at(pos).1)
    }
    /// The field at a position.
    fn at(self, pos: usize) -> (Elem<'a>, Field<'a>) {
        self.from(pos, self.width).next().expect("a field in the pack")
    }
    /// The field at an index.
    pub fn nth(self, index: usize) -> (Elem<'a>, Field<'a>) {
        self.at(self.pack.position(index * self.width).expect("a field in the pack"))
    }
    pub fn iter(self) -> impl Iterator<Item = (Elem<'a>, Field<'a>)> {
        self.from(self.pack.first().unwrap_or_default(), self.pack.len())
    }
    fn from(self, pos: usize, elements: usize) -> impl Iterator<Item = (Elem<'a>, Field<'a>)> {
        let mut rest = self.pack.entries_from(pos, elements).map(|(_, element)| element);
        std::iter::from_fn(move || {
            let name = rest.next()?;
            let value = rest.next().expect("a value behind every field");
            let expire = if self.width == 3 { moment(rest.next().expect("a time behind every value")) } else { None };
            Some((name, Field { value, expire }))
        })
    }
    /// Fields that expire before `now`: the first ones.
    pub(super) fn due_len(self, now: UnixMs) -> usize {
        self.iter().take_while(|(_, field)| field.is_due(now)).count()
    }
    pub fn next_expiry(self) -> Option<UnixMs> {
        if self.width != 3 {
            return None;
        }
        self.iter().next().and_then(|(_, field)| field.expire)
    }
}

/// A small hash, for changing.
pub(super) struct FieldPackMut<'a> {
    form: Form,
    bytes: &'a mut Vec<u8>,
}

impl<'a> FieldPackMut<'a> {
    pub(super) fn new(form: Form, bytes: &'a mut Vec<u8>) -> Self {
        FieldPackMut { form, bytes }
    }
    fn pack(&self) -> Pack<'_> {
        Pack::new(self.bytes)
    }
    fn behind(&self, pos: usize, elements: usize) -> usize {
        (0..elements).try_fold(pos, |at, _| self.pack().next(at)).unwrap_or(self.pack().end())
    }
    /// Puts a field in that is not there yet.
    pub(super) fn push(&mut self, name: &[u8], value: Elem<'_>, expire: Option<UnixMs>) {
        let mut pack = PackMut::new(self.bytes);
        let pos = pack.pack().end();
        pack.push_back(Elem::of(name));
        pack.push_back(value);
        if self.form == Form::ListPackEx {
            pack.push_back(Elem::Int(NEVER));
            self.set_expire(pos, expire);
        }
    }
    /// Changes the value of the field at `pos`.
    pub(super) fn set_value(&mut self, pos: usize, value: Elem<'_>) {
        let at = self.behind(pos, 1);
        PackMut::new(self.bytes).replace(at, value);
    }
    /// Changes the expiry of the field at `pos`, and moves it to where it belongs then: before those of the same moment, but behind all that do not
    /// expire if it does not.
    pub(super) fn set_expire(&mut self, pos: usize, expire: Option<UnixMs>) {
        assert!(self.form == Form::ListPackEx);
        let new = expire.map_or(NEVER, |at| at.0);
        let time = self.behind(pos, 2);
        if expire.is_none() && self.pack().at(time) == Elem::Int(NEVER) {
            return;
        }
        PackMut::new(self.bytes).replace(time, Elem::Int(new));
        let end = self.behind(time, 1);
        let target = expire.and_then(|at| self.first_from(at, pos)).unwrap_or(self.bytes.len());
        // Positions are in the pack, and a field's bytes do not depend on where they stand.
        if target < pos {
            self.bytes[target..end].rotate_right(end - pos);
        } else {
            self.bytes[pos..target].rotate_left(end - pos);
        }
    }
    /// Where the first field stands that does not expire before `at`, the one at `except` aside.
    fn first_from(&self, at: UnixMs, except: usize) -> Option<usize> {
        let mut elements = self.pack().entries();
        loop {
            let (pos, _) = elements.next()?;
            let (_, time) = elements.nth(1).expect("a time behind every value");
            if pos != except && moment(time).is_none_or(|other| other >= at) {
                return Some(pos);
            }
        }
    }
    pub(super) fn remove(&mut self, pos: usize) {
        PackMut::new(self.bytes).remove(pos, width(self.form));
    }
    /// Removes fields from the front on that expire before `now`, `max` at most; `each` is told their names.
    pub(super) fn take_due(&mut self, now: UnixMs, max: usize, each: &mut dyn FnMut(Elem<'_>)) -> usize {
        if self.form != Form::ListPackEx {
            return 0;
        }
        let pack = FieldPack::new(self.form, self.bytes);
        let due = pack.iter().take(max).take_while(|(_, field)| field.is_due(now));
        let count = due.map(|(name, _)| each(name)).count();
        if let Some(first) = self.pack().first().filter(|_| count > 0) {
            PackMut::new(self.bytes).remove(first, 3 * count);
        }
        count
    }
}

/// The block with a time behind each value: none expires yet.
pub(super) fn with_times(bytes: &[u8]) -> Vec<u8> {
    let mut timed = Vec::with_capacity(bytes.len() + 2 * Pack::new(bytes).len());
    let mut pack = PackMut::new(&mut timed);
    for (index, element) in Pack::new(bytes).iter().enumerate() {
        pack.push_back(element);
        if index % 2 == 1 {
            pack.push_back(Elem::Int(NEVER));
        }
    }
    timed
}
