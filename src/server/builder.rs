//! A node's configuration in the caller's words.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use slog::{Logger, warn};

use super::{Node, NodeHandle, StartError};
use crate::config::{ConfError, Config, DirectiveError, DisklessLoad, EvictionPolicy, load_file_over, load_over, set_directive};
use crate::env::Env;
use crate::log::LevelSwitch;

/// Why a node could not be built or started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A conf file, or text, that can't be read.
    #[error("{0}")]
    Conf(#[from] ConfError),
    /// A directive that is not there, or does not take its value.
    #[error("{0}")]
    Directive(#[from] DirectiveError),
    /// The directory of the dump file can't be made.
    #[error("the directory {}: {source}", path.display())]
    Dir {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The node can't listen.
    #[error("{0}")]
    Start(#[from] StartError),
}

/// What a caller has said, to be applied in order.
enum Step {
    Set(Box<dyn FnOnce(&mut Config)>),
    Directive(String, Vec<String>),
    Text(Vec<u8>),
    File(PathBuf),
}

/// Builds a [`Node`]. What is said later overrides what was said before.
///
/// Unless told otherwise, the node listens on 127.0.0.1 at a port that the system chooses, lives in memory alone ([`dir`](NodeBuilder::dir) changes that),
/// and logs nothing. All else is as in Redis.
///
/// ```
/// use replikant::config::EvictionPolicy;
/// use replikant::server::Node;
///
/// # actix_rt::System::new().block_on(async {
/// let master = Node::builder().max_memory(64 << 20, EvictionPolicy::AllkeysLru).backlog_size(1 << 20).start().await?;
/// let slave = Node::builder().replica_of("127.0.0.1", master.port()).directive("repl-timeout", &["10"]).start().await?;
/// println!("a master at {} and its slave at {}", master.addrs()[0], slave.addrs()[0]);
/// slave.stop(None).await;
/// master.stop(None).await;
/// # Ok::<(), replikant::server::BuildError>(())
/// # }).unwrap();
/// ```
#[must_use = "a builder does nothing until the node is started"]
pub struct NodeBuilder {
    steps: Vec<Step>,
    env: Env,
    log: Option<Logger>,
    log_level: Option<LevelSwitch>,
    in_memory: bool,
}

impl Default for NodeBuilder {
    fn default() -> Self {
        NodeBuilder { steps: Vec::new(), env: Env::real(), log: None, log_level: None, in_memory: true }
    }
}

impl NodeBuilder {
    /// A node with the defaults above.
    pub fn new() -> Self {
        NodeBuilder::default()
    }

    fn set(mut self, set: impl FnOnce(&mut Config) + 'static) -> Self {
        self.steps.push(Step::Set(Box::new(set)));
        self
    }

    /// The addresses of TCP to listen on.
    pub fn bind<A: Into<IpAddr>>(self, addresses: impl IntoIterator<Item = A>) -> Self {
        let addresses: Vec<String> = addresses.into_iter().map(|address| address.into().to_string()).collect();
        self.set(|config| config.bind = addresses)
    }

    /// The port of TCP; 0 lets the system choose, and [`NodeHandle::port`] tells which.
    pub fn port(self, port: u16) -> Self {
        self.set(move |config| config.port = port)
    }

    /// Listens on a socket in the file system, and on TCP only if a port other than 0 is given.
    pub fn unix_socket(self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.set(|config| config.unixsocket = Some(path))
    }

    /// Listens nowhere: only clients in this process reach the node. It can follow a master, but have no slaves.
    pub fn no_listener(self) -> Self {
        self.set(|config| {
            config.bind = Vec::new();
            config.unixsocket = None;
        })
    }

    /// Where the dump file is, which is loaded at the start if it is there, and written at save points. The directory is made if it is not there. Without
    /// one the node keeps nothing, and uses the system's directory for temporary files while slaves are synced.
    ///
    /// ```
    /// use replikant::server::{Commands, Node};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # actix_rt::System::new().block_on(async {
    /// let node = Node::builder().dir(dir.path()).save_points([(60, 1)]).start().await?;
    /// node.client().set("key", "kept").await?;
    /// node.stop(Some(true)).await;
    ///
    /// let again = Node::builder().dir(dir.path()).start().await?;
    /// again.ready().await;
    /// assert_eq!(again.client().get("key").await?.as_deref(), Some(&b"kept"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        self.in_memory = false;
        self.set(|config| config.dir = dir)
    }

    /// The dump file's name in the directory.
    pub fn dump_file(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.directive("dbfilename", &[&name])
    }

    /// When to save: after so many seconds, if there were so many changes. Stopping saves as well, then.
    pub fn save_points(self, points: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let words: Vec<String> = points.into_iter().flat_map(|(seconds, changes)| [seconds.to_string(), changes.to_string()]).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.directive("save", if words.is_empty() { &[""] } else { &words })
    }

    /// Follows a master from the start.
    pub fn replica_of(self, host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        self.directive("replicaof", &[&host, &port.to_string()])
    }

    /// The password for the master.
    pub fn master_password(self, password: impl Into<String>) -> Self {
        let password = password.into();
        self.set(|config| config.masterauth = password)
    }

    /// The password that clients with sockets must give. Clients in this process need none.
    pub fn password(self, password: impl Into<String>) -> Self {
        let password = password.into();
        self.set(|config| config.requirepass = password)
    }

    /// How many bytes the data may take (0: no limit), and what goes when they are reached.
    pub fn max_memory(self, bytes: u64, policy: EvictionPolicy) -> Self {
        self.set(move |config| (config.maxmemory, config.maxmemory_policy) = (bytes, policy))
    }

    /// Bytes of the stream that are kept for slaves that come back.
    pub fn backlog_size(self, bytes: u64) -> Self {
        self.directive("repl-backlog-size", &[&bytes.to_string()])
    }

    /// After how long a silent link is given up, in whole seconds.
    pub fn replication_timeout(self, timeout: Duration) -> Self {
        self.directive("repl-timeout", &[&timeout.as_secs().max(1).to_string()])
    }

    /// How many databases there are.
    pub fn databases(self, count: u32) -> Self {
        self.directive("databases", &[&count.to_string()])
    }

    /// Any directive, with the words behind its name, as in a conf file.
    ///
    /// ```
    /// use replikant::config::DirectiveError;
    /// use replikant::server::{BuildError, Node};
    ///
    /// let refused = Node::builder().directive("maxclients", &["many"]).build().err();
    /// assert!(matches!(refused, Some(BuildError::Directive(DirectiveError::Value { .. }))));
    /// ```
    pub fn directive(mut self, name: impl Into<String>, words: &[&str]) -> Self {
        self.steps.push(Step::Directive(name.into(), words.iter().map(|word| word.to_string()).collect()));
        self
    }

    /// Lines in the syntax of a conf file.
    pub fn conf_text(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.steps.push(Step::Text(text.into()));
        self
    }

    /// A conf file. If it names no `dir`, the node still lives in memory alone.
    pub fn conf_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.steps.push(Step::File(path.into()));
        self
    }

    /// The host application's logger.
    pub fn log(mut self, log: Logger) -> Self {
        self.log = Some(log);
        self
    }

    /// Lets CONFIG SET loglevel turn this switch.
    pub fn log_level(mut self, switch: LevelSwitch) -> Self {
        self.log_level = Some(switch);
        self
    }

    /// Another world to live in: the simulated one of `sim`, or one with traits of your own.
    pub fn env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    /// Applies what was said.
    pub fn build(self) -> Result<Node, BuildError> {
        let base = std::env::temp_dir();
        let mut config = Config { bind: vec!["127.0.0.1".to_owned()], port: 0, save: Vec::new(), dir: base.clone(), ..Config::default() };
        let mut warnings = Vec::new();
        for step in self.steps {
            match step {
                Step::Set(set) => set(&mut config),
                Step::Directive(name, words) => {
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    set_directive(&mut config, &name, &words)?;
                }
                Step::Text(text) => {
                    let loaded = load_over(config, Some(&*self.env.disk), &text)?;
                    config = loaded.config;
                    warnings.extend(loaded.warnings);
                }
                Step::File(path) => {
                    let loaded = load_file_over(config, &*self.env.disk, &path)?;
                    config = loaded.config;
                    warnings.extend(loaded.warnings);
                }
            }
        }
        let in_memory = self.in_memory && config.dir == base;
        if in_memory {
            // Should somebody say SAVE, nodes must not write over each other.
            config.dbfilename = format!("replikant-{}.rdb", self.env.random.hex(16));
            // Nor is a master's snapshot to stay behind as a dump file.
            if config.repl_diskless_load == DisklessLoad::Disabled {
                config.repl_diskless_load = DisklessLoad::SwapDb;
            }
        }
        if !in_memory && let Err(source) = self.env.disk.create_dir_all(&config.dir) {
            return Err(BuildError::Dir { path: config.dir, source });
        }
        let mut node = Node::new(config).env(self.env).in_memory(in_memory);
        if let Some(log) = self.log {
            warnings.iter().for_each(|warning| warn!(log, "{warning}"));
            node = node.log(log);
        }
        Ok(match self.log_level {
            Some(switch) => node.log_level(switch),
            None => node,
        })
    }

    /// Builds the node and starts it, as [`Node::start`] does: within a tokio `LocalSet`, such as an actix `System` has.
    pub async fn start(self) -> Result<NodeHandle, BuildError> {
        Ok(self.build()?.start().await?)
    }
}
