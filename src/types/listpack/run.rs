//! A run of elements without a count in front, however many they are: what a stream's blocks are made of. A position is the byte offset of an
//! element. Runs from outside come in by `RedisElems`; on others the functions here panic.

use super::VALID;
use super::element::{Elem, Encoded, backlen_width, decode, entry_len, read_backlen};
use super::redis::{REDIS_END, REDIS_HEADER};

/// Appends an element.
pub fn push(run: &mut Vec<u8>, elem: Elem<'_>) {
    let encoded = Encoded::of(elem);
    let start = run.len();
    run.resize(start + encoded.len(), 0);
    encoded.write(&mut run[start..]);
}

/// The element at `pos` and the position behind it.
#[inline]
pub fn read(run: &[u8], pos: usize) -> (Elem<'_>, usize) {
    let (elem, entry) = decode(&run[pos..]).expect(VALID);
    (elem, pos + entry + backlen_width(entry))
}

/// The position behind `count` elements from `pos` on.
#[inline]
pub fn skip(run: &[u8], pos: usize, count: usize) -> usize {
    (0..count).fold(pos, |pos, _| {
        let entry = entry_len(&run[pos..]).expect(VALID);
        pos + entry + backlen_width(entry)
    })
}

/// The position `count` elements before `pos`.
#[inline]
pub fn skip_back(run: &[u8], pos: usize, count: usize) -> usize {
    (0..count).fold(pos, |pos, _| {
        let entry = read_backlen(&run[..pos]).expect(VALID);
        pos - backlen_width(entry) - entry
    })
}

/// Appends two runs, one behind the other, as one listpack in Redis's form.
pub fn to_redis(head: &[u8], tail: &[u8], out: &mut Vec<u8>) {
    let count = |run: &[u8]| {
        let (mut pos, mut count) = (0, 0);
        while pos < run.len() {
            pos = skip(run, pos, 1);
            count += 1;
        }
        count
    };
    let len = u32::try_from(redis_len(head.len() + tail.len())).expect("a listpack is shorter than 4 GiB");
    out.extend_from_slice(&len.to_le_bytes());
    // Redis's word for "more than fit in here".
    let count = u16::try_from(count(head) + count(tail)).unwrap_or(u16::MAX);
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(head);
    out.extend_from_slice(tail);
    out.push(REDIS_END);
}

/// Bytes of a listpack in Redis's form whose elements have `len`.
pub fn redis_len(len: usize) -> usize {
    REDIS_HEADER + len + 1
}
