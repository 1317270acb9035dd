//! The embedding API: a node is built from a configuration, started within the caller's actix (or tokio LocalSet) thread, asked for its addresses,
//! stopped. Several nodes live side by side in one thread; nothing is static.

use std::path::PathBuf;
use std::rc::Rc;

use actix::Actor;
use futures::channel::oneshot;
use slog::{Logger, error, info, o};

pub use crate::actor::StartError;
use crate::actor::{Addresses, Keyspace, ReplicaClient, ReplicationMaster, Shell};
use crate::actor::{accept_all, first_port, listen};
use crate::command::{Loading, NodeState, Request};
use crate::config::Config;
use crate::env::{Addr, Env};
use crate::keyspace::{DbIndex, UnixMs};
use crate::log::LevelSwitch;
use crate::persistence;
use crate::rdb::{LoadError, LoadOptions, Loaded};
use crate::replication::{MasterLink, ReplId, ReplOffset, Role};

/// A node that has not started yet.
pub struct Node {
    config: Config,
    env: Env,
    log: Logger,
    log_level: Option<LevelSwitch>,
    config_file: Option<PathBuf>,
    executable: String,
}

/// A running node. Dropping it leaves the node running; `stop` ends it.
#[derive(Clone)]
pub struct NodeHandle {
    shell: Rc<Shell>,
    addrs: Vec<Addr>,
}

impl Node {
    /// A node on the machine's own clock, network and disk, that logs nothing.
    pub fn new(config: Config) -> Self {
        Node { config, env: Env::real(), log: Logger::root(slog::Discard, o!()), log_level: None, config_file: None, executable: String::new() }
    }

    /// Another world to live in.
    pub fn env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    pub fn log(mut self, log: Logger) -> Self {
        self.log = log;
        self
    }

    /// Lets CONFIG SET loglevel turn this switch.
    pub fn log_level(mut self, switch: LevelSwitch) -> Self {
        self.log_level = Some(switch);
        self
    }

    /// The file that the configuration came from, for CONFIG REWRITE, and the program, for INFO.
    pub fn origin(mut self, config_file: Option<PathBuf>, executable: String) -> Self {
        self.config_file = config_file;
        self.executable = executable;
        self
    }

    /// Starts the node's actors on this thread, which must run a tokio LocalSet (an actix System does). Returns when it listens; its data may
    /// still be loading (clients are told so), see `NodeHandle::ready`.
    pub async fn start(self) -> Result<NodeHandle, StartError> {
        let mut state = NodeState::new(self.env, self.log, self.config).map_err(StartError::Config)?;
        state.log_level = self.log_level;
        state.config_file = self.config_file;
        state.executable = self.executable;
        if let Some((host, port)) = state.config.slaveof.clone() {
            state.role = Role::Replica(Box::new(MasterLink::new(host, port, state.steady_ms)));
        }
        let listeners = listen(&state)?;
        let addrs: Vec<Addr> = listeners.iter().map(|listener| listener.local_addr()).collect();
        state.tcp_port = first_port(&addrs);
        let shell = Shell::new(state);
        shell.state.borrow_mut().bystanders = Some(crate::actor::ServeBystanders::of(&shell));
        shell.set_addresses(Addresses {
            keyspace: Keyspace::new(shell.clone()).start(),
            master: ReplicationMaster::new(shell.clone()).start(),
            replica: ReplicaClient::new(shell.clone()).start(),
        });
        accept_all(&shell, listeners);
        begin_load(&shell);
        Ok(NodeHandle { shell, addrs })
    }
}

impl NodeHandle {
    /// Where the node listens.
    pub fn addrs(&self) -> &[Addr] {
        &self.addrs
    }

    /// The TCP port that was bound; 0 if none.
    pub fn port(&self) -> u16 {
        self.shell.state.borrow().tcp_port
    }

    /// The state that the node's actors share: for looking at it on the node's thread, between turns.
    pub fn shell(&self) -> &Rc<Shell> {
        &self.shell
    }

    /// Returns when the data from disk is loaded, or the node has stopped.
    pub async fn ready(&self) {
        while self.shell.state.borrow().loading.is_some() && !self.shell.is_stopping() {
            self.shell.loaded().await;
        }
    }

    /// Stops the node as SHUTDOWN does (`save`: as asked, or by the save points), and returns when it has stopped.
    pub async fn stop(&self, save: Option<bool>) {
        self.request_stop(save);
        self.stopped().await;
    }

    /// Asks the node to stop, as a signal does.
    pub fn request_stop(&self, save: Option<bool>) {
        self.shell.state.borrow_mut().requests.push(Request::Shutdown { save, now: true, force: false });
        self.shell.wake();
    }

