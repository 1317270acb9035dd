//! The backlog and its spill against a plain vector; the PSYNC decision.

use super::backlog::BLOCK_BYTES;
use super::*;
use crate::env::SeededRandom;

fn stream() -> Stream {
    let mut stream = Stream::new(ReplId::random(&SeededRandom::from_seed(1)), 100_000);
    stream.activate(None);
    stream
}

fn kept(stream: &Stream, from: u64) -> Vec<u8> {
    let mut out = Vec::new();
    stream.backlog().unwrap().read(ReplOffset(from), |piece| {
        out.extend_from_slice(piece);
        true
    });
    out
}

#[test]
fn the_backlog_gives_back_every_byte_after_an_offset() {
    let mut stream = stream();
    let all: Vec<u8> = (0..1_000_000u32).flat_map(|n| n.to_le_bytes()).collect();
    let mut at = 0;
    for len in [1usize, 65_535, 65_536, 65_537, 300_000, 3] {
        stream.append(&all[at..at + len]);
        at += len;
        let first = stream.backlog().unwrap().first().before().0 as usize;
        assert_eq!(kept(&stream, first as u64), &all[first..at]);
        assert_eq!(kept(&stream, at as u64 - 1), &all[at - 1..at]);
        assert_eq!(kept(&stream, at as u64), b"");
        assert!(stream.backlog().unwrap().histlen() >= 100_000.min(at as u64));
    }
}

#[test]
fn blocks_stay_while_a_slave_wants_them() {
    let mut stream = stream();
    stream.hold_from(Some(ReplOffset(10)));
    stream.append(&vec![7; 1_000_000]);
    assert_eq!(kept(&stream, 10).len(), 999_990);
    // One that has just been told that it continues, before its session runs.
    stream.hold_from(Some(ReplOffset(1_000_000)));
    stream.hold_also(ReplOffset(900_000));
    stream.append(&vec![7; 1_000_000]);
    assert_eq!(kept(&stream, 900_000).len(), 1_100_000);
    for _ in 0..2_000_000 / BLOCK_BYTES {
        stream.hold_from(None);
    }
    assert!(stream.backlog().unwrap().histlen() < 100_000 + 2 * BLOCK_BYTES as u64);
}

#[test]
fn psync_is_decided_by_history_switch_and_backlog() {
    let random = SeededRandom::from_seed(2);
    let mut stream = stream();
    let old = stream.replid;
    stream.append(&[0; 50]);
    stream.shift_id(ReplId::random(&random));
    stream.append(&[0; 50]);
    let new = stream.replid;
    let ask = |id, pos| stream.decide(Some(id), StreamPos(pos));
    assert_eq!(ask(old, 51), PsyncDecision::Continue(ReplOffset(50)));
    assert_eq!(ask(old, 52), PsyncDecision::Full(PsyncRefusal::BeyondSwitch));
    assert_eq!(ask(new, 101), PsyncDecision::Continue(ReplOffset(100)));
    assert_eq!(ask(new, 102), PsyncDecision::Full(PsyncRefusal::OutOfBacklog));
    assert_eq!(ask(ReplId::random(&random), 1), PsyncDecision::Full(PsyncRefusal::OtherHistory));
    assert_eq!(stream.decide(None, StreamPos(0)), PsyncDecision::Full(PsyncRefusal::FirstSync));
}

/// A disk that is written late, in steps.
#[derive(Default)]
struct Disk {
    start: u64,
    bytes: Vec<u8>,
    queue: Vec<(ReplOffset, Vec<Bytes>)>,
}

impl Disk {
    /// Takes what is to be written; a new spill begins anew.
    fn take(&mut self, stream: &mut Stream) {
        if !stream.is_spilling() {
            *self = Disk::default();
        }
        if let Some((from, blocks)) = stream.take_to_spill() {
            if self.bytes.is_empty() && self.queue.is_empty() {
                self.start = from.0;
            }
            self.queue.push((from, blocks));
        }
    }

    fn write_one(&mut self, stream: &mut Stream) {
        if !stream.is_spilling() || self.queue.is_empty() {
            return;
        }
        let (from, blocks) = self.queue.remove(0);
        assert_eq!(from.0, self.start + self.bytes.len() as u64, "the file has no gaps");
        blocks.iter().for_each(|block| self.bytes.extend_from_slice(block));
        stream.spilled_to(ReplOffset(self.start + self.bytes.len() as u64));
    }
}

