//! What any bytes under a key are held to when HyperLogLog commands meet them: the fuzzer calls this with its inventions, a test with those that
//! it has kept.

use super::{cached, count, describe, invalidate, is_dense, is_valid, locate, raise, registers, set_cached, set_dense, to_dense};

/// The first byte chooses how long a sparse value may get. What is not refused keeps its registers in either encoding, and takes elements.
/// Panics where something is wrong.
pub fn check_value(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    if !is_valid(bytes) {
        return;
    }
    let mut value = bytes.to_vec();
    invalidate(&mut value);
    assert_eq!(cached(&value), None);
    let _ = describe(&value);
    let Ok(before) = registers(&value) else {
        assert!(count(&value).is_err(), "its registers can't be read");
        return;
    };
    let counted = count(&value).expect("its registers can be read");
    set_cached(&mut value, counted);
    if !is_dense(&value) {
        let mut dense = to_dense(&value).expect("its registers can be read");
        assert_eq!(registers(&dense).expect("dense values are whole"), before);
        set_dense(&mut dense, &before);
        assert_eq!(registers(&dense).expect("dense values are whole"), before);
    }
    let len = value.len();
    for n in 0..8u8 {
        let (index, wanted) = locate(&[choice, n]);
        if raise(&mut value, index, wanted, u64::from(choice) * 100).is_err() {
            return;
        }
        let after = registers(&value).expect("a value that has been changed is whole");
        assert!(after[index] >= wanted && after.iter().zip(&*before).all(|(after, before)| after >= before), "registers only rise");
    }
    assert!(value.len() <= len.max(super::DENSE_LEN) + 100, "no element takes more than a few bytes");
}
