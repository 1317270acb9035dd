//! Threads that are not: workers live among the host's own tasks, jobs run one after the other on the same thread, each after a
//! seeded pause, so that the node's messages and a job's end meet in many orders.

use std::collections::VecDeque;
use std::io::{self, Cursor, Read};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use bytes::Bytes;
use tokio::time::Duration;

use crate::env::{Feed, Random, SeededRandom, Spawner};

type Job = Box<dyn FnOnce() + Send>;
type ReaderJob = Box<dyn FnOnce(Box<dyn Read + Send>) + Send>;

/// Jobs that a host has yet to run, in order.
#[derive(Default)]
pub(super) struct Jobs(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    runner: Option<Waker>,
}

impl Jobs {
    fn push(&self, job: Job) {
        let runner = {
            let mut queue = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            queue.jobs.push_back(job);
            queue.runner.take()
        };
        if let Some(runner) = runner {
            runner.wake();
        }
    }

    /// Forgets what has not begun, as a crash does.
    pub fn clear(&self) {
        let queue = std::mem::take(&mut *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        drop(queue);
    }

    async fn next(&self) -> Job {
        std::future::poll_fn(|cx| {
            let mut queue = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            match queue.jobs.pop_front() {
                Some(job) => Poll::Ready(job),
                None => {
                    queue.runner = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// Runs a host's jobs until its tasks are dropped. A job that panics ends alone, as a thread would.
pub(super) async fn run_jobs(jobs: Arc<Jobs>, random: SeededRandom) {
    loop {
        let job = jobs.next().await;
        tokio::time::sleep(Duration::from_micros(random.below(4000))).await;
        let _ = tokio::task::spawn_local(async move { job() }).await;
    }
}

/// One host's spawner.
pub struct SimSpawner {
    jobs: Arc<Jobs>,
}

impl SimSpawner {
    pub(super) fn new(jobs: Arc<Jobs>) -> Self {
        SimSpawner { jobs }
    }
}

impl Spawner for SimSpawner {
    /// Runs `start` at once: the worker's actors live in the caller's LocalSet, so there is no thread to end.
    fn spawn_worker(&self, _name: &str, start: Box<dyn FnOnce(Box<dyn FnOnce() + Send>) + Send>) -> io::Result<()> {
        start(Box::new(|| ()));
        Ok(())
    }

    fn spawn_job(&self, _name: &str, job: Job) -> io::Result<()> {
        self.jobs.push(job);
        Ok(())
    }

    fn spawn_reader(&self, _name: &str, job: ReaderJob) -> io::Result<Box<dyn Feed>> {
        Ok(Box::new(SimFeed { jobs: self.jobs.clone(), job: Some(job), bytes: Vec::new() }))
    }
}

/// Collects what a reading job will read. The job begins when the feed is finished or dropped.
struct SimFeed {
    jobs: Arc<Jobs>,
    job: Option<ReaderJob>,
    bytes: Vec<u8>,
}

impl SimFeed {
    fn start(&mut self, whole: bool) {
        if let Some(job) = self.job.take() {
            let reader = Collected { bytes: Cursor::new(std::mem::take(&mut self.bytes)), whole };
            self.jobs.push(Box::new(move || job(Box::new(reader))));
        }
    }
}

impl Feed for SimFeed {
    fn push(&mut self, bytes: Bytes) -> io::Result<usize> {
        self.bytes.extend_from_slice(&bytes);
        Ok(0)
    }

    /// Always 0: a caller that waited for the job to catch up would wait for ever.
    fn pending(&self) -> usize {
        0
    }

    fn finish(mut self: Box<Self>) {
        self.start(true);
    }
}

impl Drop for SimFeed {
    fn drop(&mut self) {
        self.start(false);
    }
}

struct Collected {
    bytes: Cursor<Vec<u8>>,
    whole: bool,
}

impl Read for Collected {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.bytes.read(buf)?;
        if n == 0 && !buf.is_empty() && !self.whole {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the feed was dropped"));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::World;

    #[test]
    fn jobs_run_in_order_after_the_caller() {
        let world = World::new(7);
        let host = world.host("a");
        let env = world.env(host);
        let log = Arc::new(Mutex::new(Vec::new()));
        world.run(async {
            for i in 0..5 {
                let log = log.clone();
                env.spawner.spawn_job("job", Box::new(move || log.lock().unwrap().push(i))).unwrap();
            }
            assert!(log.lock().unwrap().is_empty());
            tokio::time::sleep(Duration::from_millis(100)).await;
        });
        assert_eq!(*log.lock().unwrap(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_reader_gets_the_whole_feed_or_an_unexpected_end() {
        let world = World::new(7);
        let env = world.env(world.host("a"));
        let (sender, receiver) = std::sync::mpsc::channel();
        world.run(async {
            for finished in [true, false] {
                let sender = sender.clone();
                let job = move |mut reader: Box<dyn Read + Send>| {
                    let mut bytes = Vec::new();
                    let result = reader.read_to_end(&mut bytes).map_err(|error| error.kind());
                    sender.send((bytes, result)).unwrap();
                };
                let mut feed = env.spawner.spawn_reader("reader", Box::new(job)).unwrap();
                assert_eq!(feed.push(Bytes::from_static(b"ab")).unwrap(), 0);
                feed.push(Bytes::from_static(b"c")).unwrap();
                if finished {
                    feed.finish();
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        });
        assert_eq!(receiver.try_recv().unwrap(), (b"abc".to_vec(), Ok(3)));
        assert_eq!(receiver.try_recv().unwrap(), (b"abc".to_vec(), Err(io::ErrorKind::UnexpectedEof)));
    }

    #[test]
    fn a_crash_forgets_jobs_that_have_not_begun() {
        let world = World::new(7);
        let host = world.host("a");
        let env = world.env(host);
        let ran = Arc::new(Mutex::new(false));
        world.run(async {
            let ran = ran.clone();
            env.spawner.spawn_job("job", Box::new(move || *ran.lock().unwrap() = true)).unwrap();
            world.crash(host);
            tokio::time::sleep(Duration::from_millis(50)).await;
        });
        assert!(!*ran.lock().unwrap());
    }
}