    /// Returns when the node has stopped: with the reason, if it was not asked to.
    pub async fn stopped(&self) -> Option<String> {
        self.shell.wait_stopped().await
    }
}

/// Loads the dump file on another thread, aside; clients are told LOADING until it is in place.
fn begin_load(shell: &Rc<Shell>) {
    let mut guard = shell.state.borrow_mut();
    let state = &mut *guard;
    let path = state.config.dir.join(&state.config.dbfilename);
    let total_bytes = state.env.disk.open(&path).and_then(|file| file.size()).unwrap_or(0);
    if total_bytes == 0 && !state.env.disk.exists(&path) {
        drop(guard);
        return finish_start(shell);
    }
    state.loading = Some(Loading { started_unix: state.now_ms / 1000, total_bytes, ..Loading::default() });
    let mut options = LoadOptions::new(state.keyspace.databases(), state.keyspace.hash_seed());
    options.checksum = state.config.rdbchecksum;
    options.access = state.access_when_loading();
    options.limits = state.config.limits;
    options.drop_expired_at = matches!(state.role, Role::Master).then_some(UnixMs(state.now_ms));
    let (sender, receiver) = oneshot::channel();
    let (env, log, clock) = (state.env.clone(), state.log.clone(), state.env.clock.clone());
    let job = move || {
        let mut told_ns = clock.monotonic_ns();
        let mut progress = |at: crate::rdb::Progress| {
            if clock.monotonic_ns() - told_ns > 1_000_000_000 {
                told_ns = clock.monotonic_ns();
                info!(log, "Loading RDB"; "bytes" => at.bytes, "of" => total_bytes, "keys" => at.keys);
            }
            std::ops::ControlFlow::Continue(())
        };
        let _ = sender.send(persistence::load_file(&*env.disk, &path, &options, &mut progress));
    };
    let spawned = state.env.spawner.spawn_job("load", Box::new(job));
    drop(guard);
    if let Err(error) = spawned {
        return shell.stop(Some(format!("no thread to load the dump file on: {error}")));
    }
    let shell = shell.clone();
    actix_rt::spawn(async move {
        match receiver.await {
            Ok(Ok(loaded)) => {
                let placed = loaded.map_or(Ok(()), |loaded| put_in_place(&mut shell.state.borrow_mut(), loaded));
                match placed {
                    Ok(()) => finish_start(&shell),
                    Err(error) => load_failed(&shell, error),
                }
            }
            Ok(Err(error)) => load_failed(&shell, error),
            Err(_) => shell.stop(Some("the loader of the dump file has ended without a result".to_owned())),
        }
    });
}

fn load_failed(shell: &Shell, error: LoadError) {
    let text = format!("Fatal error loading the DB: {error}. Exiting.");
    error!(shell.state.borrow().log, "{text}");
    shell.stop(Some(text));
}

/// The loaded data becomes the node's; a slave can go on from where its file says it was.
fn put_in_place(state: &mut NodeState, loaded: Loaded) -> Result<(), LoadError> {
    state.tick();
    state.put_in_place(loaded.keyspace, &loaded.libraries)?;
    (state.save.last_load_keys, state.save.last_load_expired) = (loaded.keys_loaded, loaded.keys_expired);
    info!(state.log, "DB loaded from disk"; "keys" => loaded.keys_loaded, "expired" => loaded.keys_expired, "bytes" => loaded.bytes);
    let Role::Replica(link) = &mut state.role else { return Ok(()) };
    let known = loaded.aux.repl_id.as_deref().and_then(|id| ReplId::parse(id.as_bytes()));
    let offset = loaded.aux.repl_offset.and_then(|offset| u64::try_from(offset).ok());
    let db = loaded.aux.repl_stream_db.and_then(|db| u32::try_from(db).ok());
    if let (Some(replid), Some(offset), Some(db)) = (known, offset, db)
        && db < state.config.databases
    {
        link.cached = Some((replid, ReplOffset(offset)));
        link.stream_db = Some(DbIndex(db));
        state.stream.adopt(replid, ReplOffset(offset));
    }
    Ok(())
}

/// Everything is in place: serve, and follow the master if there is one.
fn finish_start(shell: &Rc<Shell>) {
    {
        let mut state = shell.state.borrow_mut();
        state.tick();
        state.loading = None;
        state.save.last_save_unix = state.now_ms / 1000;
        if matches!(state.role, Role::Replica(_)) {
            state.requests.push(Request::Follow);
        }
        info!(state.log, "Ready to accept connections"; "port" => state.tcp_port);
    }
    shell.notify_loaded();
    shell.wake();
}
