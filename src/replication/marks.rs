//! When which bytes of the stream came to be, for a slave's lag in milliseconds: marks, finer for what is younger.

use std::collections::VecDeque;

use super::ReplOffset;

/// Marks of each fineness, and how far apart they are at least: those of the last seconds, and of the last hour.
const MARKS_MAX: usize = 1024;
const STEPS_MS: [i64; 2] = [5, 4000];

/// Bytes up to `end`, from where the mark before ends.
#[derive(Clone, Copy, Debug)]
struct Mark {
    end: ReplOffset,
    /// When the first of them came.
    ms: i64,
}

#[derive(Debug)]
struct Ring {
    step_ms: i64,
    marks: VecDeque<Mark>,
    /// Marks up to here are forgotten.
    from: ReplOffset,
}

impl Ring {
    fn note(&mut self, end: ReplOffset, now_ms: i64) {
        if let Some(last) = self.marks.back_mut()
            && now_ms - last.ms < self.step_ms
        {
            last.end = end;
            return;
        }
        if self.marks.len() == MARKS_MAX
            && let Some(first) = self.marks.pop_front()
        {
            self.from = first.end;
        }
        self.marks.push_back(Mark { end, ms: now_ms });
    }

    fn first_after(&self, offset: ReplOffset) -> Option<Mark> {
        self.marks.get(self.marks.partition_point(|mark| mark.end <= offset)).copied()
    }
}

#[derive(Debug)]
pub struct StreamMarks {
    end: ReplOffset,
    rings: [Ring; 2],
}

impl Default for StreamMarks {
    fn default() -> Self {
        let rings = STEPS_MS.map(|step_ms| Ring { step_ms, marks: VecDeque::new(), from: ReplOffset(0) });
        StreamMarks { end: ReplOffset(0), rings }
    }
}

impl StreamMarks {
    /// The stream is so long now. To be told whenever it has grown.
    pub fn note(&mut self, end: ReplOffset, now_ms: i64) {
        if end < self.end {
            // Another history.
            *self = StreamMarks::default();
        }
        if end != self.end {
            self.end = end;
            self.rings.iter_mut().for_each(|ring| ring.note(end, now_ms));
        }
    }

    /// How long ago the first byte came that a slave has not acknowledged; 0 when it has all. What is older than an hour is an hour old.
    pub fn lag_ms(&self, acknowledged: ReplOffset, now_ms: i64) -> i64 {
        let [fine, coarse] = &self.rings;
        let ring = if acknowledged >= fine.from { fine } else { coarse };
        ring.first_after(acknowledged).map_or(0, |mark| (now_ms - mark.ms).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_is_the_age_of_the_first_byte_that_is_lacking() {
        let mut marks = StreamMarks::default();
        assert_eq!(marks.lag_ms(ReplOffset(0), 5000), 0);
        for (end, ms) in [(100, 1000), (150, 1002), (150, 1500), (300, 2000)] {
            marks.note(ReplOffset(end), ms);
        }
        let lag = |marks: &StreamMarks, acknowledged| marks.lag_ms(ReplOffset(acknowledged), 3000);
        assert_eq!([0, 149, 150, 299, 300, 400].map(|acknowledged| lag(&marks, acknowledged)), [2000, 2000, 1000, 1000, 0, 0]);
        marks.note(ReplOffset(40), 2900);
        assert_eq!((lag(&marks, 0), lag(&marks, 40)), (100, 0), "another history");
    }

    #[test]
    fn marks_are_few_and_young_ones_are_fine() {
        let mut marks = StreamMarks::default();
        let now_ms = 10_000_000;
        for ms in (0..=now_ms).step_by(10) {
            marks.note(ReplOffset(ms as u64), ms);
        }
        assert!(marks.rings.iter().all(|ring| ring.marks.len() <= MARKS_MAX));
        for (behind_ms, error_ms) in [(100, 10), (4000, 10), (100_000, 4000), (900_000, 4000)] {
            let lag_ms = marks.lag_ms(ReplOffset((now_ms - behind_ms) as u64), now_ms);
            assert!((behind_ms - 10..=behind_ms + error_ms).contains(&lag_ms), "{lag_ms} for {behind_ms}");
        }
        assert!((3_600_000..now_ms).contains(&marks.lag_ms(ReplOffset(5), now_ms)));
    }
}
