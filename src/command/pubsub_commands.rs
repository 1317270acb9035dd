//! SUBSCRIBE, PUBLISH, PUBSUB and their kin. The subscriptions themselves are in `pubsub`.

use super::help::{container, help};
use super::key_range::key_range;
use super::pubsub::Space;
use super::{CmdResult, Ctx, Flags, KeySpec, ReplyMode, Spec};
use crate::types::glob;

/// Says that a subscription has begun or ended. CLIENT REPLY OFF does not silence it, as it would a reply.
fn confirm(ctx: &mut Ctx<'_>, what: &str, space: Space, name: Option<&[u8]>) {
    let count = ctx.node.pubsub.shown_count(ctx.slot, space) as i64;
    let from = ctx.out.buf.len();
    ctx.out.push(3);
    ctx.out.bulk(what.as_bytes());
    match name {
        Some(name) => ctx.out.bulk(name),
        None => ctx.out.null(),
    }
    ctx.out.int(count);
    if ctx.client().reply_mode != ReplyMode::On {
        let bytes = ctx.out.buf.split_off(from);
        ctx.node.push(ctx.slot, &bytes);
    }
}

fn subscribe_to(ctx: &mut Ctx<'_>, space: Space) -> CmdResult {
    let args = ctx.args;
    for name in args.tail(1).iter() {
        ctx.node.subscribe(ctx.slot, space, name);
        confirm(ctx, ctx.spec.name, space, Some(name));
    }
    Ok(())
}

fn unsubscribe_from(ctx: &mut Ctx<'_>, space: Space) -> CmdResult {
    let args = ctx.args;
    for name in args.tail(1).iter() {
        ctx.node.unsubscribe(ctx.slot, space, name);
        confirm(ctx, ctx.spec.name, space, Some(name));
    }
    if args.len() > 1 {
        return Ok(());
    }
    let all = ctx.node.pubsub.of(space).of(ctx.slot);
    for name in &all {
        ctx.node.unsubscribe(ctx.slot, space, name);
        confirm(ctx, ctx.spec.name, space, Some(name));
    }
    if all.is_empty() {
        confirm(ctx, ctx.spec.name, space, None);
    }
    Ok(())
}

fn subscribe(ctx: &mut Ctx<'_>) -> CmdResult {
    subscribe_to(ctx, Space::Channels)
}

fn unsubscribe(ctx: &mut Ctx<'_>) -> CmdResult {
    unsubscribe_from(ctx, Space::Channels)
}

fn psubscribe(ctx: &mut Ctx<'_>) -> CmdResult {
    subscribe_to(ctx, Space::Patterns)
}

fn punsubscribe(ctx: &mut Ctx<'_>) -> CmdResult {
    unsubscribe_from(ctx, Space::Patterns)
}

/// SUBSCRIBE is let into a transaction for the sake of old clients; SSUBSCRIBE never was.
fn ssubscribe(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.node.effects.depth > 1 {
        return Err("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client".into());
    }
    subscribe_to(ctx, Space::Shards)
}

fn sunsubscribe(ctx: &mut Ctx<'_>) -> CmdResult {
    unsubscribe_from(ctx, Space::Shards)
}

/// Slaves have listeners of their own: they are sent the message whoever hears it here.
fn propagate_request(ctx: &mut Ctx<'_>) {
    let args = ctx.args;
    ctx.propagate(&[args.at(0), args.at(1), args.at(2)]);
}

fn publish(ctx: &mut Ctx<'_>) -> CmdResult {
    let sent = ctx.node.publish(ctx.args.at(1), ctx.args.at(2));
    propagate_request(ctx);
    ctx.out.int(sent as i64);
    Ok(())
}

fn spublish(ctx: &mut Ctx<'_>) -> CmdResult {
    let sent = ctx.node.publish_to_shard(ctx.args.at(1), ctx.args.at(2));
    let args = ctx.args;
    ctx.propagate_apart(&[args.at(0), args.at(1), args.at(2)]);
    ctx.out.int(sent as i64);
    Ok(())
}

