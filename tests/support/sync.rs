//! Replication as INFO shows it: making a slave, waiting until it is in sync, comparing the data.

use std::time::Duration;

use super::{Client, Daemon, SOON, Value, wait_for};

/// A field of INFO, if there is one of this name.
pub fn info(client: &mut Client, field: &str) -> Option<String> {
    let text = match client.command(&["INFO", "everything"]) {
        Value::Error(error) => panic!("INFO: {error}"),
        reply => reply.text(),
    };
    text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).map(|value| value.trim_end().to_owned())
}

#[track_caller]
pub fn info_u64(client: &mut Client, field: &str) -> u64 {
    let value = info(client, field).unwrap_or_else(|| panic!("INFO shows no {field}"));
    value.parse().unwrap_or_else(|_| panic!("INFO shows {field}:{value}"))
}

/// The digest of all data, equal on two servers of any make exactly if their data is.
#[track_caller]
pub fn digest(client: &mut Client) -> String {
    client.command(&["DEBUG", "DIGEST"]).text()
}

/// The digest once no file or snapshot is being loaded; DEBUG answers while one is, with what is there so far.
#[track_caller]
pub fn digest_when_loaded(server: &Daemon) -> String {
    let mut client = server.client();
    wait_for(SOON, "the data to be loaded", || (info(&mut client, "loading").as_deref() == Some("0")).then_some(()));
    digest(&mut client)
}

/// How far the stream is: produced, on a master; applied, on a slave.
#[track_caller]
pub fn offset(client: &mut Client) -> u64 {
    info_u64(client, "master_repl_offset")
}

/// Makes `replica` a slave of this port, once it has loaded its file.
#[track_caller]
pub fn replicate(replica: &Daemon, master_port: u16) {
    let mut client = replica.client();
    let reply = wait_for(SOON, "the server to take SLAVEOF", || match client.command(&["SLAVEOF", "127.0.0.1", &master_port.to_string()]) {
        Value::Error(error) if error.starts_with("LOADING") => None,
        reply => Some(reply),
    });
    assert!(reply.text().starts_with("OK"), "{reply:?}");
}

#[track_caller]
pub fn wait_link_up(replica: &Daemon) {
    let mut client = replica.client();
    wait_for(SOON, "the link to the master to come up", || link_is_up(&mut client).then_some(()));
}

pub fn link_is_up(client: &mut Client) -> bool {
    info(client, "master_link_status").as_deref() == Some("up")
}

/// Waits until the slave's link is up and its offset is the master's, then demands equal data. Both are read again until the offset
/// stood still meanwhile, because a master counts its pings too.
#[track_caller]
pub fn wait_in_sync(master: &Daemon, replica: &Daemon) -> String {
    wait_in_sync_within(SOON, master, replica)
}

#[track_caller]
pub fn wait_in_sync_within(deadline: Duration, master: &Daemon, replica: &Daemon) -> String {
    let (mut at_master, mut at_replica) = (master.client(), replica.client());
    let what = format!("{} on port {} to be in sync with {} on port {}", replica.kind.name(), replica.port, master.kind.name(), master.port);
    wait_for(deadline, &what, || {
        if !link_is_up(&mut at_replica) {
            return None;
        }
        let before = offset(&mut at_master);
        if info_u64(&mut at_replica, "slave_repl_offset") != before {
            return None;
        }
        let (here, there) = (digest(&mut at_master), digest(&mut at_replica));
        if offset(&mut at_master) != before {
            return None;
        }
        assert_eq!(here, there, "the data differs at offset {before}: {what}");
        Some(here)
    })
}
