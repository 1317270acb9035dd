//! INFO beside a real Redis 8.2.3: the sections that each request gets, and their fields.

use std::collections::BTreeMap;

use crate::support::{Client, Daemon, Peer};

/// Fields of Redis's that would have no meaning here (how it was built, jemalloc, threads for I/O, caches that there are not, ACL), or whose feature is
/// still to come.
const ABSENT: &[&str] = &[
    "redis_git_sha1",
    "redis_git_dirty",
    "redis_build_id",
    "monotonic_clock",
    "atomicvar_api",
    "gcc_version",
    "lazyfree_pending_objects",
    "lazyfreed_objects",
    "dump_payload_sanitizations",
    "io_threaded_total_prefetch_batches",
    "io_threaded_total_prefetch_entries",
    "reply_buffer_shrinks",
    "reply_buffer_expands",
    "acl_access_denied_auth",
    "acl_access_denied_cmd",
    "acl_access_denied_key",
    "acl_access_denied_channel",
    "module",
];
/// Sections whose fields are commands or keys.
const VARIABLE: &[&str] = &["Commandstats", "Errorstats", "Latencystats", "Keyspace", "Keysizes"];

/// Sections by their titles, with the names of their fields.
fn sections(client: &mut Client, line: &str) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut title = String::new();
    for line in client.run(line).text().lines() {
        if let Some(name) = line.strip_prefix("# ") {
            title = name.trim_end().to_owned();
            all.entry(title.clone()).or_default();
        } else if let Some((field, _)) = line.split_once(':') {
            all.entry(title.clone()).or_default().push(field.to_owned());
        }
    }
    all
}

#[test]
fn fields_are_those_of_redis() {
    let (ours, real) = (Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[]));
    let ours = sections(&mut ours.client(), "INFO everything");
    let real = sections(&mut real.client(), "INFO everything");
    let mut wrong = Vec::new();
    for (title, fields) in real.iter().filter(|(title, _)| !VARIABLE.contains(&title.as_str())) {
        let shown = ours.get(title).unwrap_or_else(|| panic!("no section {title}"));
        for field in fields {
            let there = shown.contains(field);
            if there == ABSENT.contains(&field.as_str()) {
                wrong.push(format!("{title}: {field} is {}", if there { "there" } else { "missing" }));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_request_gets_the_sections_it_gets_from_redis() {
    let (ours, real) = (Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[]));
    let (mut ours, mut real) = (ours.client(), real.client());
    for request in
        ["INFO", "INFO default", "INFO all", "INFO everything", "INFO cpu SERVER nosuch", "INFO commandstats default", "INFO threads stats"]
    {
        let titles = |client: &mut Client| sections(client, request).into_keys().filter(|title| title != "Keysizes").collect::<Vec<_>>();
        assert_eq!(titles(&mut ours), titles(&mut real), "{request}");
    }
}
