//! CLIENT LIST, INFO and KILL: how a client is described, and which clients a filter means.

use super::client::Client;
use super::client_memory::{client_memory, queued_bytes};
use super::{ClientFlags, CmdResult, CommandError, Ctx, NodeState, Request, Slot};
use crate::resp::Proto;
use crate::types::number::parse_i64;

/// What a client is for, as CLIENT LIST TYPE and the output limits group them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientType {
    Normal,
    Master,
    Replica,
    Pubsub,
}

impl ClientType {
    fn of(client: &Client) -> Self {
        if client.is(ClientFlags::MASTER) {
            ClientType::Master
        } else if client.is(ClientFlags::REPLICA) && !client.is(ClientFlags::MONITOR) {
            ClientType::Replica
        } else if client.is(ClientFlags::PUBSUB) {
            ClientType::Pubsub
        } else {
            ClientType::Normal
        }
    }

    fn parse(name: &[u8]) -> Result<Self, CommandError> {
        let types: [(&str, ClientType); 5] = [
            ("normal", ClientType::Normal),
            ("slave", ClientType::Replica),
            ("replica", ClientType::Replica),
            ("pubsub", ClientType::Pubsub),
            ("master", ClientType::Master),
        ];
        match types.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name)) {
            Some((_, kind)) => Ok(*kind),
            None => Err(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(name)).into()),
        }
    }
}

/// The letters of `flags=`, in Redis's order.
fn flag_letters(client: &Client) -> String {
    let letters = [
        (ClientFlags::MONITOR, 'O'),
        (ClientFlags::REPLICA, 'S'),
        (ClientFlags::MASTER, 'M'),
        (ClientFlags::PUBSUB, 'P'),
        (ClientFlags::MULTI, 'x'),
        (ClientFlags::BLOCKED, 'b'),
        (ClientFlags::DIRTY_CAS, 'd'),
        (ClientFlags::CLOSE_AFTER_REPLY, 'c'),
        (ClientFlags::CLOSE_ASAP, 'A'),
        (ClientFlags::UNIX_SOCKET, 'U'),
        (ClientFlags::NO_EVICT, 'e'),
        (ClientFlags::NO_TOUCH, 'T'),
    ];
    let set: String = letters.iter().filter(|(flag, _)| client.is(*flag)).map(|(_, letter)| *letter).collect();
    if set.is_empty() { "N".to_owned() } else { set }
}

/// One line of CLIENT LIST, in Redis 8.2's fields, without the line end. What has no counterpart here (tracking, I/O threads,
/// reply blocks in a list) is shown as Redis shows its absence.
fn describe(node: &NodeState, slot: Slot, client: &Client) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let command = match (client.last_command, client.last_subcommand) {
        (Some(command), Some(sub)) => super::full_name(command, sub),
        (Some(command), None) => command.name.to_owned(),
        (None, _) => "NULL".to_owned(),
    };
    let multi = if client.is(ClientFlags::MULTI) { client.queued.commands.len() as i64 } else { -1 };
    let unsent = unsent_stream(node, client);
    let events = if client.out.is_empty() { "r" } else { "rw" };
    format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={multi} watch={} qbuf={} qbuf-free={} \
         argv-mem=0 multi-mem={} rbs={} rbp={} obl={} oll={} omem={unsent} tot-mem={} events={events} cmd={command} user={} redir=-1 resp={} lib-name={} \
         lib-ver={} io-thread=0 tot-net-in={} tot-net-out={} tot-cmds={}",
        client.id,
        client.addr,
        client.laddr,
        client.fd,
        text(&client.name),
        (node.steady_ms - client.created_ms) / 1000,
        (node.steady_ms - client.last_interaction_ms) / 1000,
        flag_letters(client),
        client.db.0,
        node.pubsub.channels.count(slot),
        node.pubsub.patterns.count(slot),
        node.pubsub.shards.count(slot),
        client.watched.len(),
        client.query_buffer,
        client.query_buffer_free,
        queued_bytes(client),
        client.out.capacity(),
        client.out.capacity(),
        client.out.len(),
        u8::from(unsent > 0),
        client_memory(client),
        client.user,
        if client.proto == Proto::Resp3 { 3 } else { 2 },
        text(&client.lib_name),
        text(&client.lib_ver),
        client.bytes_in,
        client.bytes_out,
        client.commands,
    )
}

/// What a slave has not been sent of the stream. It lies in the backlog, once for all slaves.
fn unsent_stream(node: &NodeState, client: &Client) -> u64 {
    match &client.replica {
        Some(replica) if client.is(ClientFlags::REPLICA) => node.stream.offset().0.saturating_sub(replica.sent.0),
        _ => 0,
    }
}

