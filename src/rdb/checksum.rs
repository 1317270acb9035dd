//! CRC-64 as Redis computes it (Jones polynomial, reflected, starting at 0), sixteen bytes a step.

use crc::{CRC_64_REDIS, Crc, Digest, Table};

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

pub(super) type Checksum = Digest<'static, u64, Table<16>>;

pub(super) fn start() -> Checksum {
    CRC.digest()
}

/// Of bytes that are there as a whole.
pub fn crc64(bytes: &[u8]) -> u64 {
    CRC.checksum(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn check_value() {
        let mut checksum = super::start();
        checksum.update(b"12345");
        checksum.update(b"6789");
        assert_eq!(checksum.finalize(), 0xe9c6_d914_c4b8_d9ca);
    }
}
