//! Sorted integers in the fewest bytes each: a set of integers in its compact form.
//!
//! Layout: one byte, the width of a number (2, 4 or 8); then the numbers, ascending, little-endian. An empty set is no bytes at all.

use std::cmp::Ordering;

/// A set to read from.
#[derive(Clone, Copy)]
pub struct IntSet<'a>(&'a [u8]);

fn width_of(number: i64) -> usize {
    if i16::try_from(number).is_ok() {
        2
    } else if i32::try_from(number).is_ok() {
        4
    } else {
        8
    }
}

fn read(bytes: &[u8]) -> i64 {
    match *bytes {
        [a, b] => i16::from_le_bytes([a, b]).into(),
        [a, b, c, d] => i32::from_le_bytes([a, b, c, d]).into(),
        _ => i64::from_le_bytes(bytes.try_into().expect("a width of 2, 4 or 8")),
    }
}

impl<'a> IntSet<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        IntSet(body)
    }
    fn width(self) -> usize {
        self.0.first().map_or(2, |width| usize::from(*width))
    }
    fn numbers(self) -> &'a [u8] {
        self.0.get(1..).unwrap_or_default()
    }
    pub fn len(self) -> usize {
        self.numbers().len() / self.width()
    }
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
    /// In ascending order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + Clone + 'a {
        self.numbers().chunks_exact(self.width()).map(read)
    }
    pub fn get(self, index: usize) -> Option<i64> {
        self.numbers().chunks_exact(self.width()).nth(index).map(read)
    }
    /// Where the number is, or where it would be put.
    pub fn search(self, number: i64) -> Result<usize, usize> {
        let (width, numbers) = (self.width(), self.numbers());
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match read(&numbers[middle * width..(middle + 1) * width]).cmp(&number) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }
    pub fn contains(self, number: i64) -> bool {
        self.search(number).is_ok()
    }
}

/// Adds a number; false if it was there.
pub fn insert(body: &mut Vec<u8>, number: i64) -> bool {
    if body.is_empty() {
        body.push(2);
    }
    let Err(index) = IntSet::new(body).search(number) else { return false };
    if width_of(number) > IntSet::new(body).width() {
        widen(body, width_of(number));
    }
    let width = IntSet::new(body).width();
    let (at, end) = (1 + index * width, body.len());
    body.resize(end + width, 0);
    body.copy_within(at..end, at + width);
    body[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
    true
}

/// Removes a number; false if it was not there. The width stays, as in Redis.
pub fn remove(body: &mut Vec<u8>, number: i64) -> bool {
    let Ok(index) = IntSet::new(body).search(number) else { return false };
    let width = IntSet::new(body).width();
    body.drain(1 + index * width..1 + (index + 1) * width);
    if body.len() == 1 {
        body.clear();
    }
    true
}

fn widen(body: &mut Vec<u8>, width: usize) {
    let old = IntSet::new(body);
    let mut wide = Vec::with_capacity(1 + (old.len() + 1) * width);
    wide.push(width as u8);
    old.iter().for_each(|number| wide.extend_from_slice(&number.to_le_bytes()[..width]));
    *body = wide;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_model(steps in prop::collection::vec((any::<bool>(), prop_oneof![-5..5_i64, -40_000..40_000_i64, any::<i64>()]), 0..200)) {
            let (mut body, mut model) = (Vec::new(), BTreeSet::new());
            for (adds, number) in steps {
                if adds {
                    prop_assert_eq!(insert(&mut body, number), model.insert(number));
                } else {
                    prop_assert_eq!(remove(&mut body, number), model.remove(&number));
                }
                let set = IntSet::new(&body);
                prop_assert!(set.iter().eq(model.iter().copied()));
                prop_assert_eq!((set.len(), set.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!(set.contains(number), adds);
                prop_assert_eq!(set.get(model.len() / 2), model.iter().nth(model.len() / 2).copied());
            }
        }
    }
}