/// All clients, the oldest first.
fn by_age(node: &NodeState) -> Vec<(Slot, &Client)> {
    let mut clients: Vec<_> = node.clients.iter().collect();
    clients.sort_by_key(|(_, client)| client.id);
    clients
}

fn reply_lines<'c>(ctx: &mut Ctx<'_>, lines: impl Iterator<Item = String> + 'c) {
    let mut text = String::new();
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    ctx.out.verbatim("txt", text.as_bytes());
}

pub(super) fn info(ctx: &mut Ctx<'_>) -> CmdResult {
    let line = describe(ctx.node, ctx.slot, ctx.client());
    reply_lines(ctx, std::iter::once(line));
    Ok(())
}

pub(super) fn list(ctx: &mut Ctx<'_>) -> CmdResult {
    let args = ctx.args;
    let option = args.get(2).unwrap_or_default();
    let lines: Vec<String> = if args.len() == 2 {
        by_age(ctx.node).into_iter().map(|(slot, client)| describe(ctx.node, slot, client)).collect()
    } else if args.len() == 4 && option.eq_ignore_ascii_case(b"TYPE") {
        let wanted = ClientType::parse(args.at(3))?;
        by_age(ctx.node)
            .into_iter()
            .filter(|(_, client)| ClientType::of(client) == wanted)
            .map(|(slot, client)| describe(ctx.node, slot, client))
            .collect()
    } else if args.len() > 3 && option.eq_ignore_ascii_case(b"ID") {
        let mut ids = Vec::new();
        for arg in args.iter().skip(3) {
            ids.push(parse_i64(arg).ok_or(CommandError::text("ERR Invalid client ID"))?);
        }
        let found = ids.into_iter().filter_map(|id| ctx.node.clients.by_id(u64::try_from(id).ok()?));
        found.map(|slot| describe(ctx.node, slot, ctx.node.clients.at(slot))).collect()
    } else {
        return Err(CommandError::SYNTAX);
    };
    reply_lines(ctx, lines.into_iter());
    Ok(())
}

/// Which clients CLIENT KILL means; what is not named does not matter.
#[derive(Default)]
struct Filter {
    id: Option<u64>,
    kind: Option<ClientType>,
    addr: Option<String>,
    laddr: Option<String>,
    user: Option<String>,
    older_than_seconds: Option<i64>,
    /// The client that asks; it is spared.
    spare: Option<Slot>,
}

impl Filter {
    fn means(&self, node: &NodeState, slot: Slot, client: &Client) -> bool {
        // A client that is being closed is gone for its peers already.
        !client.is(ClientFlags::CLOSE_ASAP)
            && self.spare != Some(slot)
            && self.id.is_none_or(|id| id == client.id)
            && self.kind.is_none_or(|kind| kind == ClientType::of(client))
            && self.addr.as_ref().is_none_or(|addr| *addr == client.addr.to_string())
            && self.laddr.as_ref().is_none_or(|laddr| *laddr == client.laddr.to_string())
            && self.user.as_ref().is_none_or(|user| *user == client.user)
            && self.older_than_seconds.is_none_or(|age| (node.steady_ms - client.created_ms) / 1000 >= age)
    }

    /// Pairs of option and value, as Redis 8.2 reads them: of an option given twice the last value counts.
    fn parse(ctx: &Ctx<'_>) -> Result<Self, CommandError> {
        let args = ctx.args;
        let mut filter = Filter { spare: Some(ctx.slot), ..Filter::default() };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut at = 2;
        while at < args.len() {
            let Some(value) = args.get(at + 1) else { return Err(CommandError::SYNTAX) };
            match args.at(at).to_ascii_uppercase().as_slice() {
                b"ID" => filter.id = Some(positive(value).ok_or(CommandError::text("ERR client-id should be greater than 0"))?),
                b"MAXAGE" => {
                    let age = parse_i64(value).ok_or(CommandError::text("ERR maxage is not an integer or out of range"))?;
                    if age <= 0 {
                        return Err("ERR maxage should be greater than 0".into());
                    }
                    filter.older_than_seconds = Some(age);
                }
                b"TYPE" => filter.kind = Some(ClientType::parse(value)?),
                b"ADDR" => filter.addr = Some(text(value)),
                b"LADDR" => filter.laddr = Some(text(value)),
                b"USER" if value == b"default" => filter.user = Some(text(value)),
                b"USER" => return Err(format!("ERR No such user '{}'", text(value)).into()),
                b"SKIPME" if value.eq_ignore_ascii_case(b"yes") => filter.spare = Some(ctx.slot),
                b"SKIPME" if value.eq_ignore_ascii_case(b"no") => filter.spare = None,
                _ => return Err(CommandError::SYNTAX),
            }
            at += 2;
        }
        Ok(filter)
    }
}

