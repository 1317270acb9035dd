//! The families, a file each.

mod bitmaps;
mod hyperloglog;
mod keys;
mod pubsub;
mod strings;
mod transactions;

use super::grammar::Family;

pub const ALL: &[&Family] = &[&keys::FAMILY, &strings::FAMILY, &bitmaps::FAMILY, &hyperloglog::FAMILY, &transactions::FAMILY, &pubsub::FAMILY];
