//! Threads. In simulation everything runs on the caller's thread, in order.

use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;

/// Called once by a worker when it has nothing more to do: its thread ends.
pub type WorkerExit = Box<dyn FnOnce() + Send>;

/// Starts what must not run on the node's own thread.
pub trait Spawner: Send + Sync {
    /// Runs `start` on a thread that can run actors (a current-thread runtime with a LocalSet), until the exit is called.
    fn spawn_worker(&self, name: &str, start: Box<dyn FnOnce(WorkerExit) + Send>) -> io::Result<()>;

    /// Runs a job that computes or blocks (saving, freeing a big table).
    fn spawn_job(&self, name: &str, job: Box<dyn FnOnce() + Send>) -> io::Result<()>;

    /// Runs a job that reads bytes as they are fed. A simulated spawner collects the bytes and runs the job when
    /// the feed is finished.
    fn spawn_reader(&self, name: &str, job: Box<dyn FnOnce(Box<dyn Read + Send>) + Send>) -> io::Result<Box<dyn Feed>>;
}

/// The writing end of a job started by `spawn_reader`.
pub trait Feed: Send {
    /// Hands over bytes; never blocks. Returns how many bytes the job has not taken yet, for back-pressure.
    /// An error means that the job has ended early.
    fn push(&mut self, bytes: Bytes) -> io::Result<usize>;
    /// Bytes that the job has not taken yet.
    fn pending(&self) -> usize;
    /// The job sees the end of its input. Dropping the feed without it is an unexpected end.
    fn finish(self: Box<Self>);
}

/// How much a thread in the background yields to the one that serves clients, where cores are scarce.
const BACKGROUND_NICE: i32 = 10;

/// Lowers the calling thread's priority; on Linux that is a thread's own. Where it is refused, the thread works on as it is.
fn step_back() {
    // SAFETY: no memory is passed; 0 names the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, BACKGROUND_NICE) };
}

/// Whether the calling thread is on its way out of a panic.
pub fn is_unwinding() -> bool {
    std::thread::panicking()
}

/// The machine's threads.
pub struct RealSpawner;

impl Spawner for RealSpawner {
    fn spawn_worker(&self, name: &str, start: Box<dyn FnOnce(WorkerExit) + Send>) -> io::Result<()> {
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            step_back();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a current-thread runtime can be built");
            let (exit, exited) = tokio::sync::oneshot::channel::<()>();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                start(Box::new(move || {
                    let _ = exit.send(());
                }));
                let _ = exited.await;
            });
        })?;
        Ok(())
    }

    fn spawn_job(&self, name: &str, job: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            step_back();
            job();
        })?;
        Ok(())
    }

    fn spawn_reader(&self, name: &str, job: Box<dyn FnOnce(Box<dyn Read + Send>) + Send>) -> io::Result<Box<dyn Feed>> {
        let (sender, receiver) = channel();
        let pending = std::sync::Arc::new(Mutex::new(0usize));
        let reader = FedReader { receiver, pending: pending.clone(), current: Bytes::new(), finished: false };
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            step_back();
            job(Box::new(reader));
        })?;
        Ok(Box::new(ThreadFeed { sender, pending }))
    }
}

enum Fed {
    Bytes(Bytes),
    Finished,
}

struct ThreadFeed {
    sender: Sender<Fed>,
    pending: std::sync::Arc<Mutex<usize>>,
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the reading job has ended")
}

impl Feed for ThreadFeed {
    fn push(&mut self, bytes: Bytes) -> io::Result<usize> {
        let len = bytes.len();
        let pending = {
            let mut pending = self.pending.lock().unwrap_or_else(|p| p.into_inner());
            *pending += len;
            *pending
        };
        self.sender.send(Fed::Bytes(bytes)).map_err(|_| ended())?;
        Ok(pending)
    }

    fn pending(&self) -> usize {
        *self.pending.lock().unwrap_or_else(|p| p.into_inner())
    }

    fn finish(self: Box<Self>) {
        let _ = self.sender.send(Fed::Finished);
    }
}

struct FedReader {
    receiver: Receiver<Fed>,
    pending: std::sync::Arc<Mutex<usize>>,
    current: Bytes,
    finished: bool,
}

impl Read for FedReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            if self.finished {
                return Ok(0);
            }
            match self.receiver.recv() {
                Ok(Fed::Bytes(bytes)) => {
                    *self.pending.lock().unwrap_or_else(|p| p.into_inner()) -= bytes.len();
                    self.current = bytes;
                }
                Ok(Fed::Finished) => self.finished = true,
                Err(_) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the feed was dropped")),
            }
        }
        let n = buf.len().min(self.current.len());
        buf[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}