fn positive(text: &[u8]) -> Option<u64> {
    u64::try_from(parse_i64(text)?).ok().filter(|number| *number > 0)
}

pub(super) fn kill(ctx: &mut Ctx<'_>) -> CmdResult {
    // The old form, `CLIENT KILL ip:port`, kills the caller too if that is its address.
    let old_form = ctx.args.len() == 3;
    let filter =
        if old_form { Filter { addr: Some(String::from_utf8_lossy(ctx.args.at(2)).into_owned()), ..Filter::default() } } else { Filter::parse(ctx)? };
    let meant: Vec<Slot> =
        by_age(ctx.node).into_iter().filter(|(slot, client)| filter.means(ctx.node, *slot, client)).map(|(slot, _)| slot).collect();
    for slot in &meant {
        let client = ctx.node.clients.at_mut(*slot);
        if *slot == ctx.slot {
            client.flags |= ClientFlags::CLOSE_AFTER_REPLY;
        } else {
            client.flags |= ClientFlags::CLOSE_ASAP;
            ctx.node.requests.push(Request::Close(*slot));
        }
    }
    match (old_form, meant.is_empty()) {
        (true, true) => return Err("ERR No such client".into()),
        (true, false) => ctx.out.ok(),
        (false, _) => ctx.out.int(meant.len() as i64),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Addr;

    fn with_second_client() -> (NodeState, Slot, Slot) {
        let (mut node, first) = NodeState::for_tests();
        let addr = Addr::Ip(([10, 0, 0, 1], 77).into());
        let id = node.clients.next_id();
        let mut client = Client::new(id, addr.clone(), addr, 9, node.steady_ms - 5_000);
        client.flags |= ClientFlags::AUTHENTICATED;
        let second = node.clients.insert(client);
        node.clients.make_replica(second).replica.get_or_insert_default();
        (node, first, second)
    }

    #[test]
    fn a_killed_client_is_closed_once() {
        let (mut node, first, second) = with_second_client();
        assert_eq!(node.run(first, &[b"CLIENT", b"KILL", b"TYPE", b"slave"]), b":1\r\n");
        assert_eq!(node.run(first, &[b"CLIENT", b"KILL", b"TYPE", b"slave"]), b":0\r\n");
        assert_eq!(node.requests, [Request::Close(second)]);
        assert!(!node.clients.at(first).flags.intersects(ClientFlags::CLOSE_AFTER_REPLY));
    }

    #[test]
    fn the_caller_is_spared_unless_it_says_otherwise() {
        let (mut node, first, _) = with_second_client();
        assert_eq!(node.run(first, &[b"CLIENT", b"KILL", b"TYPE", b"normal"]), b":0\r\n");
        assert_eq!(node.run(first, &[b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"no"]), b":1\r\n");
        assert!(node.clients.at(first).is(ClientFlags::CLOSE_AFTER_REPLY));
        assert!(node.requests.is_empty());
    }

    #[test]
    fn filters_are_all_met() {
        let (mut node, first, second) = with_second_client();
        let id = node.clients.at(second).id.to_string();
        assert_eq!(node.run(first, &[b"CLIENT", b"KILL", b"ID", id.as_bytes(), b"MAXAGE", b"6"]), b":0\r\n");
        assert_eq!(node.run(first, &[b"CLIENT", b"KILL", b"ID", id.as_bytes(), b"ADDR", b"10.0.0.1:78"]), b":0\r\n");
        assert_eq!(node.run(first, &[b"CLIENT", b"KILL", b"ID", id.as_bytes(), b"MAXAGE", b"5", b"LADDR", b"10.0.0.1:77"]), b":1\r\n");
    }

    #[test]
    fn a_line_tells_who_the_client_is() {
        let (mut node, first, second) = with_second_client();
        let id = node.clients.at(second).id.to_string();
        node.clients.at_mut(second).name = b"copy".to_vec();
        let reply = String::from_utf8(node.run(first, &[b"CLIENT", b"LIST", b"ID", id.as_bytes()])).unwrap();
        assert!(reply.contains(&format!("id={id} addr=10.0.0.1:77 laddr=10.0.0.1:77 fd=9 name=copy age=5 idle=5 flags=S db=0 ")), "{reply}");
        assert!(node.run(first, &[b"CLIENT", b"LIST"]).windows(4).filter(|w| w == b" fd=").count() == 2);
    }
}
