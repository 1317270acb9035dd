//! Up to which image the buckets of a segment have been captured.

/// One number while it is the same for all of a segment's buckets, as it is when no snapshot runs; else one a bucket.
pub(super) struct Epochs {
    all: u64,
    buckets: Option<Box<[u64]>>,
}

impl Epochs {
    pub(super) fn new(all: u64) -> Self {
        Epochs { all, buckets: None }
    }
    #[inline]
    pub(super) fn of(&self, bucket: usize) -> u64 {
        match &self.buckets {
            None => self.all,
            Some(buckets) => buckets[bucket],
        }
    }
    /// Sets a bucket's epoch, in a segment of `count` buckets.
    pub(super) fn raise(&mut self, bucket: usize, epoch: u64, count: usize) {
        let all = self.all;
        self.buckets.get_or_insert_with(|| vec![all; count].into())[bucket] = epoch;
    }
    /// Whether every bucket's is at least `epoch`. Goes back to one number if they are all the same.
    pub(super) fn settle(&mut self, epoch: u64) -> bool {
        let Some(buckets) = &self.buckets else { return self.all >= epoch };
        if buckets.iter().all(|e| *e == buckets[0]) {
            self.all = buckets[0];
            self.buckets = None;
            return self.all >= epoch;
        }
        buckets.iter().all(|e| *e >= epoch)
    }
}
