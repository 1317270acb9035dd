//! A node from outside: made, started, asked, stopped.

use std::path::PathBuf;
use std::rc::Rc;

use actix::Actor;
use slog::{Logger, o};

use super::start::{begin_load, finish_start};
use super::{Client, NodeActor, NodeBuilder, NodeEvents, NodeFailure, RemoteClient, StartError};
use crate::actor::{Addresses, Keyspace, ReplicaClient, ReplicationMaster, Shell, Verifier};
use crate::actor::{accept_all, first_port, listen};
use crate::command::{NodeState, Request, ShutdownHow};
use crate::config::Config;
use crate::env::{Addr, Env};
use crate::log::LevelSwitch;
use crate::replication::{MasterLink, Role};

/// A node that has not started yet: [`Node::builder`] makes one, or [`Node::new`] from a whole [`Config`].
pub struct Node {
    config: Config,
    env: Env,
    log: Logger,
    log_level: Option<LevelSwitch>,
    config_file: Option<PathBuf>,
    executable: String,
    /// There is no dump file to load.
    in_memory: bool,
}

/// A running node, on the thread that started it. Dropping the handle leaves the node running; [`stop`](NodeHandle::stop) ends it.
#[derive(Clone)]
pub struct NodeHandle {
    shell: Rc<Shell>,
    addrs: Vec<Addr>,
    actor: actix::Addr<NodeActor>,
}

impl Node {
    /// A node on the machine's own clock, network and disk, that logs nothing.
    pub fn new(config: Config) -> Self {
        Node {
            config,
            env: Env::real(),
            log: Logger::root(slog::Discard, o!()),
            log_level: None,
            config_file: None,
            executable: String::new(),
            in_memory: false,
        }
    }

    /// A builder, for everything that a node can be told.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::new()
    }

    /// Nothing is loaded at the start.
    pub(super) fn in_memory(mut self, in_memory: bool) -> Self {
        self.in_memory = in_memory;
        self
    }

    /// Another world to live in.
    pub fn env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    /// Where it logs.
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

    /// Starts the node's actors on this thread. Returns when it listens; its data may still be loading (clients are told so), see [`NodeHandle::ready`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio `LocalSet` (an actix `System` has one): actors can't be spawned there.
    pub async fn start(self) -> Result<NodeHandle, StartError> {
        let mut state = NodeState::new(self.env, self.log, self.config).map_err(StartError::RenameCommand)?;
        state.log_level = self.log_level;
        state.config_file = self.config_file;
        state.executable = self.executable;
        if let Some((host, port)) = state.config.slaveof.clone() {
            state.role = Role::Replica(Box::new(MasterLink::new(host, port, state.steady_ms)));
        }
        if self.in_memory {
            // Only snapshots for slaves need it, which fail by themselves where it can't be made.
            let _ = state.env.disk.create_dir_all(&state.config.dir);
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
            verifier: Verifier::new(shell.clone()).start(),
        });
        accept_all(&shell, listeners);
        if self.in_memory {
            finish_start(&shell)
        } else {
            begin_load(&shell)
        }
        let actor = NodeActor::new(shell.clone()).start();
        Ok(NodeHandle { shell, addrs, actor })
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
    #[doc(hidden)]
    pub fn shell(&self) -> &Rc<Shell> {
        &self.shell
    }

    /// A client without a socket, on a connection of its own. It can be used on this thread; it needs no password.
    pub fn client(&self) -> Client {
        Client::open(&self.shell)
    }

    /// A client for other threads.
    pub fn remote_client(&self) -> RemoteClient {
        RemoteClient::new(self.actor.clone())
    }

    /// The actor that other actors speak to, from any thread.
    pub fn actor(&self) -> actix::Addr<NodeActor> {
        self.actor.clone()
    }

    /// What happens to the node's replication from now on.
    pub fn events(&self) -> NodeEvents {
        NodeEvents::new(self.shell.state.borrow().syncs.events.listen())
    }

    /// Returns when the data from disk is loaded, or the node has stopped.
    pub async fn ready(&self) {
        while self.shell.state.borrow().loading.is_some() && !self.shell.is_stopping() {
            self.shell.loaded().await;
        }
    }

    /// Stops the node as SHUTDOWN does (`save`: as asked, or by the save points), and returns when it has stopped. Slaves that lag are waited for, and writes
    /// paused meanwhile, for as long as the directive `shutdown-timeout` says: 10 seconds, unless set; 0 waits for nobody. A node that is asked twice waits for
    /// the same end. One that can't save, or is told SHUTDOWN ABORT, goes on, and so does this wait.
    pub async fn stop(&self, save: Option<bool>) {
        self.request_stop(save);
        self.stopped().await;
    }

    /// Asks the node to stop, as [`stop`](Self::stop) and signals do.
    pub fn request_stop(&self, save: Option<bool>) {
        self.shell.state.borrow_mut().requests.push(Request::Shutdown(ShutdownHow { save, ..ShutdownHow::default() }));
        self.shell.wake();
    }

    /// Whether it has been asked to stop and has not given that up: it waits for slaves, or is as good as gone.
    pub fn is_stopping(&self) -> bool {
        self.shell.is_stopping() || self.shell.state.borrow().shutdown.is_some()
    }

    /// Returns when the node has stopped: with the reason, if it was not asked to.
    pub async fn stopped(&self) -> Option<NodeFailure> {
        self.shell.wait_stopped().await
    }
}
