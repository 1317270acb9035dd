//! Replies in RESP2 and RESP3, and commands as requests (for the replication stream and for links).

/// The protocol that a client has chosen with HELLO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proto {
    #[default]
    Resp2,
    Resp3,
}

/// A buffer of encoded replies for one client. RESP3 types fall back to their RESP2 forms as in Redis.
#[derive(Default)]
pub struct Reply {
    pub buf: Vec<u8>,
    pub proto: Proto,
}

impl Reply {
    pub fn new(proto: Proto) -> Self {
        Reply { buf: Vec::new(), proto }
    }
    /// `+OK`
    pub fn ok(&mut self) {
        self.simple("OK");
    }
    /// `+text`
    pub fn simple(&mut self, text: &str) {
        let _ = text;
        todo!()
    }
    /// `-text`, where `text` begins with its code; CR and LF become spaces.
    pub fn error(&mut self, text: &str) {
        let _ = text;
        todo!()
    }
    /// `:n`
    pub fn int(&mut self, n: i64) {
        let _ = n;
        todo!()
    }
    /// `$len` and the bytes
    pub fn bulk(&mut self, bytes: &[u8]) {
        let _ = bytes;
        todo!()
    }
    /// An integer as a bulk string, as GET of an integer value.
    pub fn bulk_int(&mut self, n: i64) {
        let _ = n;
        todo!()
    }
    /// `$-1`, in RESP3 `_`
    pub fn null(&mut self) {
        todo!()
    }
    /// `*-1`, in RESP3 `_`
    pub fn null_array(&mut self) {
        todo!()
    }
    pub fn array(&mut self, len: usize) {
        let _ = len;
        todo!()
    }
    /// RESP3 `%pairs`, RESP2 an array of twice as many.
    pub fn map(&mut self, pairs: usize) {
        let _ = pairs;
        todo!()
    }
    /// RESP3 `~len`, RESP2 an array.
    pub fn set(&mut self, len: usize) {
        let _ = len;
        todo!()
    }
    /// RESP3 `>len`, RESP2 an array.
    pub fn push(&mut self, len: usize) {
        let _ = len;
        todo!()
    }
    /// RESP3 `,d`, RESP2 a bulk string; `inf`, `-inf`, `nan` spelled as in Redis; 17 significant digits, shortest that round-trips.
    pub fn double(&mut self, d: f64) {
        let _ = d;
        todo!()
    }
    /// RESP3 `#t`/`#f`, RESP2 `:1`/`:0`
    pub fn bool(&mut self, b: bool) {
        let _ = b;
        todo!()
    }
    /// RESP3 `=len fmt:text` (fmt of three letters, "txt"), RESP2 a bulk string.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        let _ = (format, text);
        todo!()
    }
    /// RESP3 `(digits`, RESP2 a bulk string.
    pub fn big_number(&mut self, digits: &str) {
        let _ = digits;
        todo!()
    }
}

/// Appends `*n $len arg ...` to `out`.
pub fn encode_command(out: &mut Vec<u8>, args: &[&[u8]]) {
    let _ = (out, args);
    todo!()
}
