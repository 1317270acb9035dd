//! Makes a sequence that shows a difference as short as it can be in a minute: drops units, then words.

use std::time::{Duration, Instant};

use super::grammar::Unit;

const TIME_MAX: Duration = Duration::from_secs(60);

/// `fails`: whether the sequence still shows a difference.
pub fn shrink(mut units: Vec<Unit>, mut still_fails: impl FnMut(&[Unit]) -> bool) -> Vec<Unit> {
    let start = Instant::now();
    let mut fails = |units: &[Unit]| start.elapsed() < TIME_MAX && still_fails(units);
    let mut size = units.len().div_ceil(2);
    loop {
        let mut from = 0;
        while from < units.len() {
            let end = (from + size).min(units.len());
            let rest: Vec<Unit> = units[..from].iter().chain(&units[end..]).cloned().collect();
            if fails(&rest) {
                units = rest;
            } else {
                from = end;
            }
        }
        if size == 1 {
            break;
        }
        size = size.div_ceil(2);
    }
    drop_words(&mut units, fails);
    units
}

fn drop_words(units: &mut [Unit], mut fails: impl FnMut(&[Unit]) -> bool) {
    for unit in 0..units.len() {
        for step in 0..units[unit].steps.len() {
            let mut at = units[unit].steps[step].len();
            while at > 1 {
                at -= 1;
                let word = units[unit].steps[step].remove(at);
                if !fails(units) {
                    units[unit].steps[step].insert(at, word);
                }
            }
        }
    }
}
