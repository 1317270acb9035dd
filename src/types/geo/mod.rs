//! Places on the Earth as sorted sets keep them: a cell of 52 bits, which a double holds exactly, is a member's score. Distances are on a sphere.
//!
//! All arithmetic is Redis's, operation by operation, since results are shown to their last digits. Cells of few bits cover an area that is searched
//! (`search`).

mod search;

pub use search::{Areas, Shape};

pub const LONGITUDE_MAX: f64 = 180.0;
/// Of the Mercator projection that is a square.
pub const LATITUDE_MAX: f64 = 85.05112878;

/// Halvings a coordinate of a score's cell.
const STEPS_MAX: u32 = 26;
const EARTH_RADIUS_M: f64 = 6_372_797.560856;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    pub longitude: f64,
    pub latitude: f64,
}

/// The bits of longitude and latitude in turn, the longitude's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    bits: u64,
    steps: u32,
}

/// What a cell covers.
#[derive(Clone, Copy)]
struct Area {
    low: Position,
    high: Position,
}

fn interleave(even: u32, odd: u32) -> u64 {
    spread(even) | spread(odd) << 1
}

/// Every bit to twice its place.
fn spread(bits: u32) -> u64 {
    let mut wide = u64::from(bits);
    for (shift, mask) in
        [(16, 0x0000_FFFF_0000_FFFF), (8, 0x00FF_00FF_00FF_00FF), (4, 0x0F0F_0F0F_0F0F_0F0F), (2, 0x3333_3333_3333_3333), (1, 0x5555_5555_5555_5555)]
    {
        wide = (wide | wide << shift) & mask;
    }
    wide
}

/// The even bits, close together.
fn gather(bits: u64) -> u32 {
    let mut wide = bits & 0x5555_5555_5555_5555;
    for (shift, mask) in
        [(1, 0x3333_3333_3333_3333), (2, 0x0F0F_0F0F_0F0F_0F0F), (4, 0x00FF_00FF_00FF_00FF), (8, 0x0000_FFFF_0000_FFFF), (16, 0x0000_0000_FFFF_FFFF)]
    {
        wide = (wide | wide >> shift) & mask;
    }
    wide as u32
}

impl Cell {
    fn of(position: Position, latitude_max: f64, steps: u32) -> Cell {
        let scale = (1_u64 << steps) as f64;
        let longitude = (position.longitude + LONGITUDE_MAX) / (LONGITUDE_MAX * 2.0) * scale;
        let latitude = (position.latitude + latitude_max) / (latitude_max * 2.0) * scale;
        Cell { bits: interleave(latitude as u32, longitude as u32), steps }
    }
    fn area(self) -> Area {
        let scale = (1_u64 << self.steps) as f64;
        let (latitude, longitude) = (gather(self.bits), gather(self.bits >> 1));
        let at = |longitude: f64, latitude: f64| Position {
            longitude: -LONGITUDE_MAX + (longitude / scale) * (LONGITUDE_MAX * 2.0),
            latitude: -LATITUDE_MAX + (latitude / scale) * (LATITUDE_MAX * 2.0),
        };
        Area { low: at(longitude.into(), latitude.into()), high: at(f64::from(longitude) + 1.0, f64::from(latitude) + 1.0) }
    }
    /// The neighbour so many cells to the east and to the north; beyond the edge the world begins again. A cell that begins at the very edge has a
    /// bit more than others, which goes only where it moves.
    fn neighbour(self, east: i32, north: i32) -> Cell {
        const EVENS: u64 = 0x5555_5555_5555_5555;
        let cut = 64 - 2 * self.steps;
        let moved = |mine: u64, others: u64, by: i32| match by {
            0 => self.bits & mine,
            1.. => ((self.bits & mine) + (others >> cut) + 1) & (mine >> cut),
            _ => (self.bits & mine | others >> cut).wrapping_sub((others >> cut) + 1) & (mine >> cut),
        };
        Cell { bits: moved(!EVENS, EVENS, east) | moved(EVENS, !EVENS, north), steps: self.steps }
    }
    /// Scores within, from the first up to but without the second.
    fn scores(self) -> (u64, u64) {
        let shift = 2 * (STEPS_MAX - self.steps);
        (self.bits << shift, (self.bits + 1) << shift)
    }
}