#[test]
fn any_slave_reads_the_same_bytes_whether_they_are_in_memory_or_spilled() {
    use crate::env::Random;
    for seed in 0..20 {
        let random = SeededRandom::from_seed(seed);
        let mut stream = Stream::new(ReplId::random(&random), 100_000);
        stream.activate(None);
        stream.set_spill_limits(200_000, 0);
        let (mut all, mut disk, mut spilled) = (Vec::<u8>::new(), Disk::default(), 0);
        let mut slaves = [0u64; 3];
        for _ in 0..400 {
            let piece: Vec<u8> = (0..random.below(150_000)).map(|n| (n * 7 + all.len() as u64) as u8).collect();
            stream.append(&piece);
            all.extend_from_slice(&piece);
            // One slave stands still for long, then hurries; one follows closely; one does anything.
            for (index, sent) in slaves.iter_mut().enumerate() {
                let most = [if all.len() > 9_000_000 { 900_000 } else { 0 }, u64::MAX, 250_000][index];
                let wanted = (random.below(300_000)).min(most);
                let end = (*sent + if most == u64::MAX { u64::MAX / 2 } else { wanted }).min(all.len() as u64);
                while *sent < end {
                    let in_file = stream.backlog().unwrap().spilled_after(ReplOffset(*sent));
                    let from = *sent as usize;
                    let n = if in_file > 0 {
                        let at = (*sent - disk.start) as usize;
                        let n = (in_file.min(end - *sent)) as usize;
                        assert_eq!(&disk.bytes[at..at + n], &all[from..from + n]);
                        n
                    } else {
                        let mut n = 0;
                        stream.backlog().unwrap().read(ReplOffset(*sent), |piece| {
                            assert_eq!(piece, &all[from..from + piece.len()]);
                            n = piece.len();
                            false
                        });
                        n.min((end - *sent) as usize)
                    };
                    *sent += n as u64;
                }
            }
            stream.hold_from(slaves.iter().min().map(|sent| ReplOffset(*sent)));
            disk.take(&mut stream);
            if random.below(3) > 0 {
                disk.write_one(&mut stream);
            }
            let backlog = stream.backlog().unwrap();
            spilled = spilled.max(backlog.spilled_bytes());
            assert!(backlog.first().before() <= ReplOffset(slaves.iter().copied().min().unwrap()));
            assert!(stream.spill_refusal().is_none() || !disk.queue.is_empty());
        }
        assert!(spilled > 1_000_000, "seed {seed}: {spilled}");
    }
}

/// A stream of which so much has been appended, a slave that has nothing, and a disk that writes all it gets.
fn behind(disk_bytes: u64, appended: usize, mut write: impl FnMut(&mut Stream)) -> Stream {
    let mut stream = stream();
    stream.set_spill_limits(1 << 20, disk_bytes);
    stream.hold_from(Some(ReplOffset(0)));
    for _ in 0..appended / BLOCK_BYTES {
        stream.append(&[7; BLOCK_BYTES]);
        write(&mut stream);
        if stream.spill_refusal().is_some() {
            break;
        }
    }
    stream
}

#[test]
fn memory_is_bounded_while_the_disk_takes_the_rest() {
    let mut disk = Disk::default();
    let stream = behind(0, 40 << 20, |stream| {
        disk.take(stream);
        disk.write_one(stream);
    });
    let backlog = stream.backlog().unwrap();
    assert_eq!(backlog.first(), StreamPos(1));
    assert_eq!(stream.decide(Some(stream.replid), StreamPos(1)), PsyncDecision::Continue(ReplOffset(0)));
    assert!(backlog.memory_bytes() < (2 << 20) + 100_000, "{}", backlog.memory_bytes());
    assert_eq!(stream.spill_refusal(), None);
}

#[test]
fn a_slave_is_given_up_with_the_reason_that_its_bytes_cannot_be_kept() {
    let of = |disk_bytes, write: &mut dyn FnMut(&mut Stream)| {
        let stream = behind(disk_bytes, 100 << 20, write);
        let backlog = stream.backlog().unwrap();
        (stream.spill_refusal().map(SpillRefusal::code), backlog.memory_bytes() >> 20)
    };
    let mut disk = Disk::default();
    let full = of(8 << 20, &mut |stream: &mut Stream| {
        disk.take(stream);
        disk.write_one(stream);
    });
    // Memory for a mebibyte, the backlog, and what may wait for the disk.
    assert_eq!(full, (Some("spill-disk-max"), 45));
    assert_eq!(of(0, &mut |stream: &mut Stream| drop(stream.take_to_spill())), (Some("spill-disk-slow"), 45));
    let failing = &mut |stream: &mut Stream| {
        if stream.take_to_spill().is_some() {
            stream.spill_failed();
        }
    };
    assert_eq!(of(0, failing), (Some("spill-disk-failed"), 45));
}

#[test]
fn segments_that_nobody_needs_are_forgotten() {
    let mut disk = Disk::default();
    let mut stream = behind(0, 60 << 20, |stream| {
        disk.take(stream);
        disk.write_one(stream);
    });
    assert_eq!(stream.trim_spill(), None);
    stream.hold_from(Some(ReplOffset(2 * SPILL_SEGMENT_BYTES + 5)));
    assert_eq!(stream.trim_spill(), Some(ReplOffset(2 * SPILL_SEGMENT_BYTES)));
    assert_eq!(stream.trim_spill(), None);
    assert_eq!(stream.backlog().unwrap().first(), StreamPos(2 * SPILL_SEGMENT_BYTES + 1));
    stream.hold_from(Some(stream.offset()));
    assert!(!stream.is_spilling());
    assert!(stream.backlog().unwrap().first() > StreamPos(50 << 20));
}
