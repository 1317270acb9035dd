//! GEOSEARCH, GEOSEARCHSTORE, GEORADIUS, GEORADIUSBYMEMBER: members within a shape.

use super::args::{Form, Order, Search};
use super::{reply_distance, reply_position};
use crate::command::key_range::key_range;
use crate::command::zset::{compare_members, reply_member, store};
use crate::command::{Acl, Begin, CmdResult, CommandError, Ctx, Find, Flags, KeySpec, Spec};
use crate::keyspace::{Bound, Db, Entry, Key, ZSetRef};
use crate::types::geo::{Areas, Position, Shape};
use crate::types::listpack::Elem;
use crate::types::number::DoubleBuf;

/// Members that one ZADD of the stream names, at most.
const PAIRS_PER_EFFECT: usize = 512;

struct Hit<'a> {
    member: Elem<'a>,
    score: f64,
    position: Position,
    /// In the unit that was asked for.
    distance: f64,
}

/// Members within the shape, as many as are asked for.
fn hits<'a>(zset: ZSetRef<'a>, search: &Search<'_>) -> Vec<Hit<'a>> {
    let mut hits = Vec::new();
    let enough = if search.any { search.count as usize } else { usize::MAX };
    for (low, high) in Areas::new(search.shape, search.centre).ranges() {
        if hits.len() >= enough {
            break;
        }
        let range = (Bound { at: low as f64, exclusive: false }, Bound { at: high as f64, exclusive: true });
        zset.for_range(zset.ranks_by_score(range), false, |member, score| {
            if hits.len() < enough {
                let position = Position::of_score(score);
                if let Some(distance) = search.shape.distance_within(search.centre, position) {
                    hits.push(Hit { member, score, position, distance });
                }
            }
        });
    }
    // The nearest of all, if some are wanted but not just any.
    let order = if search.count > 0 && search.order == Order::Any && !search.any { Order::Ascending } else { search.order };
    match order {
        Order::Any => {}
        Order::Ascending => hits.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
        Order::Descending => hits.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
    }
    if search.count > 0 {
        hits.truncate(usize::try_from(search.count).unwrap_or(usize::MAX));
    }
    hits.iter_mut().for_each(|hit| hit.distance /= search.unit);
    hits
}

fn reply(ctx: &mut Ctx<'_>, search: &Search<'_>, key: Option<Key<'_>>) {
    let out = &mut *ctx.out;
    let Some(zset) = found(ctx.node.keyspace.db(ctx.db), key) else { return out.array(0) };
    let hits = hits(zset, search);
    let options = usize::from(search.with_distance) + usize::from(search.with_hash) + usize::from(search.with_position);
    out.array(hits.len());
    for hit in hits {
        if options > 0 {
            out.array(1 + options);
        }
        reply_member(out, hit.member);
        if search.with_distance {
            reply_distance(out, hit.distance);
        }
        if search.with_hash {
            out.int(hit.score as i64);
        }
        if search.with_position {
            reply_position(out, hit.position);
        }
    }
}

fn store_hits(ctx: &mut Ctx<'_>, search: &Search<'_>, key: Option<Key<'_>>, to: Key<'_>, event: &str) {
    let db = ctx.node.keyspace.db(ctx.db);
    let mut new = db.new_zset();
    let mut stored: Vec<[Vec<u8>; 2]> = Vec::new();
    if let Some(zset) = found(db, key) {
        let score = |hit: Hit<'_>| if search.stores_distances { hit.distance } else { hit.score };
        let mut pairs: Vec<_> = hits(zset, search).into_iter().map(|hit| (hit.member, score(hit))).collect();
        pairs.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| compare_members(a.0, b.0)));
        // A search around the whole world may find a member twice.
        pairs.dedup_by(|a, b| a.0 == b.0);
        let mut edit = new.edit();
        edit.expect(pairs.len() as u64, pairs.iter().map(|(member, _)| member.len()).max().unwrap_or(0));
        pairs.iter().for_each(|(member, score)| edit.push(*member, *score));
        // 6.2 finds others in a box than later versions do, so slaves are told what was found.
        if matches!(search.shape, Shape::Box { .. }) {
            stored = pairs.iter().map(|(member, score)| [DoubleBuf::default().reply(*score).as_bytes().to_vec(), member.to_vec()]).collect();
        }
    }
    let dirty = ctx.node.dirty;
    let len = store(ctx, to, new, event);
    if matches!(search.shape, Shape::Box { .. }) && ctx.node.dirty != dirty {
        ctx.propagate(&[b"DEL", to.bytes]);
        for pairs in stored.chunks(PAIRS_PER_EFFECT) {
            let effect: Vec<&[u8]> = [b"ZADD", to.bytes].into_iter().chain(pairs.iter().flatten().map(Vec::as_slice)).collect();
            ctx.propagate(&effect);
        }
    }
    // Redis counts every member.
    ctx.node.dirty = ctx.node.dirty.max(dirty + len);
}

fn found<'d>(db: &'d Db, key: Option<Key<'_>>) -> Option<ZSetRef<'d>> {
    db.get(key?).and_then(Entry::zset)
}

