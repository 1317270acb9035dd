//! Which cells can hold what a search is for, and whether a place is within its shape.

use super::{Angle, Area, Cell, EARTH_RADIUS_M, LATITUDE_MAX, Position, STEPS_MAX, latitude_distance};

/// Half the Earth's circumference, as the projection has it.
const MERCATOR_MAX_M: f64 = 20_037_726.37;

/// Around a centre; in metres.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

impl Shape {
    /// How far a place is from the centre, if it is within.
    pub fn distance_within(self, centre: Position, place: Position) -> Option<f64> {
        match self {
            Shape::Circle { radius } => {
                let distance = centre.distance(place);
                (distance <= radius).then_some(distance)
            }
            Shape::Box { width, height } => {
                if latitude_distance(place.latitude, centre.latitude) > height / 2.0 {
                    return None;
                }
                let beside = Position { longitude: centre.longitude, latitude: place.latitude };
                (place.distance(beside) <= width / 2.0).then(|| centre.distance(place))
            }
        }
    }
    /// What encloses it. In the half that is nearer to the pole it is wider in degrees.
    fn bounds(self, centre: Position) -> Area {
        let (width, height) = match self {
            Shape::Circle { radius } => (radius, radius),
            Shape::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let degrees = |radians: f64| radians / (std::f64::consts::PI / 180.0);
        let north = degrees(height / EARTH_RADIUS_M);
        let poleward = if centre.latitude < 0.0 { centre.latitude - north } else { centre.latitude + north };
        let east = degrees(width / EARTH_RADIUS_M / poleward.radians().cos());
        Area {
            low: Position { longitude: centre.longitude - east, latitude: centre.latitude - north },
            high: Position { longitude: centre.longitude + east, latitude: centre.latitude + north },
        }
    }
    /// Of the circle around it.
    fn radius(self) -> f64 {
        match self {
            Shape::Circle { radius } => radius,
            Shape::Box { width, height } => ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt(),
        }
    }
}

/// Up to nine cells, in Redis's order: that of the centre, north, south, east, west, then between these. `None` for one that can't hold anything.
pub struct Areas([Option<Cell>; 9]);

const AROUND: [(i32, i32); 9] = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];

impl Areas {
    pub fn new(shape: Shape, centre: Position) -> Areas {
        let bounds = shape.bounds(centre);
        let mut steps = steps_for(shape.radius(), centre.latitude);
        let cell = |steps: u32| Cell::of(centre, LATITUDE_MAX, steps);
        if steps > 1 && !reaches(cell(steps), bounds) {
            steps -= 1;
        }
        let (middle, area) = (cell(steps), cell(steps).area());
        Areas(AROUND.map(|(east, north)| {
            let is_needless = steps >= 2
                && (north < 0 && area.low.latitude < bounds.low.latitude
                    || north > 0 && area.high.latitude > bounds.high.latitude
                    || east < 0 && area.low.longitude < bounds.low.longitude
                    || east > 0 && area.high.longitude > bounds.high.longitude);
            (!is_needless).then(|| middle.neighbour(east, north))
        }))
    }
    /// Ranges of scores, from the first up to but without the second. Where cells are so large that one comes twice, it is left out where it follows
    /// itself, though not behind the middle one: as in Redis, which then finds its members twice.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut last: Option<Cell> = None;
        self.0.iter().enumerate().filter_map(move |(index, cell)| {
            let cell = (*cell)?;
            if last == Some(cell) {
                return None;
            }
            last = (index > 0).then_some(cell);
            Some(cell.scores())
        })
    }
}

/// Whether the cells around this one reach as far as the bounds.
fn reaches(cell: Cell, bounds: Area) -> bool {
    let area = |(east, north)| cell.neighbour(east, north).area();
    !(area((0, 1)).high.latitude < bounds.high.latitude
        || area((0, -1)).low.latitude > bounds.low.latitude
        || area((1, 0)).high.longitude < bounds.high.longitude
        || area((-1, 0)).low.longitude > bounds.low.longitude)
}

/// How small cells may be for nine of them to cover the radius.
fn steps_for(radius: f64, latitude: f64) -> u32 {
    if radius == 0.0 {
        return STEPS_MAX;
    }
    let (mut steps, mut reach) = (1_i32, radius);
    while reach < MERCATOR_MAX_M {
        reach *= 2.0;
        steps += 1;
    }
    // Cells are narrow near the poles.
    steps -= 2 + i32::from(latitude.abs() > 66.0) + i32::from(latitude.abs() > 80.0);
    steps.clamp(1, STEPS_MAX as i32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places all over a shape's surroundings: whichever is within is in one of the ranges.
    #[test]
    fn ranges_cover_the_shape() {
        for (longitude, latitude) in [(0.0, 0.0), (13.4, 52.5), (-70.0, -67.0), (100.0, 81.0), (-0.1, 0.1)] {
            let centre = Position { longitude, latitude };
            for metres in [10.0, 3000.0, 77_000.0, 900_000.0] {
                for shape in [Shape::Circle { radius: metres }, Shape::Box { width: metres, height: metres * 2.0 }] {
                    let ranges: Vec<_> = Areas::new(shape, centre).ranges().collect();
                    let degrees = metres / 80_000.0;
                    for number in 0..1000 {
                        let (x, y) = (f64::from(number % 31) / 15.0 - 1.0, f64::from(number % 37) / 18.0 - 1.0);
                        let place = Position { longitude: longitude + x * degrees, latitude: latitude + y * degrees };
                        if place.is_valid() && shape.distance_within(centre, place).is_some() {
                            let score = place.score();
                            assert!(ranges.iter().any(|(low, high)| (*low..*high).contains(&score)), "{centre:?} {shape:?} {place:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_box_is_as_wide_at_each_latitude() {
        let centre = Position { longitude: 0.0, latitude: 45.0 };
        let shape = Shape::Box { width: 200_000.0, height: 100_000.0 };
        let within = |longitude, latitude| shape.distance_within(centre, Position { longitude, latitude }).is_some();
        assert!(within(1.2, 45.0) && !within(1.3, 45.0));
        assert!(within(0.0, 45.4) && !within(0.0, 45.5));
    }
}
