//! What an allocator makes of a request, for values that count what they hold as it changes.

/// Steps of 16 bytes, then four classes to every doubling: mimalloc's and jemalloc's classes are these.
/// Computed, not asked of the allocator, so that a simulation counts the same everywhere.
#[inline]
pub fn size_class(bytes: usize) -> usize {
    if bytes <= 128 {
        return bytes.next_multiple_of(if bytes <= 8 { 8 } else { 16 });
    }
    let step = 1 << (usize::BITS - 1 - (bytes - 1).leading_zeros() - 2);
    bytes.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_the_allocators() {
        for (bytes, class) in
            [(0, 0), (8, 8), (9, 16), (88, 96), (96, 96), (97, 112), (128, 128), (129, 160), (2560, 2560), (4096, 4096), (4097, 5120)]
        {
            assert_eq!(size_class(bytes), class, "{bytes}");
        }
    }
}
