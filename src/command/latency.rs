//! LATENCY: what took longer than `latency-monitor-threshold`, by kind of event, and how long commands take (HISTOGRAM, INFO latencystats).
//! The events are those that can hold the node's thread up here; forks, append-only files and defragmentation are no part of this server.

use std::collections::{BTreeMap, VecDeque};

use super::help::{container, help};
use super::latency_report::{doctor, graph};
use super::{CmdResult, CommandError, Ctx, Flags, NodeState, Spec};

/// Samples that are kept of an event.
const SAMPLES_MAX: usize = 160;

/// Seconds since the epoch, and the longest milliseconds of that second.
pub(super) type Sample = (i64, u64);

/// The samples of one event, the oldest first.
#[derive(Default)]
pub(super) struct Series {
    pub samples: VecDeque<Sample>,
    pub max_ms: u64,
}

impl Series {
    fn add(&mut self, unix_seconds: i64, ms: u64) {
        self.max_ms = self.max_ms.max(ms);
        match self.samples.back_mut() {
            Some((at, longest)) if *at == unix_seconds => *longest = ms.max(*longest),
            _ => self.samples.push_back((unix_seconds, ms)),
        }
        if self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }
}

/// The series of all events that have occurred.
#[derive(Default)]
pub struct Latency {
    pub(super) events: BTreeMap<&'static str, Series>,
}

impl NodeState {
    /// Notes how long something has held the thread up, if it was long enough.
    #[inline]
    pub fn note_latency(&mut self, event: &'static str, ns: u64) {
        let threshold_ms = self.config.latency_monitor_threshold;
        if threshold_ms > 0 && ns >= threshold_ms.saturating_mul(1_000_000) {
            self.latency.events.entry(event).or_default().add(self.now_ms / 1000, ns / 1_000_000);
        }
    }
}

/// The event that a slow command is.
pub(super) fn event_of(spec: &Spec) -> &'static str {
    if spec.flags.contains(Flags::FAST) { "fast-command" } else { "command" }
}

fn latest(ctx: &mut Ctx<'_>) -> CmdResult {
    let events = &ctx.node.latency.events;
    ctx.out.array(events.len());
    for (event, series) in events {
        let (at, ms) = series.samples.back().copied().unwrap_or_default();
        ctx.out.array(4);
        ctx.out.bulk(event.as_bytes());
        ctx.out.int(at);
        ctx.out.int(ms as i64);
        ctx.out.int(series.max_ms as i64);
    }
    Ok(())
}

fn asked_series<'a>(ctx: &'a Ctx<'_>) -> Option<(&'static str, &'a Series)> {
    let name = ctx.args.at(2);
    ctx.node.latency.events.iter().find(|(event, _)| event.as_bytes() == name).map(|(event, series)| (*event, series))
}

fn history(ctx: &mut Ctx<'_>) -> CmdResult {
    let samples: Vec<Sample> = asked_series(ctx).map(|(_, series)| series.samples.iter().copied().collect()).unwrap_or_default();
    ctx.out.array(samples.len());
    for (at, ms) in samples {
        ctx.out.array(2);
        ctx.out.int(at);
        ctx.out.int(ms as i64);
    }
    Ok(())
}

fn latency_graph(ctx: &mut Ctx<'_>) -> CmdResult {
    let Some((event, series)) = asked_series(ctx) else {
        let name = String::from_utf8_lossy(ctx.args.at(2)).into_owned();
        return Err(CommandError(format!("ERR No samples available for event '{name}'").into()));
    };
    let text = graph(event, series, ctx.node.now_ms / 1000);
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

fn latency_doctor(ctx: &mut Ctx<'_>) -> CmdResult {
    let text = doctor(ctx.node);
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

fn reset(ctx: &mut Ctx<'_>) -> CmdResult {
    let events = &mut ctx.node.latency.events;
    let before = events.len();
    match ctx.args.len() {
        2 => events.clear(),
        _ => events.retain(|event, _| !ctx.args.iter().skip(2).any(|name| name.eq_ignore_ascii_case(event.as_bytes()))),
    }
    ctx.out.int((before - events.len()) as i64);
    Ok(())
}

/// All commands that have run, or those asked for; a container's subcommands by its name.
fn histogram(ctx: &mut Ctx<'_>) -> CmdResult {
    let commands = &ctx.node.commands;
    let all: Vec<_> = commands.named_stats().filter(|(_, stats)| stats.latencies.total() > 0).collect();
    let mut shown = Vec::new();
    match ctx.args.len() {
        2 => shown.extend(&all),
        _ => {
            for asked in ctx.args.iter().skip(2) {
                let asked = String::from_utf8_lossy(asked).to_ascii_lowercase();
                let is_meant = |name: &str| name == asked || name.strip_prefix(asked.as_str()).is_some_and(|rest| rest.starts_with('|'));
                shown.extend(all.iter().filter(|(name, _)| is_meant(name)));
            }
        }
    }
    ctx.out.map(shown.len());
    for (name, stats) in shown {
        let bounds = stats.latencies.cumulative();
        ctx.out.bulk(name.as_bytes());
        ctx.out.map(2);
        ctx.out.bulk(b"calls");
        ctx.out.int(stats.latencies.total() as i64);
        ctx.out.bulk(b"histogram_usec");
        ctx.out.map(bounds.len());
        for (ns, count) in bounds {
            ctx.out.int((ns / 1000) as i64);
            ctx.out.int(count as i64);
        }
    }
    Ok(())
}

fn latency_help(ctx: &mut Ctx<'_>) -> CmdResult {
    help(ctx.out, "LATENCY", HELP);
    Ok(())
}

const HELP: &[&str] = &[
    "DOCTOR",
    "    Return a human readable latency analysis report.",
    "GRAPH <event>",
    "    Return an ASCII latency graph for the <event> class.",
    "HISTORY <event>",
    "    Return time-latency samples for the <event> class.",
    "LATEST",
    "    Return the latest latency samples for all events.",
    "RESET [<event> ...]",
    "    Reset latency data of one or more <event> classes.",
    "    (default: reset all data for all event classes)",
    "HISTOGRAM [COMMAND ...]",
    "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
    "    If no commands are specified then all histograms are replied.",
];

const OPERATOR: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);
const TIPS: &[&str] = &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];

