//! The scripts that EVAL and SCRIPT LOAD have compiled, by their SHA-1. EVAL's own are forgotten when there are too many, the longest unused first; those
//! that SCRIPT LOAD has brought stay.

use std::collections::BTreeMap;
use std::rc::Rc;

use sha1::{Digest, Sha1};

use super::ScriptFlags;
use super::run::Running;
use crate::script::{Interpreter, Random, Script};

/// SHA-1 of a script's text.
pub(super) type Sha = [u8; 20];

/// Scripts of EVAL that are kept, as in Redis 7.4.
const EVALUATED_MAX: usize = 500;

/// What a script costs beyond its text, for INFO.
const OVERHEAD_BYTES: usize = 64;

#[derive(Clone)]
pub(super) struct Cached {
    pub script: Script,
    pub flags: Option<ScriptFlags>,
    body_len: usize,
    /// When it was last used, for one that may be forgotten.
    used: Option<u64>,
}

/// Everything about scripts that a node keeps.
#[derive(Default)]
pub struct Scripts {
    pub(super) interpreter: Option<Rc<Interpreter>>,
    pub(super) random: Rc<Random>,
    cached: BTreeMap<Sha, Cached>,
    evaluated: BTreeMap<u64, Sha>,
    uses: u64,
    body_bytes: usize,
    /// INFO evicted_scripts.
    pub evicted: u64,
    pub(super) running: Option<Running>,
}

pub(super) fn sha_of(body: &[u8]) -> Sha {
    Sha1::digest(body).into()
}

/// The forty digits of a SHA-1, in any case.
pub(super) fn parse_sha(text: &[u8]) -> Option<Sha> {
    let digits: &[u8; 40] = text.try_into().ok()?;
    let mut sha = [0; 20];
    for (byte, pair) in sha.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |c: u8| (c as char).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(sha)
}

impl Scripts {
    pub fn len(&self) -> usize {
        self.cached.len()
    }
    pub fn is_empty(&self) -> bool {
        self.cached.is_empty()
    }
    /// Whether a script runs now.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }
    /// What the interpreter holds.
    pub fn interpreter_bytes(&self) -> usize {
        self.interpreter.as_ref().map_or(0, |interpreter| interpreter.used_memory())
    }
    /// What the texts of the scripts hold here.
    pub fn cache_bytes(&self) -> usize {
        self.body_bytes + self.cached.len() * OVERHEAD_BYTES
    }

    pub(super) fn contains(&self, sha: &Sha) -> bool {
        self.cached.contains_key(sha)
    }

    /// What a script says of itself, if it is known and says something.
    pub(super) fn flags_of(&self, sha: &Sha) -> Option<ScriptFlags> {
        self.cached.get(sha)?.flags
    }

    /// A script that is to run.
    pub(super) fn find(&mut self, sha: &Sha) -> Option<Cached> {
        let found = self.cached.get_mut(sha)?;
        if let Some(used) = &mut found.used {
            self.evaluated.remove(used);
            self.uses += 1;
            *used = self.uses;
            self.evaluated.insert(self.uses, *sha);
        }
        Some(found.clone())
    }

    /// Keeps a new script. Those of EVAL make place for each other.
    pub(super) fn insert(&mut self, sha: Sha, script: Script, flags: Option<ScriptFlags>, body_len: usize, by_eval: bool) -> Cached {
        let mut used = None;
        if by_eval {
            while self.evaluated.len() >= EVALUATED_MAX
                && let Some((_, oldest)) = self.evaluated.pop_first()
            {
                if let Some(gone) = self.cached.remove(&oldest) {
                    self.body_bytes -= gone.body_len;
                    self.evicted += 1;
                }
            }
            self.uses += 1;
            self.evaluated.insert(self.uses, sha);
            used = Some(self.uses);
        }
        let cached = Cached { script, flags, body_len, used };
        self.body_bytes += body_len;
        let before = self.cached.insert(sha, cached.clone());
        assert!(before.is_none(), "a script is compiled once");
        cached
    }

    /// SCRIPT FLUSH: with the scripts goes the interpreter.
    pub(super) fn flush(&mut self) {
        let Scripts { random, uses, evicted, running, .. } = std::mem::take(self);
        *self = Scripts { random, uses, evicted, running, ..Scripts::default() };
    }
}
