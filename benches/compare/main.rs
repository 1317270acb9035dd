//! This server beside real ones, in one run: requests a second, CPU a request, memory a key, and what a full sync costs the clients.
//! `cargo bench --bench compare -- --help` tells how to measure only a part.
//!
//! Servers of the cpu part are confined to core 0 and the load to core 1. All of them run all the time and are measured in turns, so that
//! whatever else the machine does meets all of them; the median of the rounds counts.

#[path = "../../tests/support/mod.rs"]
mod support;

mod busy;
mod cpu;
mod embed;
mod load;
mod memory;
mod options;
mod steady;
mod sync;
mod sync_reader;
mod sync_writer;
mod turns;

use options::Options;

fn main() {
    busy::be_busy_if_asked();
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(text) => {
            eprintln!("{text}");
            std::process::exit(2);
        }
    };
    support::process::raise_open_files(12_000);
    if options.wants("cpu") {
        cpu::measure(&options);
    }
    if options.wants("embed") {
        embed::measure(&options);
    }
    if options.wants("memory") {
        memory::measure(&options);
    }
    if options.wants("shapes") {
        memory::shapes(&options);
    }
    if options.wants("turns") {
        turns::measure(&options);
    }
    if options.wants("steady") {
        steady::measure(&options);
    }
    if options.wants("sync") {
        sync::measure(&options);
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}
