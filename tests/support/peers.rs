//! The real servers that `.ci/peers` installs.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    V6,
    V7,
    V8,
    Valkey,
}

impl Peer {
    pub const ALL: [Peer; 4] = [Peer::V6, Peer::V7, Peer::V8, Peer::Valkey];

    /// By the name that `--version` options and environment variables use.
    pub fn named(name: &str) -> Option<Peer> {
        match name {
            "6" | "6.2.14" => Some(Peer::V6),
            "7" | "7.0.15" => Some(Peer::V7),
            "8" | "8.2.3" => Some(Peer::V8),
            "valkey" => Some(Peer::Valkey),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Peer::V6 => "redis 6.2.14",
            Peer::V7 => "redis 7.0.15",
            Peer::V8 => "redis 8.2.3",
            Peer::Valkey => "valkey 8.1",
        }
    }

    pub fn binary(self) -> PathBuf {
        file(match self {
            Peer::V6 => "6.2.14/redis-server",
            Peer::V7 => "7.0.15/redis-server",
            Peer::V8 => "8.2.3/redis-server",
            Peer::Valkey => "valkey/valkey-server",
        })
    }

    /// 6.2 answers DEBUG to everyone and does not know the directive.
    pub fn has_enable_debug_command(self) -> bool {
        self != Peer::V6
    }
}

/// A file that `.ci/peers` installs, installing it if it is missing.
pub fn file(name: &str) -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let dir = DIR.get_or_init(|| match std::env::var_os("REPLIKANT_PEERS") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/peers"),
    });
    let path = dir.join(name);
    if !path.exists() {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".ci/peers");
        let status = Command::new(script).stdin(Stdio::null()).stdout(Stdio::null()).status();
        assert!(status.is_ok_and(|status| status.success()), ".ci/peers failed");
        assert!(path.exists(), ".ci/peers did not bring {name}");
    }
    path
}

/// What the real redis-cli prints to a person for this command.
#[track_caller]
pub fn cli(port: u16, words: &[&str]) -> String {
    let output = Command::new(file("7.0.15/redis-cli"))
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "--no-raw"])
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("starting redis-cli");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    text.trim_end().to_owned()
}
