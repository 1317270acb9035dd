//! What LATENCY GRAPH and LATENCY DOCTOR say of the samples, in Redis's words.

use std::fmt::Write;

use super::NodeState;
use super::latency::Series;
use crate::types::sparkline;

const WIDTH: usize = 80;

/// How long ago something was, in few characters.
fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

pub(super) fn graph(event: &str, series: &Series, now_seconds: i64) -> String {
    let values: Vec<(u64, String)> = series.samples.iter().map(|(at, ms)| (*ms, age((now_seconds - at).max(0)))).collect();
    let high = values.iter().map(|(ms, _)| *ms).max().unwrap_or(0);
    let low = values.iter().map(|(ms, _)| *ms).min().unwrap_or(0);
    let head = format!("{event} - high {high} ms, low {low} ms (all time high {} ms)\n", series.max_ms);
    format!("{head}{}\n{}", "-".repeat(WIDTH), sparkline::draw(&values))
}

const DISABLED: &str = "I'm sorry, Dave, I can't do that. Latency monitoring is disabled in this Redis instance. You may use \"CONFIG SET \
                        latency-monitor-threshold <milliseconds>.\" in order to enable it. If we weren't in a deep space mission I'd suggest to take a \
                        look at https://redis.io/docs/latest/operate/oss_and_stack/management/optimization/latency-monitor.\n";
const QUIET: &str = "Dave, no latency spike was observed during the lifetime of this Redis instance, not in the slightest bit. I honestly think you \
                     ought to sit down calmly, take a stress pill, and think things over.\n";
const OBSERVED: &str = "Dave, I have observed latency spikes in this Redis instance. You don't mind talking about it, do you Dave?\n\n";
const NO_ADVICE: &str = "\nWhile there are latency events logged, I'm not able to suggest any easy fix. Please use the Redis community to get some help, \
                         providing this report in your help request.\n";
const LARGE_OBJECTS: &str = "- Deleting, expiring or evicting (because of maxmemory policy) large objects is a blocking operation. If you have very large \
                             objects that are often deleted, expired, or evicted, try to fragment those objects into multiple smaller objects.\n";
const CHECK_SLOWLOG: &str = "- Check your Slow Log to understand what are the commands you are running which are too slow to execute. Please check \
                             https://redis.io/commands/slowlog for more information.\n";
const BUSY_SYSTEM: &str = "- The system is slow to execute Redis code paths not containing system calls. This usually means the system does not provide \
                           Redis CPU time to run for long periods. You should try to:\n  1) Lower the system load.\n  2) Use a computer / VM just for \
                           Redis if you are running other software in the same system.\n  3) Check if you have a \"noisy neighbour\" problem.\n  4) Check \
                           with 'redis-cli --intrinsic-latency 100' what is the intrinsic latency in your system.\n";
const RAISE_HZ: &str = "- In order to make the Redis keys expiring process more incremental, try to set the 'hz' configuration parameter to 100 using \
                        'CONFIG SET hz 100'.\n";
const SUDDEN_PRESSURE: &str = "- Sudden changes to the 'maxmemory' setting via 'CONFIG SET', or allocation of large objects via sets or sorted sets \
                               intersections, STORE option of SORT, Redis Cluster large keys migrations (RESTORE command), may create sudden memory \
                               pressure forcing the server to block trying to evict keys. \n";

pub(super) fn doctor(node: &NodeState) -> String {
    let events = &node.latency.events;
    if events.is_empty() {
        return if node.config.latency_monitor_threshold == 0 { DISABLED } else { QUIET }.to_owned();
    }
    let mut out = OBSERVED.to_owned();
    for (number, (event, series)) in events.iter().enumerate() {
        describe(&mut out, number + 1, event, series, node.now_ms / 1000);
    }
    let advices = advices(node);
    if advices.is_empty() {
        out.push_str(NO_ADVICE);
    } else {
        out.push_str("\nI have a few advices for you:\n\n");
        out.extend(advices);
    }
    out
}

