//! The process's memory allocator, which `main.rs` (or the host application) chooses: its name, and what it can be asked for.

/// What MEMORY PURGE and MALLOC-STATS ask.
pub trait Allocator: Send + Sync {
    fn name(&self) -> &str;
    /// Gives freed memory back to the system, soon and on another thread.
    fn purge(&self) {}
    /// A report for people, if it has one.
    fn stats(&self) -> Option<String> {
        None
    }
}

/// One that nothing is known of: the library works with any.
pub struct UnknownAllocator;

impl Allocator for UnknownAllocator {
    fn name(&self) -> &str {
        "libc"
    }
}