fn list_names(ctx: &mut Ctx<'_>, space: Space) -> CmdResult {
    if ctx.args.len() > 3 {
        return Err(super::help::unknown_or_arity(ctx.args.at(1), "PUBSUB"));
    }
    let pattern = ctx.args.get(2);
    let listed = |name: &&[u8]| pattern.is_none_or(|pattern| glob::matches(pattern, name, false) && (!name.is_empty() || pattern.is_empty()));
    let names: Vec<&[u8]> = ctx.node.pubsub.of(space).names().filter(listed).collect();
    ctx.out.array(names.len());
    names.into_iter().for_each(|name| ctx.out.bulk(name));
    Ok(())
}

fn count_subscribers(ctx: &mut Ctx<'_>, space: Space) -> CmdResult {
    let names = ctx.args.tail(2);
    ctx.out.array(names.len() * 2);
    for name in names.iter() {
        ctx.out.bulk(name);
        ctx.out.int(ctx.node.pubsub.of(space).subscribers(name) as i64);
    }
    Ok(())
}

fn channels(ctx: &mut Ctx<'_>) -> CmdResult {
    list_names(ctx, Space::Channels)
}

fn shardchannels(ctx: &mut Ctx<'_>) -> CmdResult {
    list_names(ctx, Space::Shards)
}

fn numsub(ctx: &mut Ctx<'_>) -> CmdResult {
    count_subscribers(ctx, Space::Channels)
}

fn shardnumsub(ctx: &mut Ctx<'_>) -> CmdResult {
    count_subscribers(ctx, Space::Shards)
}

fn numpat(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.int(ctx.node.pubsub.patterns.len() as i64);
    Ok(())
}

fn pubsub_help(ctx: &mut Ctx<'_>) -> CmdResult {
    help(ctx.out, "PUBSUB", HELP);
    Ok(())
}

const HELP: &[&str] = &[
    "CHANNELS [<pattern>]",
    "    Return the currently active channels matching a <pattern> (default: '*').",
    "NUMPAT",
    "    Return number of subscriptions to patterns.",
    "NUMSUB [<channel> ...]",
    "    Return the number of subscribers for the specified channels, excluding",
    "    pattern subscriptions(default: no channels).",
    "SHARDCHANNELS [<pattern>]",
    "    Return the currently active shard level channels matching a <pattern> (default: '*').",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return the number of subscribers for the specified shard level channel(s)",
];

const LISTEN: Flags = Flags::PUBSUB.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);
const SPEAK: Flags = Flags::PUBSUB.union(Flags::LOADING).union(Flags::STALE).union(Flags::FAST).union(Flags::MAY_REPLICATE);
const ASK: Flags = Flags::PUBSUB.union(Flags::LOADING).union(Flags::STALE);

const MANY_SHARDS: &[KeySpec] = &[key_range(&["not_key"], 1, -1, 1)];

const PUBSUB_ROWS: &[Spec] = &[
    Spec::new("channels", -2, ASK, channels).docs(
        "pubsub",
        "2.8.0",
        "O(N) where N is the number of active channels, and assuming constant time pattern matching (relatively short channels and patterns)",
        "Returns the active channels.",
    ),
    Spec::new("help", 2, Flags::LOADING.union(Flags::STALE), pubsub_help).docs(
        "pubsub",
        "6.2.0",
        "O(1)",
        "Returns helpful text about the different subcommands.",
    ),
    Spec::new("numpat", 2, ASK, numpat).docs("pubsub", "2.8.0", "O(1)", "Returns a count of unique pattern subscriptions."),
    Spec::new("numsub", -2, ASK, numsub).docs(
        "pubsub",
        "2.8.0",
        "O(N) for the NUMSUB subcommand, where N is the number of requested channels",
        "Returns a count of subscribers to channels.",
    ),
    Spec::new("shardchannels", -2, ASK, shardchannels).docs(
        "pubsub",
        "7.0.0",
        "O(N) where N is the number of active shard channels, and assuming constant time pattern matching (relatively short shard channels).",
        "Returns the active shard channels.",
    ),
    Spec::new("shardnumsub", -2, ASK, shardnumsub).docs(
        "pubsub",
        "7.0.0",
        "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels",
        "Returns the count of subscribers of shard channels.",
    ),
];

