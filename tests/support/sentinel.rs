//! Debian's redis-sentinel as a process, on a port that the system chose, watching one group.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::daemon::free_port;
use super::{Client, SOON, Value, peers, wait_for};

/// The name of the group that is watched.
pub const GROUP: &str = "group";
/// A master that says nothing for so long counts as down. A new one has to be greeted within this time, too.
const DOWN_AFTER_MS: u32 = 2500;
const BIND_TRIES: usize = 20;

pub struct Sentinel {
    pub port: u16,
    dir: TempDir,
    child: Child,
}

impl Sentinel {
    /// Watches the master on this port; `quorum` of them must agree that it is down.
    #[track_caller]
    pub fn watch(master_port: u16, quorum: u32) -> Sentinel {
        (0..BIND_TRIES).find_map(|_| Sentinel::try_watch(master_port, quorum)).expect("a port to bind")
    }

    fn try_watch(master_port: u16, quorum: u32) -> Option<Sentinel> {
        let dir = tempfile::Builder::new().prefix("sentinel-test-").tempdir().expect("making a directory");
        let port = free_port();
        let conf = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {GROUP} 127.0.0.1 {master_port} {quorum}\n\
             sentinel down-after-milliseconds {GROUP} {DOWN_AFTER_MS}\nsentinel failover-timeout {GROUP} 4000\nsentinel parallel-syncs {GROUP} 2\n",
            dir.path().display()
        );
        let file = dir.path().join("sentinel.conf");
        fs::write(&file, conf).expect("writing the conf file");
        let log = File::create(dir.path().join("log")).expect("creating the log");
        let output = log.try_clone().expect("sharing the log");
        let mut command = Command::new(peers::file("7.0.15/redis-sentinel"));
        let child = command.arg(&file).stdin(Stdio::null()).stdout(output).stderr(log).spawn().expect("starting redis-sentinel");
        let mut sentinel = Sentinel { port, dir, child };
        let is_up = wait_for(SOON, "the sentinel to start", || {
            if sentinel.child.try_wait().expect("asking for its state").is_some() {
                return Some(false);
            }
            let reply = Client::try_connect(port).and_then(|mut client| client.try_command(&["PING"]));
            reply.is_ok().then_some(true)
        });
        if is_up {
            // Else: INFO every 10 s, a greeting to the others every 2 s (four of them until a server has its role for good), a PING every second.
            sentinel.client().ok("SENTINEL DEBUG INFO-PERIOD 500 PUBLISH-PERIOD 500 PING-PERIOD 200");
        }
        assert!(is_up || sentinel.log().contains("Address already in use"), "{}", sentinel.log());
        is_up.then_some(sentinel)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.port)
    }

    /// The port where it says that the master is.
    #[track_caller]
    pub fn master_port(&self) -> u16 {
        let reply = self.client().run(&format!("SENTINEL GET-MASTER-ADDR-BY-NAME {GROUP}"));
        reply.items()[1].text().parse().expect("a port")
    }

    /// A field of what it knows about the group.
    #[track_caller]
    pub fn of_master(&self, field: &str) -> String {
        field_of(self.client().run(&format!("SENTINEL MASTER {GROUP}")).items(), field)
    }

    /// The ports of the slaves that it counts as up, with a field of each.
    #[track_caller]
    pub fn slaves(&self, field: &str) -> Vec<(u16, String)> {
        let reply = self.client().run(&format!("SENTINEL REPLICAS {GROUP}"));
        let all = reply.items().iter().map(Value::items);
        let up = all.filter(|slave| field_of(slave, "flags") == "slave");
        let mut slaves: Vec<(u16, String)> = up.map(|slave| (field_of(slave, "port").parse().expect("a port"), field_of(slave, field))).collect();
        slaves.sort();
        slaves
    }
}

fn field_of(flat: &[Value], name: &str) -> String {
    flat.chunks(2).find(|pair| pair[0].text() == name).unwrap_or_else(|| panic!("no field {name}"))[1].text()
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the sentinel on port {}:\n{}\n---", self.port, self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
