//! Libraries of functions in a payload, as FUNCTION DUMP writes it and FUNCTION RESTORE reads it: the texts of the libraries as they stand in a
//! snapshot, with the footer of DUMP.

use super::dump::{Payload, RestoreError, add_footer};
use super::error::LoadCause;
use super::reader::Reader;
use super::writer::{Writer, WriterOptions};
use super::{STRING_BYTES_MAX, VERSION_OF_FUNCTIONS, opcode};

/// The payload of these libraries.
pub fn functions_payload<'a>(codes: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), WriterOptions { checksum: false, ..WriterOptions::default() });
    for code in codes {
        writer.library(code).expect("a vector takes everything");
    }
    writer.flush().expect("a vector takes everything");
    let mut payload = std::mem::take(writer.get_mut());
    // Every server that has functions restores it.
    add_footer(&mut payload, VERSION_OF_FUNCTIONS);
    payload
}

/// The texts of the libraries in a payload.
pub fn functions_of(payload: &[u8]) -> Result<Vec<Vec<u8>>, RestoreError> {
    let payload = Payload::new(payload)?;
    let bytes = payload.bytes();
    let mut reader = Reader::of_payload(bytes, payload.family());
    reader.limit_strings(STRING_BYTES_MAX);
    let mut codes = Vec::new();
    while reader.offset() < bytes.len() as u64 {
        let at = reader.offset();
        if reader.source.byte()? != opcode::FUNCTION2 {
            return Err(LoadCause::Corrupt("something else than a library of functions").at(at).into());
        }
        codes.push(reader.text()?.to_vec());
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::rdb::{Aux, Head, LoadOptions, load};

    #[test]
    fn libraries_stand_before_the_keys_of_a_snapshot() {
        let libraries = vec![b"#!lua name=a\n".to_vec(), vec![b'x'; 100_000]];
        let options = WriterOptions { version: VERSION_OF_FUNCTIONS, ..WriterOptions::default() };
        let mut writer = Writer::new(Vec::new(), options);
        writer.header(&Head { aux: Aux::written_at(1, 2), libraries: libraries.clone() }).unwrap();
        let at = writer.bytes();
        let (file, _) = writer.finish().unwrap();
        let loaded = load(file.as_slice(), &LoadOptions::new(1, 5), &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!((loaded.version, loaded.keys_loaded), (10, 0));
        assert!(loaded.libraries.iter().map(|library| &library.code).eq(&libraries));
        let offsets = loaded.libraries.iter().map(|library| file[library.offset as usize]).collect::<Vec<_>>();
        assert_eq!(offsets, [opcode::FUNCTION2; 2]);
        assert!(loaded.libraries[1].offset < at);
    }

    #[test]
    fn libraries_come_back_from_their_payload() {
        let codes = [b"#!lua name=a\n".to_vec(), vec![b'x'; 5000], Vec::new()];
        let payload = functions_payload(codes.iter().map(Vec::as_slice));
        assert_eq!(functions_of(&payload).unwrap(), codes);
        assert!(matches!(functions_of(&payload[1..]), Err(RestoreError::Footer)));
        assert_eq!(functions_of(&functions_payload(std::iter::empty())).unwrap(), Vec::<Vec<u8>>::new());
        let mut other = vec![0, 1, b'x'];
        add_footer(&mut other, VERSION_OF_FUNCTIONS);
        assert!(matches!(functions_of(&other), Err(RestoreError::Value(_))));
    }
}
