//! Style that a machine can check: which floor imports which, what only `env` may touch, headers and lengths of files.

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 600;

/// The floors of `src/`, the lowest first. A module imports from its own floor and from lower ones.
const FLOORS: [&[&str]; 6] = [
    &["resp", "types", "config", "env", "log"],
    &["keyspace", "replication", "rdb", "script"],
    &["command", "persistence"],
    &["actor"],
    // The simulated world stands in for `env` below, and drives whole servers from above.
    &["server", "feed", "sim"],
    &["main", "lib"],
];

/// Names that stand for the world outside; `env` wraps them, so that a simulation can put its own in their place.
const WORLD: [&str; 13] = [
    "std::fs",
    "std::time::SystemTime",
    "std::time::Instant",
    "std::thread",
    "thread::sleep",
    "thread::spawn",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::os::unix::net",
    "tokio::net",
    "tokio::fs",
    "tokio::time::Instant",
    "getrandom",
];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The path below the repository's root.
    fn name(&self) -> String {
        self.path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(&self.path).display().to_string()
    }

    /// The module right below `src/`.
    fn module(&self) -> String {
        let name = self.name();
        let below = name.strip_prefix("src/").unwrap_or(&name);
        below.split('/').next().unwrap_or(below).trim_end_matches(".rs").to_owned()
    }

    /// Numbered lines of code without comments, up to the tests at the file's foot.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = (1..).zip(self.text.lines());
        lines.take_while(|(_, line)| *line != "#[cfg(test)]").map(|(number, line)| (number, line.split("//").next().unwrap_or(line)))
    }

    fn is_test(&self) -> bool {
        self.path.file_name().is_some_and(|name| name == "tests.rs")
            || self.path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "benches" | "examples" | "fuzz")))
    }
}

fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    found
}

fn walk(folder: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("listing a folder").path()) {
        if path.is_dir() && !path.ends_with("target") {
            walk(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).expect("reading a source file");
            found.push(Source { path, text });
        }
    }
}

fn all_sources() -> Vec<Source> {
    ["src", "tests", "benches", "examples", "fuzz"].into_iter().flat_map(sources).collect()
}

/// Panics with every finding at once.
#[track_caller]
fn report(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n{}", findings.join("\n"));
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|names| names.contains(&module))
}

/// Modules of this crate that a line of code names: `crate::x` and the members of `crate::{x, y}` when they stand on one line.
fn imported(line: &str) -> Vec<String> {
    let identifier = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = Vec::new();
    for (at, path) in line.match_indices("crate::") {
        let rest = &line[at + path.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group.split(['{', ',', '}']).map(|part| identifier(part.trim()))),
            None => names.push(identifier(rest)),
        }
    }
    names
}

#[test]
fn imports_go_downward() {
    let mut findings = Vec::new();
    for source in sources("src").iter().filter(|source| !source.is_test()) {
        let module = source.module();
        let Some(own) = floor(&module) else {
            findings.push(format!("{}: the module {module} has no floor in tests/tidy.rs", source.name()));
            continue;
        };
        for (number, line) in source.code() {
            for name in imported(line) {
                if floor(&name).is_some_and(|other| other > own) {
                    findings.push(format!("{}:{number}: {module} imports {name}, which stands above it", source.name()));
                }
            }
        }
    }
    report("imports only go to the same floor or to lower ones", &findings);
}

/// The simulation measures with the paused clock of tokio; the pid file and the log's file belong to the process, not to a node.
fn is_excepted(module: &str, name: &str) -> bool {
    match module {
        "sim" => name == "tokio::time::Instant",
        "main" | "log" => name == "std::fs",
        _ => false,
    }
}

#[test]
fn only_env_touches_the_world() {
    let mut findings = Vec::new();
    // The process itself is no part of a node: a simulated node has neither a command line nor a log file.
    let outside = ["env", "log", "main"];
    for source in sources("src").iter().filter(|source| !outside.contains(&source.module().as_str()) && !source.is_test()) {
        for (number, line) in source.code() {
            for name in WORLD {
                if line.contains(name) && !is_excepted(&source.module(), name) {
                    findings.push(format!("{}:{number}: {name}", source.name()));
                }
            }
            if let Some(group) = line.trim_start().strip_prefix("use std::{") {
                for part in group.split([',', '}']).map(str::trim).filter(|part| matches!(*part, "fs" | "thread") || part.starts_with("fs::")) {
                    findings.push(format!("{}:{number}: std::{part}", source.name()));
                }
            }
        }
    }
    report("clocks, threads, sockets, files and randomness come from env", &findings);
}

#[test]
fn every_file_says_what_it_is() {
    let bare: Vec<String> = all_sources().iter().filter(|source| !source.text.starts_with("//!")).map(Source::name).collect();
    report("every file opens with //!", &bare);
}

#[test]
fn no_file_is_long() {
    let long = |source: &Source| {
        let lines = source.text.lines().count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines", source.name()))
    };
    report("files have at most 600 lines", &all_sources().iter().filter_map(long).collect::<Vec<_>>());
}

/// A test that is skipped or that sleeps instead of waiting for something proves nothing.
#[test]
fn tests_neither_sleep_nor_hide() {
    let ignored = concat!("#[", "ignore");
    let sleep = concat!("thread::", "sleep(");
    let mut findings = Vec::new();
    for source in all_sources() {
        // `wait_for` polls; a benchmark paces its load by the clock.
        let may_sleep = source.name() == "tests/support/mod.rs" || source.name().starts_with("benches/") || source.module() == "env";
        for (number, line) in (1..).zip(source.text.lines()) {
            if line.contains(ignored) || (!may_sleep && line.contains(sleep)) {
                findings.push(format!("{}:{number}: {}", source.name(), line.trim()));
            }
        }
    }
    report("tests wait for a condition, and none is ignored", &findings);
}

#[test]
fn no_unfinished_work_is_left_in_comments() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut findings = Vec::new();
    for source in all_sources() {
        for (number, line) in (1..).zip(source.text.lines()) {
            let comment = line.find("//").map_or("", |at| &line[at..]);
            if marks.iter().any(|mark| comment.contains(mark)) {
                findings.push(format!("{}:{number}: {}", source.name(), line.trim()));
            }
        }
    }
    report("comments say why, not what is missing", &findings);
}
