//! Servers as processes: ours and the real ones, each on a port that the system chose, in a directory of its own that goes with it.
//! Dropping a Daemon kills it; when the test has failed, the end of its log is printed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::process::signal;
use super::{Client, Peer, SOON, wait_for};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ours,
    Real(Peer),
}

impl Kind {
    /// The server under test. `REPLIKANT_STAND_IN=7.0.15` puts a real server in its place: a test that fails then is wrong about Redis.
    pub fn under_test() -> Kind {
        match std::env::var("REPLIKANT_STAND_IN") {
            Ok(name) => Kind::Real(Peer::named(&name).unwrap_or_else(|| panic!("REPLIKANT_STAND_IN names no peer: {name}"))),
            Err(_) => Kind::Ours,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Ours => "replikant",
            Kind::Real(peer) => peer.name(),
        }
    }

    pub fn binary(self) -> PathBuf {
        match self {
            // A build from elsewhere, such as a release build, can be put to the test.
            Kind::Ours => std::env::var_os("REPLIKANT_BINARY").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_replikant")), PathBuf::from),
            Kind::Real(peer) => peer.binary(),
        }
    }
}

pub struct Daemon {
    pub kind: Kind,
    pub port: u16,
    dir: TempDir,
    /// The conf file given as first argument, if any.
    conf: Option<PathBuf>,
    args: Vec<String>,
    child: Option<Child>,
    runs: usize,
    quiet: bool,
}

const BIND_TRIES: usize = 20;

impl Daemon {
    /// The server under test, without save points.
    #[track_caller]
    pub fn replikant(args: &[&str]) -> Daemon {
        Daemon::start(Kind::under_test(), args)
    }

    #[track_caller]
    pub fn redis(peer: Peer, args: &[&str]) -> Daemon {
        Daemon::start(Kind::Real(peer), args)
    }

    /// Starts a server with the arguments that tests want (no save points, DEBUG allowed, syncs at once) and then `args`, which win.
    #[track_caller]
    pub fn start(kind: Kind, args: &[&str]) -> Daemon {
        Daemon::in_dir(kind, None, args, |_| {})
    }

    /// As `start`; `fill` may put files into the server's directory before.
    #[track_caller]
    pub fn prepared(kind: Kind, args: &[&str], fill: impl FnOnce(&Path)) -> Daemon {
        Daemon::in_dir(kind, None, args, fill)
    }

    /// Starts a server with a conf file of this text, which stands in its directory.
    #[track_caller]
    pub fn with_conf(kind: Kind, text: &str, args: &[&str]) -> Daemon {
        Daemon::in_dir(kind, Some("server.conf"), args, |dir| fs::write(dir.join("server.conf"), text).expect("writing the conf file"))
    }

