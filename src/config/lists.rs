//! The directives that take several words or several lines: how each is read and written.

use std::net::IpAddr;

use super::directive::{Mode, format_memory, joined, parse_memory, quoted};
use super::values::{Config, OutputLimit};
use crate::types::number::{parse_f64, parse_i64};

const BIND_ADDRESSES_MAX: usize = 16;

pub fn bind(config: &Config) -> String {
    config.bind.join(" ")
}

pub fn bind_lines(config: &Config) -> Vec<String> {
    vec![if config.bind.is_empty() { quoted("") } else { joined(&config.bind) }]
}

/// The address that a word of `bind` means, and whether it may be missing on this machine (`-` before it). `None`: it is no address.
pub fn bind_address(word: &str) -> Option<(IpAddr, bool)> {
    let (optional, name) = word.strip_prefix('-').map_or((false, word), |name| (true, name));
    let ip = match name {
        "*" => IpAddr::from([0, 0, 0, 0]),
        "::*" => IpAddr::from([0u16; 8]),
        name => name.parse().ok()?,
    };
    Some((ip, optional))
}

pub fn set_bind(config: &mut Config, words: &[&str], _: Mode) -> Result<(), String> {
    if words.len() > BIND_ADDRESSES_MAX {
        return Err("Too many bind addresses specified.".to_owned());
    }
    config.bind = words.iter().map(|&word| word.to_owned()).collect();
    Ok(())
}

pub fn save(config: &Config) -> String {
    config.save.iter().map(|(seconds, changes)| format!("{seconds} {changes}")).collect::<Vec<_>>().join(" ")
}

pub fn save_lines(config: &Config) -> Vec<String> {
    match config.save.as_slice() {
        [] => vec![quoted("")],
        points => points.iter().map(|(seconds, changes)| format!("{seconds} {changes}")).collect(),
    }
}

/// As `%f` shows a number, without the zeros at its end.
fn percentile_text(percent: &f64) -> String {
    let text = format!("{percent:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The percentiles of `latency-tracking-info-percentiles` as CONFIG GET and INFO write them.
pub fn percentiles(config: &Config) -> String {
    config.latency_tracking_info_percentiles.iter().map(percentile_text).collect::<Vec<_>>().join(" ")
}

pub fn percentile_lines(config: &Config) -> Vec<String> {
    vec![if config.latency_tracking_info_percentiles.is_empty() { quoted("") } else { percentiles(config) }]
}

pub fn set_percentiles(config: &mut Config, words: &[&str], _: Mode) -> Result<(), String> {
    let numbers = words.iter().map(|word| parse_f64(word.as_bytes()).filter(|percent| !percent.is_nan()));
    let numbers = numbers.collect::<Option<Vec<f64>>>().ok_or("Invalid latency-tracking-info-percentiles parameters")?;
    if numbers.iter().any(|percent| !(0.0..=100.0).contains(percent)) {
        return Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".to_owned());
    }
    config.latency_tracking_info_percentiles = numbers;
    Ok(())
}

/// The first `save` line of a load replaces the defaults, further ones add to it.
pub fn set_save(config: &mut Config, words: &[&str], mode: Mode) -> Result<(), String> {
    let number = |word: &str, min: i64| parse_i64(word.as_bytes()).filter(|&value| value >= min).map(|value| value as u64);
    let (pairs, []) = words.as_chunks::<2>() else { return Err("Invalid save parameters".to_owned()) };
    let points = pairs.iter().map(|[seconds, changes]| Some((number(seconds, 1)?, number(changes, 0)?)));
    let points = points.collect::<Option<Vec<_>>>().ok_or("Invalid save parameters")?;
    if mode == Mode::Replace {
        config.save.clear();
    }
    config.save.extend(points);
    Ok(())
}

pub fn replicaof(config: &Config) -> String {
    config.slaveof.as_ref().map_or_else(String::new, |(host, port)| format!("{host} {port}"))
}

pub fn replicaof_lines(config: &Config) -> Vec<String> {
    config.slaveof.as_ref().map(|(host, port)| format!("{} {port}", joined(&[host]))).into_iter().collect()
}

pub fn set_replicaof(config: &mut Config, words: &[&str], _: Mode) -> Result<(), String> {
    let &[host, port] = words else { return Err("wrong number of arguments".to_owned()) };
    config.slaveof = if host.eq_ignore_ascii_case("no") && port.eq_ignore_ascii_case("one") {
        None
    } else {
        let port = parse_i64(port.as_bytes()).and_then(|port| u16::try_from(port).ok()).ok_or("Invalid master port")?;
        Some((host.to_owned(), port))
    };
    Ok(())
}

/// In the order of `Config::client_output_buffer_limit`; CONFIG GET still says `slave`.
const CLASSES: [&str; 3] = ["normal", "slave", "pubsub"];

pub fn output_limits(config: &Config) -> String {
    let classes = CLASSES.iter().zip(&config.client_output_buffer_limit);
    classes.map(|(class, limit)| format!("{class} {} {} {}", limit.hard, limit.soft, limit.soft_seconds)).collect::<Vec<_>>().join(" ")
}

pub fn output_limit_lines(config: &Config) -> Vec<String> {
    let classes = ["normal", "replica", "pubsub"].into_iter().zip(&config.client_output_buffer_limit);
    classes.map(|(class, limit)| format!("{class} {} {} {}", format_memory(limit.hard), format_memory(limit.soft), limit.soft_seconds)).collect()
}

/// Classes that are not named keep their limits.
pub fn set_output_limits(config: &mut Config, words: &[&str], _: Mode) -> Result<(), String> {
    let (groups, []) = words.as_chunks::<4>() else {
        return Err("Wrong number of arguments in buffer limit configuration.".to_owned());
    };
    for [class, hard, soft, seconds] in groups {
        let class = if class.eq_ignore_ascii_case("replica") { "slave" } else { class };
        let class = CLASSES.iter().position(|known| known.eq_ignore_ascii_case(class));
        let class = class.ok_or("Invalid client class specified in buffer limit configuration.")?;
        let seconds = parse_i64(seconds.as_bytes()).and_then(|seconds| u64::try_from(seconds).ok());
        let (Some(hard), Some(soft), Some(soft_seconds)) = (parse_memory(hard), parse_memory(soft), seconds) else {
            return Err("Error in hard, soft or soft_seconds setting in buffer limit configuration.".to_owned());
        };
        config.client_output_buffer_limit[class] = OutputLimit { hard: hard as u64, soft: soft as u64, soft_seconds };
    }
    Ok(())
}

pub fn rename_command(config: &Config) -> String {
    rename_command_lines(config).join(" ")
}

pub fn rename_command_lines(config: &Config) -> Vec<String> {
    config.rename_command.iter().map(|(from, to)| joined(&[from, to])).collect()
}

/// Whether there is such a command is for the owner of the commands to say.
pub fn set_rename_command(config: &mut Config, words: &[&str], _: Mode) -> Result<(), String> {
    let &[from, to] = words else { return Err("Bad directive or wrong number of arguments".to_owned()) };
    config.rename_command.push((from.to_owned(), to.to_owned()));
    Ok(())
}
