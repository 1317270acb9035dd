//! OBJECT: what the server knows of a value beside its contents.

use super::help::{container, help};
use super::key_range::key_range;
use super::{Acl, CmdResult, Ctx, Flags, Spec};
use crate::keyspace::Entry;
use crate::keyspace::eviction::idle_seconds;
use crate::resp::Reply;

/// Replies with what `show` says of the key; null if there is none.
fn describe(ctx: &mut Ctx<'_>, show: impl FnOnce(&Entry, &mut Reply) -> CmdResult) -> CmdResult {
    let key = ctx.key(2);
    ctx.inspect_with(key, |entry, out| match entry {
        Some(entry) => show(entry, out),
        None => {
            out.null();
            Ok(())
        }
    })
}

fn object_encoding(ctx: &mut Ctx<'_>) -> CmdResult {
    describe(ctx, |entry, out| {
        out.bulk(entry.encoding().as_bytes());
        Ok(())
    })
}

/// Entries share no values that a client could tell apart.
fn object_refcount(ctx: &mut Ctx<'_>) -> CmdResult {
    describe(ctx, |_, out| {
        out.int(1);
        Ok(())
    })
}

fn object_idletime(ctx: &mut Ctx<'_>) -> CmdResult {
    let (is_lfu, clock) = (ctx.node.config.maxmemory_policy.is_lfu(), ctx.node.keyspace.access_clock());
    describe(ctx, |entry, out| {
        if is_lfu {
            return Err(
                "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU \
                        and LFU data will take some time to adjust."
                    .into(),
            );
        }
        out.int(i64::from(idle_seconds(entry.lru(), clock)));
        Ok(())
    })
}

fn object_freq(ctx: &mut Ctx<'_>) -> CmdResult {
    let (is_lfu, lfu) = (ctx.node.config.maxmemory_policy.is_lfu(), ctx.node.lfu());
    describe(ctx, |entry, out| {
        if is_lfu {
            out.int(i64::from(lfu.counter(entry.lru())));
            return Ok(());
        }
        Err("ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime \
             LRU and LFU data will take some time to adjust."
            .into())
    })
}

fn object_help(ctx: &mut Ctx<'_>) -> CmdResult {
    help(
        ctx.out,
        "OBJECT",
        &[
            "ENCODING <key>",
            "    Return the kind of internal representation used in order to store the value",
            "    associated with a <key>.",
            "FREQ <key>",
            "    Return the access frequency index of the <key>. The returned integer is",
            "    proportional to the logarithm of the recent access frequency of the key.",
            "IDLETIME <key>",
            "    Return the idle time of the <key>, that is the approximated number of",
            "    seconds elapsed since the last access to the key.",
            "REFCOUNT <key>",
            "    Return the number of references of the value associated with the specified",
            "    <key>.",
        ],
    );
    Ok(())
}

const SUBCOMMANDS: &[Spec] = &[
    Spec::new("encoding", 3, Flags::READONLY, object_encoding)
        .keys(2, 2, 1)
        .key_specs(&[key_range(&["RO"], 2, 0, 1)])
        .acl(Acl::KEYSPACE)
        .tips(&["nondeterministic_output"])
        .docs("generic", "2.2.3", "O(1)", "Returns the internal encoding of a Redis object."),
    Spec::new("freq", 3, Flags::READONLY, object_freq)
        .keys(2, 2, 1)
        .key_specs(&[key_range(&["RO"], 2, 0, 1)])
        .acl(Acl::KEYSPACE)
        .tips(&["nondeterministic_output"])
        .docs("generic", "4.0.0", "O(1)", "Returns the logarithmic access frequency counter of a Redis object."),
    Spec::new("refcount", 3, Flags::READONLY, object_refcount)
        .keys(2, 2, 1)
        .key_specs(&[key_range(&["RO"], 2, 0, 1)])
        .acl(Acl::KEYSPACE)
        .tips(&["nondeterministic_output"])
        .docs("generic", "2.2.3", "O(1)", "Returns the reference count of a value of a key."),
    Spec::new("idletime", 3, Flags::READONLY, object_idletime)
        .keys(2, 2, 1)
        .key_specs(&[key_range(&["RO"], 2, 0, 1)])
        .acl(Acl::KEYSPACE)
        .tips(&["nondeterministic_output"])
        .docs("generic", "2.2.3", "O(1)", "Returns the time since the last access to a Redis object."),
    Spec::new("help", 2, Flags::LOADING.union(Flags::STALE), object_help).acl(Acl::KEYSPACE).docs(
        "generic",
        "6.2.0",
        "O(1)",
        "Returns helpful text about the different subcommands.",
    ),
];

pub(super) const ROWS: &[Spec] = &[Spec::new("object", -2, Flags::empty(), container).subcommands(SUBCOMMANDS).docs(
    "generic",
    "2.2.3",
    "Depends on subcommand.",
    "A container for object introspection commands.",
)];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;

    #[test]
    fn idle_time_counts_from_the_last_access() {
        let mut b = Bench::new();
        b.say("set a 1");
        b.pass_ms(2000);
        assert_eq!(b.say("object idletime a"), ":2");
        b.say("expire a 100");
        b.pass_ms(3000);
        assert_eq!(b.say("object idletime a"), ":3");
        b.say("exists a");
        assert_eq!(b.say("object idletime a"), ":3");
        for line in ["touch a", "get a", "set a 2", "set a abc", "append a d", "persist a", "copy a b"] {
            b.pass_ms(4000);
            b.say(line);
            assert_eq!(b.say("object idletime a"), ":0", "{line}");
        }
    }

    #[test]
    fn missing_keys_have_no_properties() {
        let mut b = Bench::new();
        for line in ["object encoding a", "object freq a", "object refcount a", "object idletime a"] {
            assert_eq!(b.say(line), "$-1", "{line}");
        }
        assert_eq!(b.say("object foo a"), "-ERR unknown subcommand 'foo'. Try OBJECT HELP.");
        b.say("set a 1");
        assert_eq!(b.say("object encoding a"), "$3 int");
        assert_eq!(b.say("object refcount a"), ":1");
        assert!(b.say("object freq a").starts_with("-ERR An LFU maxmemory policy is not selected"));
    }
}
