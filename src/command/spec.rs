//! What a row of the command table says.

use bitflags::bitflags;

use super::{CmdResult, Ctx};

/// Executes a command: replies into `ctx.out`, or returns the error to reply.
pub type Handler = fn(&mut Ctx<'_>) -> CmdResult;

bitflags! {
    /// The flags of COMMAND INFO, by the same names in lower case.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u32 {
        const WRITE = 1 << 0;
        const READONLY = 1 << 1;
        const DENYOOM = 1 << 2;
        const ADMIN = 1 << 3;
        const PUBSUB = 1 << 4;
        const NOSCRIPT = 1 << 5;
        const BLOCKING = 1 << 6;
        const LOADING = 1 << 7;
        const STALE = 1 << 8;
        const SKIP_MONITOR = 1 << 9;
        const SKIP_SLOWLOG = 1 << 10;
        const ASKING = 1 << 11;
        const FAST = 1 << 12;
        const NO_AUTH = 1 << 13;
        /// It is no write, and may yet put something into the stream. COMMAND INFO keeps it to itself.
        const MAY_REPLICATE = 1 << 14;
        const NO_ASYNC_LOADING = 1 << 15;
        const NO_MULTI = 1 << 16;
        const ALLOW_BUSY = 1 << 17;
        const MOVABLEKEYS = 1 << 18;
        const NO_MANDATORY_KEYS = 1 << 19;
    }
}

bitflags! {
    /// ACL categories, as COMMAND INFO lists them (`@write` and the like). `@read`, `@write`, `@admin` + `@dangerous`, `@fast`, `@slow`, `@blocking`, `@pubsub`
    /// follow from the flags as in Redis; a row names the others.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Acl: u32 {
        const KEYSPACE = 1 << 0;
        const READ = 1 << 1;
        const WRITE = 1 << 2;
        const SET = 1 << 3;
        const SORTEDSET = 1 << 4;
        const LIST = 1 << 5;
        const HASH = 1 << 6;
        const STRING = 1 << 7;
        const BITMAP = 1 << 8;
        const HYPERLOGLOG = 1 << 9;
        const GEO = 1 << 10;
        const STREAM = 1 << 11;
        const PUBSUB = 1 << 12;
        const ADMIN = 1 << 13;
        const FAST = 1 << 14;
        const SLOW = 1 << 15;
        const BLOCKING = 1 << 16;
        const DANGEROUS = 1 << 17;
        const CONNECTION = 1 << 18;
        const TRANSACTION = 1 << 19;
        const SCRIPTING = 1 << 20;
    }
}

/// What goes into the replication stream for a command that has changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagate {
    /// Nothing by itself.
    None,
    /// The request as it came, if the handler has counted changes (`NodeState::dirty`).
    Verbatim,
    /// What the handler has passed to `Ctx::propagate`.
    Effects,
}

/// Where a key spec begins to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    Index(i32),
    Keyword { keyword: &'static str, start_from: i32 },
    Unknown,
}

/// How a key spec finds its keys from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    Range { last: i32, step: i32, limit: i32 },
    KeyNum { keynum_index: i32, first_key: i32, step: i32 },
    Unknown,
}

/// One key spec, as COMMAND INFO shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// `RO`, `RW`, `OW`, `RM`, `access`, `update`, ... in Redis's order.
    pub flags: &'static [&'static str],
    pub begin: Begin,
    pub find: Find,
    pub notes: &'static str,
}

/// One row. Built by `Spec::new` and the `const` setters.
pub struct Spec {
    /// Lower case; of a subcommand only its own part.
    pub name: &'static str,
    /// As in Redis: with the name, negative for "at least".
    pub arity: i32,
    pub flags: Flags,
    /// Categories beyond those that follow from the flags.
    pub acl: Acl,
    /// First key, last key (negative from the end), step; zeros for none.
    pub keys: (i32, i32, i32),
    pub key_specs: &'static [KeySpec],
    pub propagate: Propagate,
    pub handler: Handler,
    pub subcommands: &'static [Spec],
    /// COMMAND DOCS: group, since, complexity, summary.
    pub group: &'static str,
    pub since: &'static str,
    pub complexity: &'static str,
    pub summary: &'static str,
    pub tips: &'static [&'static str],
}

impl Spec {
    pub const fn new(name: &'static str, arity: i32, flags: Flags, handler: Handler) -> Spec {
        let propagate = if flags.contains(Flags::WRITE) { Propagate::Verbatim } else { Propagate::None };
        Spec {
            name,
            arity,
            flags,
            acl: Acl::empty(),
            keys: (0, 0, 0),
            key_specs: &[],
            propagate,
            handler,
            subcommands: &[],
            group: "generic",
            since: "1.0.0",
            complexity: "",
            summary: "",
            tips: &[],
        }
    }
    pub const fn keys(mut self, first: i32, last: i32, step: i32) -> Spec {
        self.keys = (first, last, step);
        self
    }
    pub const fn key_specs(mut self, specs: &'static [KeySpec]) -> Spec {
        self.key_specs = specs;
        self
    }
    pub const fn acl(mut self, acl: Acl) -> Spec {
        self.acl = acl;
        self
    }
    pub const fn propagate(mut self, propagate: Propagate) -> Spec {
        self.propagate = propagate;
        self
    }
    pub const fn subcommands(mut self, rows: &'static [Spec]) -> Spec {
        self.subcommands = rows;
        self
    }
    pub const fn docs(mut self, group: &'static str, since: &'static str, complexity: &'static str, summary: &'static str) -> Spec {
        self.group = group;
        self.since = since;
        self.complexity = complexity;
        self.summary = summary;
        self
    }
    pub const fn tips(mut self, tips: &'static [&'static str]) -> Spec {
        self.tips = tips;
        self
    }
    /// Whether it runs a script or a function, which may take its time.
    pub fn runs_scripts(&self) -> bool {
        self.acl.contains(Acl::SCRIPTING) && self.flags.contains(Flags::SKIP_MONITOR)
    }
    /// Whether `argc` arguments, the name included, are a right number.
    pub fn arity_fits(&self, argc: usize) -> bool {
        if self.arity >= 0 { argc == self.arity as usize } else { argc >= (-self.arity) as usize }
    }
}