fn describe(out: &mut String, number: usize, event: &str, series: &Series, now_seconds: i64) {
    let count = series.samples.len() as u64;
    let average = series.samples.iter().map(|(_, ms)| *ms).sum::<u64>() / count;
    let deviation = series.samples.iter().map(|(_, ms)| ms.abs_diff(average)).sum::<u64>() / count;
    let oldest = series.samples.front().map_or(now_seconds, |(at, _)| *at);
    let period = (now_seconds - oldest).max(1) as f64 / count as f64;
    let _ = writeln!(
        out,
        "{number}. {event}: {count} latency spikes (average {average}ms, mean deviation {deviation}ms, period {period:.2} sec). Worst all time event {}ms.",
        series.max_ms
    );
}

fn advices(node: &NodeState) -> Vec<String> {
    let has = |event: &str| node.latency.events.contains_key(event);
    let threshold_ms = node.config.latency_monitor_threshold;
    let slowlog_us = node.config.slowlog_log_slower_than;
    let mut advices = Vec::new();
    if has("command") {
        if slowlog_us < 0 {
            advices.push(format!(
                "- There are latency issues with potentially slow commands you are using. Try to enable the Slow Log Redis feature using the command \
                 'CONFIG SET slowlog-log-slower-than {}'. If the Slow log is disabled Redis is not able to log slow commands execution for you.\n",
                threshold_ms * 1000
            ));
        } else if slowlog_us as u64 / 1000 > threshold_ms {
            advices.push(format!(
                "- Your current Slow Log configuration only logs events that are slower than your configured latency monitor threshold. Please use 'CONFIG \
                 SET slowlog-log-slower-than {}'.\n",
                threshold_ms * 1000
            ));
        }
        advices.push(CHECK_SLOWLOG.to_owned());
    }
    if has("fast-command") {
        advices.push(BUSY_SYSTEM.to_owned());
    }
    if has("expire-cycle") && node.config.hz < 100 {
        advices.push(RAISE_HZ.to_owned());
    }
    if has("command") || has("expire-cycle") {
        advices.push(LARGE_OBJECTS.to_owned());
    }
    if has("eviction-cycle") {
        advices.push(SUDDEN_PRESSURE.to_owned());
    }
    advices
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn the_doctor_counts_spikes_and_advises() {
        let mut b = Bench::new();
        assert_eq!(doctor(&b.node), DISABLED);
        b.say("config set latency-monitor-threshold 1");
        assert_eq!(doctor(&b.node), QUIET);
        for ms in [3, 50, 100, 32, 80, 100, 10, 60] {
            b.node.note_latency("command", ms * 1_000_000);
            b.pass_ms(1000);
        }
        let text = doctor(&b.node);
        let wanted = "1. command: 8 latency spikes (average 54ms, mean deviation 30ms, period 1.00 sec). Worst all time event 100ms.\n\nI have a few";
        assert!(text.contains(wanted) && text.contains("Please use 'CONFIG SET slowlog-log-slower-than 1000'.\n- Check your Slow Log"), "{text}");
        assert!(text.ends_with(LARGE_OBJECTS));
        b.say("config set slowlog-log-slower-than 500");
        assert!(!doctor(&b.node).contains("slowlog-log-slower-than"));
        b.say("latency reset");
        b.node.note_latency("eviction-cycle", 2_000_000);
        assert!(doctor(&b.node).ends_with(&format!("advices for you:\n\n{SUDDEN_PRESSURE}")));
    }

    #[test]
    fn a_graph_has_a_head_and_ages() {
        let mut b = Bench::new();
        b.say("config set latency-monitor-threshold 1");
        b.node.note_latency("command", 5_000_000);
        b.pass_ms(120_000);
        b.node.note_latency("command", 9_000_000);
        let text = graph("command", &b.node.latency.events["command"], b.node.now_ms / 1000);
        let head = format!("command - high 9 ms, low 5 ms (all time high 9 ms)\n{}\n", "-".repeat(80));
        assert_eq!(text, format!("{head} #\n |\n |\n_|\n  \n20\nms\n"));
        assert_eq!([age(59), age(3599), age(7200), age(86_400)], ["59s", "59m", "2h", "1d"]);
    }
}