fn run(ctx: &mut Ctx<'_>, form: Form) -> CmdResult {
    let args = ctx.args;
    let key = ctx.key(if form == Form::SearchStore { 2 } else { 1 });
    let exists = match ctx.read(key) {
        None => false,
        Some(entry) => entry.zset().map(|_| true).ok_or(CommandError::WRONG_TYPE)?,
    };
    let key = exists.then_some(key);
    let name = String::from_utf8_lossy(args.at(0)).into_owned();
    let search = Search::parse(args, form, &name, found(ctx.node.keyspace.db(ctx.db), key))?;
    match search.store {
        None => reply(ctx, &search, key),
        Some(to) => {
            let to = ctx.hashed(args.at(to));
            store_hits(ctx, &search, key, to, if form == Form::SearchStore { "geosearchstore" } else { "georadiusstore" });
        }
    }
    Ok(())
}

fn geosearch(ctx: &mut Ctx<'_>) -> CmdResult {
    run(ctx, Form::Search)
}

fn geosearchstore(ctx: &mut Ctx<'_>) -> CmdResult {
    run(ctx, Form::SearchStore)
}

fn georadius(ctx: &mut Ctx<'_>) -> CmdResult {
    run(ctx, Form::Radius { reads_only: false })
}

fn georadius_ro(ctx: &mut Ctx<'_>) -> CmdResult {
    run(ctx, Form::Radius { reads_only: true })
}

fn georadiusbymember(ctx: &mut Ctx<'_>) -> CmdResult {
    run(ctx, Form::RadiusByMember { reads_only: false })
}

fn georadiusbymember_ro(ctx: &mut Ctx<'_>) -> CmdResult {
    run(ctx, Form::RadiusByMember { reads_only: true })
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("georadius", -6, Flags::WRITE.union(Flags::DENYOOM).union(Flags::MOVABLEKEYS), georadius)
        .keys(1, 1, 1)
        .key_specs(&[
            key_range(&["RO", "access"], 1, 0, 1),
            KeySpec {
                flags: &["OW", "update"],
                begin: Begin::Keyword { keyword: "STORE", start_from: 6 },
                find: Find::Range { last: 0, step: 1, limit: 0 },
                notes: "",
            },
            KeySpec {
                flags: &["OW", "update"],
                begin: Begin::Keyword { keyword: "STOREDIST", start_from: 6 },
                find: Find::Range { last: 0, step: 1, limit: 0 },
                notes: "",
            },
        ])
        .acl(Acl::GEO)
        .docs(
            "geo",
            "3.2.0",
            "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is \
             the number of items inside the index.",
            "Queries a geospatial index for members within a distance from a coordinate, optionally stores the result.",
        ),
    Spec::new("georadius_ro", -6, Flags::READONLY, georadius_ro)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::GEO)
        .docs(
            "geo",
            "3.2.10",
            "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is \
             the number of items inside the index.",
            "Returns members from a geospatial index that are within a distance from a coordinate.",
        ),
    Spec::new("georadiusbymember", -5, Flags::WRITE.union(Flags::DENYOOM).union(Flags::MOVABLEKEYS), georadiusbymember)
        .keys(1, 1, 1)
        .key_specs(&[
            key_range(&["RO", "access"], 1, 0, 1),
            KeySpec {
                flags: &["OW", "update"],
                begin: Begin::Keyword { keyword: "STORE", start_from: 5 },
                find: Find::Range { last: 0, step: 1, limit: 0 },
                notes: "",
            },
            KeySpec {
                flags: &["OW", "update"],
                begin: Begin::Keyword { keyword: "STOREDIST", start_from: 5 },
                find: Find::Range { last: 0, step: 1, limit: 0 },
                notes: "",
            },
        ])
        .acl(Acl::GEO)
        .docs(
            "geo",
            "3.2.0",
            "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is \
             the number of items inside the index.",
            "Queries a geospatial index for members within a distance from a member, optionally stores the result.",
        ),
    Spec::new("georadiusbymember_ro", -5, Flags::READONLY, georadiusbymember_ro)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::GEO)
        .docs(
            "geo",
            "3.2.10",
            "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is \
             the number of items inside the index.",
            "Returns members from a geospatial index that are within a distance from a member.",
        ),
    Spec::new("geosearch", -7, Flags::READONLY, geosearch).keys(1, 1, 1).key_specs(&[key_range(&["RO", "access"], 1, 0, 1)]).acl(Acl::GEO).docs(
        "geo",
        "6.2.0",
        "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around the shape provided as the filter and M is \
             the number of items inside the shape",
        "Queries a geospatial index for members inside an area of a box or a circle.",
    ),
    Spec::new("geosearchstore", -8, Flags::WRITE.union(Flags::DENYOOM), geosearchstore)
        .keys(1, 2, 1)
        .key_specs(&[key_range(&["OW", "update"], 1, 0, 1), key_range(&["RO", "access"], 2, 0, 1)])
        .acl(Acl::GEO)
        .docs(
            "geo",
            "6.2.0",
            "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around the shape provided as the filter and M is \
             the number of items inside the shape",
            "Queries a geospatial index for members inside an area of a box or a circle, optionally stores the result.",
        ),
];
