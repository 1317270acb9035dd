//! Values: what a key can hold, and what that is made of. No commands, no keys.

pub mod bitfield;
pub mod bits;
pub mod geo;
pub mod glob;
pub mod grisu;
pub mod histogram;
pub mod hll;
pub mod intset;
pub mod limits;
pub mod listpack;
pub mod long_double;
pub mod memory;
pub mod number;
pub mod sparkline;
pub mod split;
pub mod stream;
pub mod tree;