impl Position {
    pub fn is_valid(self) -> bool {
        self.longitude.abs() <= LONGITUDE_MAX && self.latitude.abs() <= LATITUDE_MAX
    }
    /// The score of a member that is here.
    pub fn score(self) -> u64 {
        Cell::of(self, LATITUDE_MAX, STEPS_MAX).bits
    }
    /// Where a member with this score is: in the middle of its cell. Any score is some place, as in Redis.
    pub fn of_score(score: f64) -> Position {
        let Area { low, high } = Cell { bits: to_bits(score), steps: STEPS_MAX }.area();
        Position {
            longitude: ((low.longitude + high.longitude) / 2.0).clamp(-LONGITUDE_MAX, LONGITUDE_MAX),
            latitude: ((low.latitude + high.latitude) / 2.0).clamp(-LATITUDE_MAX, LATITUDE_MAX),
        }
    }
    /// Metres to there.
    pub fn distance(self, to: Position) -> f64 {
        let v = ((to.longitude.radians() - self.longitude.radians()) / 2.0).sin();
        if v == 0.0 {
            return latitude_distance(self.latitude, to.latitude);
        }
        let (here, there) = (self.latitude.radians(), to.latitude.radians());
        let u = ((there - here) / 2.0).sin();
        let a = u * u + here.cos() * there.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }
    /// GEOHASH: the text that others use for a place, which is of another projection. The last letter is always 0.
    pub fn geohash(self) -> [u8; 11] {
        const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = Cell::of(self, 90.0, STEPS_MAX).bits;
        let mut text = [b'0'; 11];
        for (index, letter) in text[..10].iter_mut().enumerate() {
            *letter = LETTERS[(bits >> (2 * STEPS_MAX as usize - (index + 1) * 5) & 31) as usize];
        }
        text
    }
}

fn latitude_distance(a: f64, b: f64) -> f64 {
    EARTH_RADIUS_M * (b.radians() - a.radians()).abs()
}

trait Angle {
    fn radians(self) -> f64;
}

impl Angle for f64 {
    /// `to_radians` rounds in another way.
    fn radians(self) -> f64 {
        self * (std::f64::consts::PI / 180.0)
    }
}

/// A score as C converts it to an unsigned integer on x86: negative ones wrap, and what is too large either way is a power of two or 0.
fn to_bits(score: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    let convert = |value: f64| if (-HALF..HALF).contains(&value) { value as i64 } else { i64::MIN };
    if score < HALF { convert(score) as u64 } else { convert(score - HALF) as u64 ^ 1 << 63 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(longitude: f64, latitude: f64) -> Position {
        Position { longitude, latitude }
    }

    /// The constants are Redis's answers.
    #[test]
    fn cells_and_distances_are_those_of_redis() {
        let (palermo, catania) = (at(13.361389, 38.115556), at(15.087269, 37.502669));
        assert_eq!((palermo.score(), catania.score()), (3_479_099_956_230_698, 3_479_447_370_796_909));
        let (palermo, catania) = (Position::of_score(palermo.score() as f64), Position::of_score(catania.score() as f64));
        assert_eq!(palermo, at(13.361389338970184, 38.1155563954963));
        assert_eq!(format!("{:.4}", palermo.distance(catania)), "166274.1516");
        assert_eq!(&palermo.geohash(), b"sqc8b49rny0");
        assert_eq!(Position::of_score(at(0.0, 0.0).score() as f64), at(2.682209014892578e-6, 1.2673605809254695e-6));
    }

    #[test]
    fn bits_interleave_and_come_apart() {
        for (even, odd) in [(0, 0), (1, 0), (0, 1), (u32::MAX, 0), (0x1234_5678, 0x9ABC_DEF0)] {
            let bits = interleave(even, odd);
            assert_eq!((gather(bits), gather(bits >> 1)), (even, odd));
        }
        assert_eq!(interleave(0b11, 0), 0b101);
    }

    #[test]
    fn neighbours_wrap_round_the_world() {
        let cell = Cell::of(at(179.9, 0.1), LATITUDE_MAX, 8);
        assert_eq!(cell.neighbour(1, 0), Cell::of(at(-179.9, 0.1), LATITUDE_MAX, 8));
        assert_eq!(cell.neighbour(1, 0).neighbour(-1, 0), cell);
        assert_eq!(cell.neighbour(0, 1).neighbour(0, -1), cell);
        assert_eq!(cell.neighbour(-1, 1), cell.neighbour(-1, 0).neighbour(0, 1));
    }

    #[test]
    fn any_score_is_a_place() {
        for score in [0.0, -1.0, 1e300, -1e300, f64::INFINITY, f64::NEG_INFINITY, 4.5, 1e19] {
            assert!(Position::of_score(score).is_valid(), "{score}");
        }
    }
}
