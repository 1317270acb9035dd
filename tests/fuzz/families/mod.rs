//! The families, a file each.

mod bitmaps;
mod geo;
mod hashes;
mod hyperloglog;
mod keys;
mod lists;
mod pubsub;
mod scripts;
mod sets;
mod sort;
mod streams;
mod strings;
mod transactions;
mod zsets;

use super::grammar::Family;

/// The commands on all keys first: they go with every other family.
pub const ALL: &[&Family] = &[
    &keys::FAMILY,
    &strings::FAMILY,
    &bitmaps::FAMILY,
    &hyperloglog::FAMILY,
    &transactions::FAMILY,
    &pubsub::FAMILY,
    &sets::FAMILY,
    &hashes::FAMILY,
    &lists::FAMILY,
    &zsets::FAMILY,
    &geo::FAMILY,
    &streams::FAMILY,
    &sort::FAMILY,
    &scripts::FAMILY,
];
