//! (family)

use super::Spec;

pub(super) const ROWS: &[Spec] = &[];
