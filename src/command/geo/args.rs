//! What a search is asked for: GEOSEARCH's words and the older GEORADIUS's.

use super::{position, unit};
use crate::command::CommandError;
use crate::keyspace::ZSetRef;
use crate::resp::Args;
use crate::types::geo::{Position, Shape};
use crate::types::number::{parse_f64, parse_i64};

/// Which command it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// GEORADIUS; it may not store if it is one of those that only read.
    Radius {
        reads_only: bool,
    },
    RadiusByMember {
        reads_only: bool,
    },
    Search,
    SearchStore,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Any,
    Ascending,
    Descending,
}

pub(super) struct Search<'a> {
    pub shape: Shape,
    /// Metres of the unit that distances are told in.
    pub unit: f64,
    pub centre: Position,
    pub with_distance: bool,
    pub with_hash: bool,
    pub with_position: bool,
    pub order: Order,
    /// 0 for all.
    pub count: u64,
    /// Whichever are found first will do.
    pub any: bool,
    /// The index of the key to store to.
    pub store: Option<usize>,
    pub stores_distances: bool,
    args: Args<'a>,
    form: Form,
    /// The options that have told centre and shape: each may come again, and then the last counts, but not beside the other one.
    centre_by: Option<&'static str>,
    shape_by: Option<&'static str>,
}

const NOT_DECODED: CommandError = CommandError::text("ERR could not decode requested zset member");

impl<'a> Search<'a> {
    /// `zset` is what is searched, if it is there.
    pub(super) fn parse(args: Args<'a>, form: Form, name: &str, zset: Option<ZSetRef<'_>>) -> Result<Self, CommandError> {
        let mut search = Search {
            shape: Shape::Circle { radius: 0.0 },
            unit: 1.0,
            centre: Position { longitude: 0.0, latitude: 0.0 },
            with_distance: false,
            with_hash: false,
            with_position: false,
            order: Order::Any,
            count: 0,
            any: false,
            store: (form == Form::SearchStore).then_some(1),
            stores_distances: false,
            args,
            form,
            centre_by: None,
            shape_by: None,
        };
        let mut at = match form {
            Form::Radius { .. } => {
                search.centre = position(args.at(2), args.at(3))?;
                search.circle(4)?;
                6
            }
            Form::RadiusByMember { .. } => {
                if zset.is_some() {
                    search.member(2, zset)?;
                    search.circle(3)?;
                }
                5
            }
            Form::Search => 2,
            Form::SearchStore => 3,
        };
        while at < args.len() {
            at += search.option(at, zset)?;
        }
        search.check(name)?;
        Ok(search)
    }

    /// Reads the option at an index; returns how many arguments it is.
    fn option(&mut self, at: usize, zset: Option<ZSetRef<'_>>) -> Result<usize, CommandError> {
        let (args, left) = (self.args, self.args.len() - at);
        let is_search = matches!(self.form, Form::Search | Form::SearchStore);
        let may_store = matches!(self.form, Form::Radius { reads_only: false } | Form::RadiusByMember { reads_only: false });
        match args.at(at).to_ascii_lowercase().as_slice() {
            b"withdist" => self.with_distance = true,
            b"withhash" => self.with_hash = true,
            b"withcoord" => self.with_position = true,
            b"any" => self.any = true,
            b"asc" => self.order = Order::Ascending,
            b"desc" => self.order = Order::Descending,
            b"count" if left > 1 => {
                let count = parse_i64(args.at(at + 1)).ok_or(CommandError::NOT_INTEGER)?;
                self.count = u64::try_from(count).ok().filter(|count| *count > 0).ok_or(CommandError::text("ERR COUNT must be > 0"))?;
                return Ok(2);
            }
            word @ (b"store" | b"storedist") if may_store && left > 1 => {
                (self.store, self.stores_distances) = (Some(at + 1), word == b"storedist");
                return Ok(2);
            }
            b"storedist" if self.form == Form::SearchStore => self.stores_distances = true,
            b"frommember" if is_search && left > 1 && self.centre_by != Some("fromlonlat") => {
                // Without a key nothing is found anyway, but what else is wrong is told.
                if zset.is_some() {
                    self.member(at + 1, zset)?;
                }
                self.centre_by = Some("frommember");
                return Ok(2);
            }
            b"fromlonlat" if is_search && left > 2 && self.centre_by != Some("frommember") => {
                self.centre = position(args.at(at + 1), args.at(at + 2))?;
                self.centre_by = Some("fromlonlat");
                return Ok(3);
            }
            b"byradius" if is_search && left > 2 && self.shape_by != Some("bybox") => {
                self.circle(at + 1)?;
                self.shape_by = Some("byradius");
                return Ok(3);
            }
            b"bybox" if is_search && left > 3 && self.shape_by != Some("byradius") => {
                self.rectangle(at + 1)?;
                self.shape_by = Some("bybox");
                return Ok(4);
            }
            _ => return Err(CommandError::SYNTAX),
        }
        Ok(1)
    }

    fn check(&self, name: &str) -> Result<(), CommandError> {
        let is_search = matches!(self.form, Form::Search | Form::SearchStore);
        if self.store.is_some() && (self.with_distance || self.with_hash || self.with_position) {
            let what = if is_search { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            return Err(format!("ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options").into());
        }
        if is_search && self.centre_by.is_none() {
            return Err(format!("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {name}").into());
        }
        if is_search && self.shape_by.is_none() {
            return Err(format!("ERR exactly one of BYRADIUS and BYBOX can be specified for {name}").into());
        }
        if self.any && self.count == 0 {
            return Err("ERR the ANY argument requires COUNT argument".into());
        }
        Ok(())
    }

    fn member(&mut self, at: usize, zset: Option<ZSetRef<'_>>) -> Result<(), CommandError> {
        let score = zset.and_then(|zset| zset.score(self.args.at(at))).ok_or(NOT_DECODED)?;
        self.centre = Position::of_score(score);
        Ok(())
    }

    fn circle(&mut self, at: usize) -> Result<(), CommandError> {
        let radius = parse_f64(self.args.at(at)).ok_or(CommandError::text("ERR need numeric radius"))?;
        if radius < 0.0 {
            return Err("ERR radius cannot be negative".into());
        }
        self.unit = unit(self.args.at(at + 1))?;
        self.shape = Shape::Circle { radius: radius * self.unit };
        Ok(())
    }

    fn rectangle(&mut self, at: usize) -> Result<(), CommandError> {
        let width = parse_f64(self.args.at(at)).ok_or(CommandError::text("ERR need numeric width"))?;
        let height = parse_f64(self.args.at(at + 1)).ok_or(CommandError::text("ERR need numeric height"))?;
        if height < 0.0 || width < 0.0 {
            return Err("ERR height or width cannot be negative".into());
        }
        self.unit = unit(self.args.at(at + 2))?;
        self.shape = Shape::Box { width: width * self.unit, height: height * self.unit };
        Ok(())
    }
}