pub(super) const ROWS: &[Spec] = &[
    Spec::new("psubscribe", -2, LISTEN, psubscribe).docs(
        "pubsub",
        "2.0.0",
        "O(N) where N is the number of patterns to subscribe to.",
        "Listens for messages published to channels that match one or more patterns.",
    ),
    Spec::new("publish", 3, SPEAK, publish).docs(
        "pubsub",
        "2.0.0",
        "O(N+M) where N is the number of clients subscribed to the receiving channel and M is the total number of subscribed patterns (by any \
         client).",
        "Posts a message to a channel.",
    ),
    Spec::new("pubsub", -2, Flags::empty(), container)
        .docs("pubsub", "2.8.0", "Depends on subcommand.", "A container for Pub/Sub commands.")
        .subcommands(PUBSUB_ROWS),
    Spec::new("punsubscribe", -1, LISTEN, punsubscribe).docs(
        "pubsub",
        "2.0.0",
        "O(N) where N is the number of patterns to unsubscribe.",
        "Stops listening to messages published to channels that match one or more patterns.",
    ),
    Spec::new("spublish", 3, SPEAK, spublish).keys(1, 1, 1).key_specs(&[key_range(&["not_key"], 1, 0, 1)]).docs(
        "pubsub",
        "7.0.0",
        "O(N) where N is the number of clients subscribed to the receiving shard channel.",
        "Post a message to a shard channel",
    ),
    Spec::new("ssubscribe", -2, LISTEN, ssubscribe).keys(1, -1, 1).key_specs(MANY_SHARDS).docs(
        "pubsub",
        "7.0.0",
        "O(N) where N is the number of shard channels to subscribe to.",
        "Listens for messages published to shard channels.",
    ),
    Spec::new("subscribe", -2, LISTEN, subscribe).docs(
        "pubsub",
        "2.0.0",
        "O(N) where N is the number of channels to subscribe to.",
        "Listens for messages published to channels.",
    ),
    Spec::new("sunsubscribe", -1, LISTEN, sunsubscribe).keys(1, -1, 1).key_specs(MANY_SHARDS).docs(
        "pubsub",
        "7.0.0",
        "O(N) where N is the number of shard channels to unsubscribe.",
        "Stops listening to messages posted to shard channels.",
    ),
    Spec::new("unsubscribe", -1, LISTEN, unsubscribe).docs(
        "pubsub",
        "2.0.0",
        "O(N) where N is the number of channels to unsubscribe.",
        "Stops listening to messages posted to channels.",
    ),
];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;

    #[test]
    fn a_subscriber_in_resp2_may_do_little_else() {
        let mut b = Bench::new();
        assert_eq!(b.say("subscribe a b a"), "*3 $9 subscribe $1 a :1 *3 $9 subscribe $1 b :2 *3 $9 subscribe $1 a :2");
        assert!(b.say("get a").starts_with("-ERR Can't execute 'get': only (P|S)SUBSCRIBE / "));
        assert_eq!(b.say("ping"), "*2 $4 pong $0");
        assert_eq!(b.say("ping hi"), "*2 $4 pong $2 hi");
        assert_eq!(b.say("unsubscribe"), "*3 $11 unsubscribe $1 a :1 *3 $11 unsubscribe $1 b :0");
        assert_eq!(b.say("unsubscribe"), "*3 $11 unsubscribe $-1 :0");
        assert_eq!(b.say("ping"), "+PONG");
    }

    #[test]
    fn messages_are_in_the_stream_whoever_hears_them() {
        let mut b = Bench::new();
        assert_eq!(b.streamed("publish c hello"), ["publish c hello"]);
        assert_eq!(b.streamed("SPUBLISH c hello"), ["SPUBLISH c hello"]);
        b.say("multi");
        b.say("set a 1");
        b.say("publish c hello");
        assert_eq!(b.streamed("exec"), ["MULTI", "set a 1", "publish c hello", "EXEC"]);
    }

    #[test]
    fn reset_ends_subscriptions() {
        let mut b = Bench::new();
        b.say("psubscribe *");
        b.say("ssubscribe s");
        assert_eq!(b.say("reset"), "+RESET");
        assert_eq!(b.say("pubsub numpat"), ":0");
        assert_eq!(b.say("pubsub shardchannels"), "*0");
    }
}