const LATENCY_ROWS: &[Spec] = &[
    Spec::new("doctor", 2, OPERATOR, latency_doctor).tips(TIPS).docs("server", "2.8.13", "O(1)", "Returns a human-readable latency analysis report."),
    Spec::new("graph", 3, OPERATOR, latency_graph).tips(TIPS).docs("server", "2.8.13", "O(1)", "Returns a latency graph for an event."),
    Spec::new("help", 2, Flags::LOADING.union(Flags::STALE), latency_help).docs(
        "server",
        "2.8.13",
        "O(1)",
        "Returns helpful text about the different subcommands.",
    ),
    Spec::new("histogram", -2, OPERATOR, histogram).tips(TIPS).docs(
        "server",
        "7.0.0",
        "O(N) where N is the number of commands with latency information being retrieved.",
        "Returns the cumulative distribution of latencies of a subset or all commands.",
    ),
    Spec::new("history", 3, OPERATOR, history).tips(TIPS).docs("server", "2.8.13", "O(1)", "Returns timestamp-latency samples for an event."),
    Spec::new("latest", 2, OPERATOR, latest).tips(TIPS).docs("server", "2.8.13", "O(1)", "Returns the latest latency samples for all events."),
    Spec::new("reset", -2, OPERATOR, reset).tips(&["request_policy:all_nodes", "response_policy:agg_sum"]).docs(
        "server",
        "2.8.13",
        "O(1)",
        "Resets the latency data for one or more events.",
    ),
];

pub(super) const ROWS: &[Spec] = &[Spec::new("latency", -2, Flags::empty(), container)
    .docs("server", "2.8.13", "Depends on subcommand.", "A container for latency diagnostics commands.")
    .subcommands(LATENCY_ROWS)];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn only_what_is_slow_enough_is_kept() {
        let mut b = Bench::new();
        b.node.note_latency("command", u64::MAX);
        assert_eq!(b.say("latency latest"), "*0");
        b.say("config set latency-monitor-threshold 10");
        b.node.note_latency("command", 9_999_999);
        assert_eq!(b.say("latency latest"), "*0");
        let second = b.node.now_ms / 1000;
        for ms in [12, 50, 30] {
            b.node.note_latency("command", ms * 1_000_000);
        }
        b.node.note_latency("expire-cycle", 10_000_000);
        assert_eq!(b.say("latency latest"), format!("*2 *4 $7 command :{second} :50 :50 *4 $12 expire-cycle :{second} :10 :10"));
        b.pass_ms(2000);
        b.node.note_latency("command", 20_000_000);
        assert_eq!(b.say("latency history command"), format!("*2 *2 :{second} :50 *2 :{} :20", second + 2));
        assert_eq!(b.say("latency reset COMMAND nosuch"), ":1");
        assert_eq!(b.say("latency history command"), "*0");
        assert_eq!(b.say("latency graph command"), "-ERR No samples available for event 'command'");
        assert_eq!(b.say("latency reset"), ":1");
    }

    #[test]
    fn a_series_is_bounded() {
        let mut series = Series::default();
        for second in 0..500 {
            series.add(second, 1000 - second as u64);
        }
        assert_eq!((series.samples.len(), series.samples[0], series.max_ms), (160, (340, 660), 1000));
    }

    #[test]
    fn commands_are_counted_while_tracking_is_on() {
        let mut b = Bench::new();
        b.say("ping");
        b.say("client id");
        b.say("client getname");
        let shown = b.say("latency histogram client PING nosuch");
        assert!(shown.starts_with("*6 $14 client|getname *4 $5 calls :1 $14 histogram_usec *2 :"), "{shown}");
        assert!(shown.contains("$4 ping *4 $5 calls :1 "), "{shown}");
        b.say("config set latency-tracking no");
        b.say("ping");
        assert!(b.say("latency histogram ping").contains("calls :1 "));
        b.say("config resetstat");
        assert_eq!(b.say("latency histogram"), "*0");
    }
}
