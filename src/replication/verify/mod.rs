//! Comparing slaves with their master at one offset, while all of them serve: the cores, without actors.
//!
//! The master puts a mark into the stream (`scope`). At its place everybody begins a snapshot, whose chunks are digested instead of written (`digest`);
//! slaves tell up the link what they have found (`report`), and the master compares (`comparison`). Nothing is kept on the write path.

mod comparison;
mod digest;
mod report;
mod scope;
mod slot;

pub use comparison::{Compared, Comparison, Expected, Outcome, UNABLE, Verdict, Wrong};
pub use digest::{Digester, Findings, Found, Named, SlotDigest, TooMany};
pub use report::{Behind, Message, OPTION, Report, commands_of};
pub use scope::{Mark, Scope, SlotId};
pub use slot::{key_slot, ranges};

#[cfg(test)]
mod tests;
