//! The listening sockets of a node: opened at the start and after CONFIG SET of port, bind or unixsocket. Each has a task that accepts and hands sockets
//! to `Connection`.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use slog::{error, warn};

use super::{Connection, Shell};
use crate::command::NodeState;
use crate::config::bind_address;
use crate::env::{Addr, ListenAddr, Listener};

/// How long an accept that failed for want of descriptors waits.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A word of `bind` that is no address.
    #[error("Invalid bind address '{0}'")]
    BindAddress(String),
    /// All addresses of `bind` may be missing, and are.
    #[error("none of the bind addresses is there")]
    NoAddress,
    /// A command that `rename-command` names is not there, or has no name left.
    #[error("{0}")]
    RenameCommand(String),
    /// An address can't be listened on.
    #[error("Could not create server TCP listening socket {addr}: {source}")]
    Listen {
        /// The address and port, or the path.
        addr: String,
        /// What the system says.
        source: std::io::Error,
    },
}

pub(crate) fn first_port(addrs: &[Addr]) -> u16 {
    addrs.iter().map(Addr::port).find(|port| *port != 0).unwrap_or(0)
}

/// Opens the sockets that the configuration names. An address with `-` before it may be missing on this machine.
pub(crate) fn listen(state: &NodeState) -> Result<Vec<Box<dyn Listener>>, StartError> {
    let config = &state.config;
    let mut listeners: Vec<Box<dyn Listener>> = Vec::new();
    let mut port = config.port;
    let open = |addr: ListenAddr, text: &str| {
        state.env.net.listen(&addr, config.tcp_backlog).map_err(|source| StartError::Listen { addr: text.to_owned(), source })
    };
    // A unix socket alone is a way to be reached; then port 0 means none, as in Redis. So does `bind` without an address.
    let with_tcp = !config.bind.is_empty() && (port != 0 || config.unixsocket.is_none());
    for bind in config.bind.iter().filter(|_| with_tcp) {
        let (ip, optional) = bind_address(bind).ok_or_else(|| StartError::BindAddress(bind.clone()))?;
        match open(ListenAddr::Tcp(SocketAddr::new(ip, port)), &format!("{bind}:{port}")) {
            Ok(listener) => {
                if port == 0 {
                    // All addresses share the port that the system has chosen for the first.
                    port = listener.local_addr().port();
                }
                listeners.push(listener);
            }
            Err(StartError::Listen { addr, source }) if optional => {
                warn!(state.log, "Not listening to {addr}: {source}");
            }
            Err(error) => return Err(error),
        }
    }
    if with_tcp && listeners.is_empty() {
        return Err(StartError::NoAddress);
    }
    if let Some(path) = &config.unixsocket {
        let mode = (config.unixsocketperm != 0).then_some(config.unixsocketperm);
        listeners.push(open(ListenAddr::Unix { path: path.clone(), mode }, &path.display().to_string())?);
    }
    Ok(listeners)
}

pub(crate) fn accept_all(shell: &Rc<Shell>, listeners: Vec<Box<dyn Listener>>) {
    for listener in listeners {
        let shell_of = shell.clone();
        let listener = Rc::new(RefCell::new(listener));
        let listener_of = listener.clone();
        let task = actix_rt::spawn(async move {
            loop {
                match poll_fn(|cx| listener_of.borrow_mut().poll_accept(cx)).await {
                    Ok(socket) => Connection::accept(&shell_of, socket),
                    Err(error) => {
                        warn!(shell_of.state.borrow().log, "Accepting client connection"; "error" => %error);
                        actix_rt::time::sleep(ACCEPT_RETRY).await;
                    }
                }
            }
        });
        shell.add_listener(task, listener);
    }
}

/// CONFIG SET port, bind: the old sockets go, then the new ones come; they may be on the same port. CONFIG SET has tried the addresses; if they
/// fail all the same, the node tries again until it can be reached.
pub(super) fn relisten(shell: &Rc<Shell>) {
    let shell = shell.clone();
    actix_rt::spawn(async move {
        // A socket is closed only when its task has gone.
        for listener in shell.take_listeners() {
            listener.abort();
            let _ = listener.await;
        }
        while !shell.is_stopping() {
            let opened = listen(&shell.state.borrow());
            match opened {
                Ok(listeners) => {
                    let addrs: Vec<Addr> = listeners.iter().map(|listener| listener.local_addr()).collect();
                    shell.state.borrow_mut().tcp_port = first_port(&addrs);
                    accept_all(&shell, listeners);
                    return;
                }
                Err(error) => {
                    error!(shell.state.borrow().log, "Failed to listen, trying again"; "error" => %error);
                    actix_rt::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    });
}
