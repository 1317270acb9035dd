//! Values: what a key can hold. No commands, no keys. So far: strings.

pub mod bitfield;
pub mod bits;
pub mod glob;
pub mod hll;
pub mod long_double;
pub mod number;
pub mod split;