    #[track_caller]
    fn in_dir(kind: Kind, conf: Option<&str>, args: &[&str], fill: impl FnOnce(&Path)) -> Daemon {
        let dir = tempfile::Builder::new().prefix("server-test-").tempdir().expect("making a directory");
        fill(dir.path());
        let conf = conf.map(|name| dir.path().join(name));
        let args = args.iter().map(|arg| arg.to_string()).collect();
        let mut daemon = Daemon { kind, port: 0, dir, conf, args, child: None, runs: 0, quiet: false };
        daemon.launch();
        daemon
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn conf(&self) -> &Path {
        self.conf.as_deref().expect("started with a conf file")
    }

    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.port)
    }

    /// What the present run has logged so far.
    pub fn log(&self) -> String {
        self.log_of(self.runs)
    }

    /// What every run has logged, the first one first.
    pub fn logs(&self) -> Vec<String> {
        (1..=self.runs).map(|run| self.log_of(run)).collect()
    }

    fn log_of(&self, run: usize) -> String {
        fs::read(self.log_file(run)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn log_file(&self, run: usize) -> PathBuf {
        self.dir.path().join(format!("log.{run}"))
    }

    /// The end of the log goes nowhere even if the test fails: for servers that are killed by the dozen.
    pub fn quiet(&mut self) {
        self.quiet = true;
    }

    /// Kills the server at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killing the server");
            child.wait().expect("waiting for the server");
        }
    }

    /// Asks the server to stop and waits until it has.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        signal(self.pid(), libc::SIGTERM);
        self.wait_for_exit()
    }

    #[track_caller]
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("the server runs");
        let status = wait_for(SOON, "the server to stop", || child.try_wait().expect("asking for the server's state"));
        self.child = None;
        status
    }

    /// Starts the server again in the same directory, on the same port, with the same arguments.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "the server still runs");
        self.launch();
    }

    #[track_caller]
    pub fn start_again_with(&mut self, args: &[&str]) {
        self.args = args.iter().map(|arg| arg.to_string()).collect();
        self.start_again();
    }

    #[track_caller]
    fn launch(&mut self) {
        for _ in 0..BIND_TRIES {
            let fixed = self.port != 0;
            let port = match self.kind {
                _ if fixed => self.port,
                // Ours lets the system choose and tells the port in its log.
                Kind::Ours => 0,
                Kind::Real(_) => free_port(),
            };
            match self.try_launch(port) {
                Ok(port) => {
                    self.port = port;
                    return;
                }
                // Another process took the port between the choice and the bind.
                Err(log) if log.contains("Address already in use") => {}
                Err(log) => panic!("{} does not start:\n{log}", self.kind.name()),
            }
        }
        panic!("{} finds no port to bind", self.kind.name());
    }

    fn try_launch(&mut self, port: u16) -> Result<u16, String> {
        self.runs += 1;
        let log = File::create(self.log_file(self.runs)).expect("creating the log");
        let mut command = Command::new(self.kind.binary());
        if let Some(conf) = &self.conf {
            command.arg(conf);
        }
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(self.dir.path());
        if self.conf.is_none() {
            command.args(["--save", "", "--repl-diskless-sync-delay", "0"]);
            if !matches!(self.kind, Kind::Real(peer) if !peer.has_enable_debug_command()) {
                command.args(["--enable-debug-command", "yes"]);
            }
            if matches!(self.kind, Kind::Real(Peer::V6)) {
                command.args(["--repl-diskless-sync", "yes"]);
            }
        }
        let output = log.try_clone().expect("sharing the log");
        let child = command.args(&self.args).stdin(Stdio::null()).stdout(output).stderr(log).spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("starting {:?}: {error}", self.kind.binary())));
        wait_for(SOON, &format!("{} to start", self.kind.name()), || self.poll_start(port))
    }

    fn poll_start(&mut self, port: u16) -> Option<Result<u16, String>> {
        let log = self.log();
        let exited = self.child.as_mut().expect("just started").try_wait().expect("asking for the server's state").is_some();
        if exited {
            self.child = None;
            return Some(Err(log));
        }
        let port = match port {
            0 => chosen_port(&log)?,
            port => port,
        };
        // A server that loads a file answers -LOADING; it has started all the same.
        let mut client = Client::try_connect(port).ok()?;
        client.patience(Duration::from_secs(5)).ok()?;
        client.try_command(&["PING"]).ok().map(|_| Ok(port))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.quiet {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let end = &lines[lines.len().saturating_sub(40)..];
            eprintln!("--- log of {} on port {}, its last {} lines:\n{}\n---", self.kind.name(), self.port, end.len(), end.join("\n"));
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The port that our daemon tells when it is ready.
fn chosen_port(log: &str) -> Option<u16> {
    let line = log.lines().find(|line| line.to_ascii_lowercase().contains("ready to accept connections"))?;
    let (_, rest) = line.split_once("port")?;
    let digits: String = rest.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|port| *port != 0)
}

pub(super) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binding a port");
    listener.local_addr().expect("the port's address").port()
}

/// Runs a server that is expected to stop by itself: its exit status and what it printed.
#[track_caller]
pub fn run_to_end(kind: Kind, args: &[&str]) -> (ExitStatus, String) {
    let scratch = tempfile::tempdir().expect("making a directory");
    let path = scratch.path().join("output");
    let log = File::create(&path).expect("creating the log");
    let output = log.try_clone().expect("sharing the log");
    let child = Command::new(kind.binary())
        .args(args)
        .current_dir(scratch.path())
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(log)
        .spawn()
        .expect("starting the server");
    let mut child = Reaped(child);
    let status = wait_for(SOON, "the server to stop by itself", || child.0.try_wait().expect("asking for the server's state"));
    (status, fs::read_to_string(&path).unwrap_or_default())
}

/// A process that does not outlive its test.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
