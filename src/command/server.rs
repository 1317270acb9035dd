//! TIME, SAVE, BGSAVE, LASTSAVE, LOLWUT.

use slog::{error, info};

use super::{Acl, CmdResult, CommandError, Ctx, Flags, NodeState, Request, Spec};
use crate::persistence::{self, SaveError, SaveOptions, Saved};
use crate::rdb::Dialect;
use crate::types::number::parse_i64;

fn time(ctx: &mut Ctx<'_>) -> CmdResult {
    let now_us = ctx.node.env.clock.unix_us();
    ctx.out.array(2);
    ctx.out.bulk_int(now_us.div_euclid(1_000_000));
    ctx.out.bulk_int(now_us.rem_euclid(1_000_000));
    Ok(())
}

fn lastsave(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.int(ctx.node.save.last_save_unix);
    Ok(())
}

impl NodeState {
    /// Saves the whole keyspace before it returns: SAVE, SHUTDOWN, DEBUG RELOAD.
    pub fn save_now(&mut self) -> Result<Saved, SaveError> {
        self.tick();
        let options = SaveOptions { writer: self.writer_options(Dialect::Full), ..SaveOptions::default() };
        let head = self.snapshot_head(&options.writer);
        let saved = persistence::save(&self.env, &self.config.dir, &self.config.dbfilename, &mut self.keyspace, &head, options)?;
        info!(self.log, "DB saved on disk"; "keys" => saved.keys, "bytes" => saved.bytes);
        self.save.last_save_unix = self.now_ms / 1000;
        self.save.last_bgsave_ok = true;
        self.save.dirty_at_last_save = self.dirty;
        self.stats.snapshots += 1;
        Ok(saved)
    }
}

fn save(ctx: &mut Ctx<'_>) -> CmdResult {
    let node = &mut *ctx.node;
    if node.save.bgsave_started_ms.is_some() {
        return Err("ERR Background save already in progress".into());
    }
    if let Err(error) = node.save_now() {
        error!(node.log, "Error trying to save the DB"; "error" => %error);
        return Err("ERR".into());
    }
    ctx.out.ok();
    Ok(())
}

fn bgsave(ctx: &mut Ctx<'_>) -> CmdResult {
    match ctx.args.len() {
        1 => {}
        2 if ctx.args.at(1).eq_ignore_ascii_case(b"SCHEDULE") => {}
        _ => return Err(CommandError::SYNTAX),
    }
    let node = &mut *ctx.node;
    let in_exec = node.effects.depth > 1;
    let requested = node.requests.contains(&Request::BackgroundSave);
    if node.save.bgsave_started_ms.is_some() || (requested && !in_exec) {
        return Err("ERR Background save already in progress".into());
    }
    if !requested {
        node.requests.push(Request::BackgroundSave);
    }
    // Inside EXEC Redis only schedules it. Here a save always begins when the turn ends, so just the words differ.
    ctx.out.simple(if in_exec { "Background saving scheduled" } else { "Background saving started" });
    Ok(())
}

/// There is no append-only file yet: nothing would be rewritten.
fn bgrewriteaof(_: &mut Ctx<'_>) -> CmdResult {
    Err("ERR BGREWRITEAOF: appendonly is not available yet: persistence is by RDB files ('save') and replicas".into())
}

fn lolwut(ctx: &mut Ctx<'_>) -> CmdResult {
    if let (Some(option), Some(version)) = (ctx.args.get(1), ctx.args.get(2))
        && option.eq_ignore_ascii_case(b"VERSION")
    {
        parse_i64(version).ok_or(CommandError::NOT_INTEGER)?;
    }
    let text = format!("replikant {} (Redis ver. {})\n", env!("CARGO_PKG_VERSION"), crate::REDIS_VERSION_CLAIMED);
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("bgrewriteaof", 1, Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_ASYNC_LOADING), bgrewriteaof).docs(
        "server",
        "1.0.0",
        "O(1)",
        "Asynchronously rewrites the append-only file to disk.",
    ),
    Spec::new("bgsave", -1, Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_ASYNC_LOADING), bgsave).docs(
        "server",
        "1.0.0",
        "O(1)",
        "Asynchronously saves the database(s) to disk.",
    ),
    Spec::new("lastsave", 1, Flags::LOADING.union(Flags::STALE).union(Flags::FAST), lastsave)
        .acl(Acl::ADMIN.union(Acl::DANGEROUS))
        .docs("server", "1.0.0", "O(1)", "Returns the Unix timestamp of the last successful save to disk.")
        .tips(&["nondeterministic_output"]),
    Spec::new("lolwut", -1, Flags::READONLY.union(Flags::FAST), lolwut).docs("server", "5.0.0", "", "Displays computer art and the Redis version"),
    Spec::new("save", 1, Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_ASYNC_LOADING).union(Flags::NO_MULTI), save).docs(
        "server",
        "1.0.0",
        "O(N) where N is the total number of keys in all databases",
        "Synchronously saves the database(s) to disk.",
    ),
    Spec::new("time", 1, Flags::LOADING.union(Flags::STALE).union(Flags::FAST), time)
        .docs("server", "2.6.0", "O(1)", "Returns the server time.")
        .tips(&["nondeterministic_output"]),
];

#[cfg(test)]
mod tests {
    use super::super::NodeState;
    use super::*;

    #[test]
    fn a_second_background_save_is_refused() {
        let (mut node, slot) = NodeState::for_tests();
        assert_eq!(node.run(slot, &[b"BGSAVE", b"SCHEDULE"]), b"+Background saving started\r\n");
        assert_eq!(node.run(slot, &[b"BGSAVE"]), b"-ERR Background save already in progress\r\n");
        assert_eq!(node.requests, [Request::BackgroundSave]);
        node.requests.clear();
        node.save.bgsave_started_ms = Some(1);
        assert_eq!(node.run(slot, &[b"BGSAVE"]), b"-ERR Background save already in progress\r\n");
        assert!(node.requests.is_empty());
    }

    #[test]
    fn inside_exec_a_background_save_is_scheduled_once() {
        let (mut node, slot) = NodeState::for_tests();
        node.run(slot, &[b"MULTI"]);
        node.run(slot, &[b"BGSAVE"]);
        node.run(slot, &[b"BGSAVE"]);
        assert_eq!(node.run(slot, &[b"EXEC"]), b"*2\r\n+Background saving scheduled\r\n+Background saving scheduled\r\n");
        assert_eq!(node.requests, [Request::BackgroundSave]);
    }
}
