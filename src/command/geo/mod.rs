//! Places in sorted sets: GEOADD, GEODIST, GEOHASH, GEOPOS. Here: what these and the searches read and reply.

mod args;
mod search;

use smallvec::SmallVec;

use super::key_range::key_range;
use super::zset::{AddOptions, add_pairs, read};
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use crate::resp::Reply;
use crate::types::geo::Position;
use crate::types::number::parse_f64;

pub(super) const ALL: [&[Spec]; 2] = [ROWS, search::ROWS];

/// A longitude and a latitude from two arguments.
fn position(longitude: &[u8], latitude: &[u8]) -> Result<Position, CommandError> {
    let coordinate = |text| parse_f64(text).ok_or(CommandError::NOT_FLOAT);
    let position = Position { longitude: coordinate(longitude)?, latitude: coordinate(latitude)? };
    if !position.is_valid() {
        let Position { longitude, latitude } = position;
        return Err(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}").into());
    }
    Ok(position)
}

/// How many metres a unit has.
fn unit(text: &[u8]) -> Result<f64, CommandError> {
    let units: [(&[u8], f64); 4] = [(b"m", 1.0), (b"km", 1000.0), (b"ft", 0.3048), (b"mi", 1609.34)];
    let named = units.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
    named.map(|(_, metres)| metres).ok_or(CommandError::text("ERR unsupported unit provided. please use M, KM, FT, MI"))
}

/// With four digits behind the point, half to even (`fixedpoint_d2string`).
fn reply_distance(out: &mut Reply, distance: f64) {
    let scaled = (distance * 10_000.0).round_ties_even() as u64;
    out.bulk(format!("{}.{:04}", scaled / 10_000, scaled % 10_000).as_bytes());
}

fn reply_position(out: &mut Reply, position: Position) {
    out.array(2);
    out.double(position.longitude);
    out.double(position.latitude);
}

/// It is a ZADD of cells, and reaches the stream as that.
fn geoadd(ctx: &mut Ctx<'_>) -> CmdResult {
    let (args, key) = (ctx.args, ctx.key(1));
    let mut options = AddOptions::default();
    let mut first = 2;
    while let Some(arg) = args.get(first) {
        match arg.to_ascii_uppercase().as_slice() {
            b"NX" => options.nx = true,
            b"XX" => options.xx = true,
            b"CH" => options.ch = true,
            _ => break,
        }
        first += 1;
    }
    let given = args.tail(first);
    if given.is_empty() || given.len() % 3 > 0 || options.nx && options.xx {
        return Err(CommandError::SYNTAX);
    }
    let mut pairs = SmallVec::<[(f64, &[u8]); 8]>::new();
    for index in (0..given.len()).step_by(3) {
        pairs.push((position(given.at(index), given.at(index + 1))?.score() as f64, given.at(index + 2)));
    }
    let dirty = ctx.node.dirty;
    add_pairs(ctx, key, options, &pairs)?;
    if ctx.node.dirty != dirty {
        let scores: SmallVec<[Vec<u8>; 8]> = pairs.iter().map(|(score, _)| (*score as u64).to_string().into_bytes()).collect();
        let mut effect: SmallVec<[&[u8]; 16]> = SmallVec::from_slice(&[&b"zadd"[..]]);
        effect.extend((1..first).map(|index| args.at(index)));
        effect.extend(scores.iter().zip(&pairs).flat_map(|(score, (_, member))| [score.as_slice(), member]));
        ctx.propagate(&effect);
    }
    Ok(())
}

fn geodist(ctx: &mut Ctx<'_>) -> CmdResult {
    let (args, key) = (ctx.args, ctx.key(1));
    let metres = match args.len() {
        4 => 1.0,
        5 => unit(args.at(4))?,
        _ => return Err(CommandError::SYNTAX),
    };
    read(ctx, key, |zset, out| {
        let place = |member| zset.and_then(|zset| zset.score(member)).map(Position::of_score);
        match (place(args.at(2)), place(args.at(3))) {
            (Some(from), Some(to)) => reply_distance(out, from.distance(to) / metres),
            _ => out.null(),
        }
    })
}

fn geohash(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, members) = (ctx.key(1), ctx.args.tail(2));
    read(ctx, key, |zset, out| {
        out.array(members.len());
        for member in members.iter() {
            match zset.and_then(|zset| zset.score(member)) {
                Some(score) => out.bulk(&Position::of_score(score).geohash()),
                None => out.null(),
            }
        }
    })
}

fn geopos(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, members) = (ctx.key(1), ctx.args.tail(2));
    read(ctx, key, |zset, out| {
        out.array(members.len());
        for member in members.iter() {
            match zset.and_then(|zset| zset.score(member)) {
                Some(score) => reply_position(out, Position::of_score(score)),
                None => out.null_array(),
            }
        }
    })
}

const ROWS: &[Spec] = &[
    Spec::new("geoadd", -5, Flags::WRITE.union(Flags::DENYOOM), geoadd)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RW", "update"], 1, 0, 1)])
        .acl(Acl::GEO)
        .docs(
            "geo",
            "3.2.0",
            "O(log(N)) for each item added, where N is the number of elements in the sorted set.",
            "Adds one or more members to a geospatial index. The key is created if it doesn't exist.",
        ),
    Spec::new("geodist", -4, Flags::READONLY, geodist).keys(1, 1, 1).key_specs(&[key_range(&["RO", "access"], 1, 0, 1)]).acl(Acl::GEO).docs(
        "geo",
        "3.2.0",
        "O(1)",
        "Returns the distance between two members of a geospatial index.",
    ),
    Spec::new("geohash", -2, Flags::READONLY, geohash).keys(1, 1, 1).key_specs(&[key_range(&["RO", "access"], 1, 0, 1)]).acl(Acl::GEO).docs(
        "geo",
        "3.2.0",
        "O(1) for each member requested.",
        "Returns members from a geospatial index as geohash strings.",
    ),
    Spec::new("geopos", -2, Flags::READONLY, geopos).keys(1, 1, 1).key_specs(&[key_range(&["RO", "access"], 1, 0, 1)]).acl(Acl::GEO).docs(
        "geo",
        "3.2.0",
        "O(1) for each member requested.",
        "Returns the longitude and latitude of members from a geospatial index.",
    ),
];
