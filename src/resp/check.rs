//! What any bytes a client may send are held to: the fuzzer calls this with its inventions, a test with those that it has kept.

use super::{ArgRange, Args, Decoder, Limits, encode_command};

/// Reads `data` as requests at once, byte by byte, and in a few pieces; all must agree, and a request that is encoded again must read the same.
/// The first byte chooses the limits. Panics where something is wrong.
pub fn check_requests(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let limits = Limits {
        bulk_bytes_max: if choice & 1 == 0 { 512 << 20 } else { 64 },
        args_max: if choice & 2 == 0 { i32::MAX as usize } else { 8 },
        line_bytes_max: if choice & 4 == 0 { 64 * 1024 } else { 16 },
        unauthenticated: choice & 8 != 0,
    };
    let at_once = requests(bytes, bytes.len().max(1), &limits);
    for step in [1, 3, 7 + usize::from(choice)] {
        assert_eq!(requests(bytes, step, &limits), at_once, "in pieces of {step}");
    }
    let generous = Limits::new(512 << 20, false);
    let whole: Vec<Vec<Vec<u8>>> = at_once.0.into_iter().filter(|request| !request.is_empty()).collect();
    let mut encoded = Vec::new();
    for request in &whole {
        encode_command(&mut encoded, &request.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
    assert_eq!(requests(&encoded, encoded.len().max(1), &generous), (whole, None), "what is encoded reads the same");
}

type Requests = (Vec<Vec<Vec<u8>>>, Option<String>);

/// The requests in `bytes` as they come `step` bytes at a time, and the error that ends them.
fn requests(bytes: &[u8], step: usize, limits: &Limits) -> Requests {
    let (mut decoder, mut ranges, mut requests) = (Decoder::default(), Vec::<ArgRange>::new(), Vec::new());
    let (mut start, mut end) = (0, 0);
    while end < bytes.len() {
        end = (end + step).min(bytes.len());
        loop {
            let buf = &bytes[start..end];
            match decoder.decode(buf, limits, &mut ranges) {
                Ok(Some(len)) => {
                    assert!(0 < len && len <= buf.len(), "a request of {len} bytes in {}", buf.len());
                    let args = Args::new(decoder.inline_bytes().unwrap_or(buf), &ranges);
                    requests.push(args.iter().map(<[u8]>::to_vec).collect());
                    start += len;
                }
                Ok(None) => break,
                Err(error) => return (requests, Some(error.0)),
            }
        }
    }
    (requests, None)
}
