//! Conf files, with `include`, and options in the same syntax: later lines override earlier ones. Files are read through the caller's disk.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Config;
use super::directive::{Mode, joined};
use super::known::{Known, known};
use super::table;
use crate::env::Disk;
use crate::types::glob;
use crate::types::split::split;

/// A file that includes itself ends here instead of never.
const INCLUDE_DEPTH_MAX: usize = 16;

/// What a load gives: the values, and what the log should tell about lines that have no effect.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<String>,
}

/// Why the server must not start.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    #[error("Fatal error, can't open config file '{}': {error}", path.display())]
    Open { path: PathBuf, error: io::Error },
    #[error(
        "*** FATAL CONFIG FILE ERROR (replikant {version}) ***\nReading {source_name}, at line {line}\n>>> '{text}'\n{reason}",
        version = env!("CARGO_PKG_VERSION")
    )]
    Line { source_name: String, line: usize, text: String, reason: String },
}

/// Reads the conf file, then what came on standard input, then the command line's options (as `command_line` gives them).
pub fn load(disk: &dyn Disk, path: Option<&Path>, stdin: Option<&[u8]>, options: &[u8]) -> Result<Loaded, ConfError> {
    let mut loader = Loader::new(Some(disk));
    if let Some(path) = path {
        loader.file(path)?;
    }
    if let Some(text) = stdin {
        loader.text("the standard input", text)?;
    }
    loader.text("the command line's options", options)?;
    Ok(loader.loaded)
}

/// Reads a text that cannot include files.
pub fn load_text(text: &[u8]) -> Result<Loaded, ConfError> {
    let mut loader = Loader::new(None);
    loader.text("the configuration", text)?;
    Ok(loader.loaded)
}

/// Reads a text, which may include files where there is a disk, over values that are there already.
pub fn load_over(config: Config, disk: Option<&dyn Disk>, text: &[u8]) -> Result<Loaded, ConfError> {
    let mut loader = Loader::new(disk);
    loader.loaded.config = config;
    loader.text("the configuration", text)?;
    Ok(loader.loaded)
}

/// Reads a file over values that are there already.
pub fn load_file_over(config: Config, disk: &dyn Disk, path: &Path) -> Result<Loaded, ConfError> {
    let mut loader = Loader::new(Some(disk));
    loader.loaded.config = config;
    loader.file(path)?;
    Ok(loader.loaded)
}

/// Sets one directive from the words behind its name.
pub fn set_directive(config: &mut Config, name: &str, words: &[&str]) -> Result<(), DirectiveError> {
    let bad = |reason: String| DirectiveError::Value { name: name.to_owned(), value: words.join(" "), reason };
    let Some(directive) = table::find(name) else {
        return Err(DirectiveError::Unknown(name.to_owned()));
    };
    // An error leaves a mixture behind.
    let mut changed = config.clone();
    directive.set(&mut changed, words, Mode::Replace).map_err(bad)?;
    *config = changed;
    Ok(())
}

/// Why a directive is not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectiveError {
    /// No directive of this server has that name.
    #[error("there is no directive '{0}'")]
    Unknown(String),
    /// It does not take that value.
    #[error("{name} {value}: {reason}")]
    Value {
        /// The directive.
        name: String,
        /// What it was to be set to.
        value: String,
        /// Why it can't be.
        reason: String,
    },
}

struct Loader<'a> {
    disk: Option<&'a dyn Disk>,
    loaded: Loaded,
    /// Directives that a line has set already: `save` replaces the defaults only once.
    seen: BTreeSet<&'static str>,
    depth: usize,
}

impl<'a> Loader<'a> {
    fn new(disk: Option<&'a dyn Disk>) -> Self {
        Loader { disk, loaded: Loaded { config: Config::default(), warnings: Vec::new() }, seen: BTreeSet::new(), depth: 0 }
    }

    fn file(&mut self, path: &Path) -> Result<(), ConfError> {
        let text = self.read(path).map_err(|error| ConfError::Open { path: path.to_owned(), error })?;
        self.text(&format!("the configuration file '{}'", path.display()), &text)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let disk = self.disk.ok_or_else(|| io::Error::other("no files here"))?;
        let mut text = Vec::new();
        disk.open(path)?.read_to_end(&mut text)?;
        Ok(text)
    }

    fn text(&mut self, source_name: &str, text: &[u8]) -> Result<(), ConfError> {
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = trim(line);
            let at = |reason: String| ConfError::Line {
                source_name: source_name.to_owned(),
                line: index + 1,
                text: String::from_utf8_lossy(line).into_owned(),
                reason,
            };
            match self.line(line) {
                Ok(None) => {}
                Ok(Some(included)) => self.include(&included).map_err(|error| match error {
                    IncludeError::Here(reason) => at(reason),
                    IncludeError::Inside(error) => error,
                })?,
                Err(reason) => return Err(at(reason)),
            }
        }
        Ok(())
    }

    /// Applies a line, or returns the path that it includes.
    fn line(&mut self, line: &[u8]) -> Result<Option<String>, String> {
        let Some((name, args)) = words(line)? else { return Ok(None) };
        if name == "include" {
            return match <[String; 1]>::try_from(args) {
                Ok([path]) => Ok(Some(path)),
                Err(_) => Err(BAD_DIRECTIVE.to_owned()),
            };
        }
        let Some(directive) = table::find(&name) else {
            return self.foreign(name, &args).map(|()| None);
        };
        let mode = if self.seen.insert(directive.name) { Mode::Replace } else { Mode::Append };
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        directive.set(&mut self.loaded.config, &args, mode)?;
        Ok(None)
    }

    /// A directive that only other servers have.
    fn foreign(&mut self, name: String, args: &[String]) -> Result<(), String> {
        match known(&name, args).ok_or(BAD_DIRECTIVE)? {
            Known::Refused => return Err(format!("'{name}' is not available yet, and the server would not be safe without it")),
            Known::Missing => self.loaded.warnings.push(format!("The directive '{name}' is not available yet: '{}' has no effect", args.join(" "))),
            Known::Default => {}
        }
        self.loaded.config.kept.insert(name, joined(args));
        Ok(())
    }

    fn include(&mut self, pattern: &str) -> Result<(), IncludeError> {
        if self.depth == INCLUDE_DEPTH_MAX {
            return Err(IncludeError::Here("files include each other too deeply".to_owned()));
        }
        let Some(disk) = self.disk else { return Err(IncludeError::Here("there are no files to include here".to_owned())) };
        self.depth += 1;
        for path in expand(disk, pattern) {
            self.file(&path).map_err(IncludeError::Inside)?;
        }
        self.depth -= 1;
        Ok(())
    }
}

enum IncludeError {
    /// The including line is at fault.
    Here(String),
    /// The error names its own file.
    Inside(ConfError),
}

const BAD_DIRECTIVE: &str = "Bad directive or wrong number of arguments";

/// A conf line's directive in lower case, and its words; `None` for a comment or an empty line.
pub(super) fn words(line: &[u8]) -> Result<Option<(String, Vec<String>)>, String> {
    if line.first().is_none_or(|&byte| byte == b'#') {
        return Ok(None);
    }
    let words = split(line).map_err(|_| "Unbalanced quotes in configuration line")?;
    let words = words.into_iter().map(String::from_utf8).collect::<Result<Vec<_>, _>>().map_err(|_| "arguments must be UTF-8")?;
    let mut words = words.into_iter();
    Ok(words.next().map(|name| (name.to_ascii_lowercase(), words.collect())))
}

pub(super) fn trim(line: &[u8]) -> &[u8] {
    line.trim_ascii()
}

/// The files that a pattern of the shell names, sorted; a path without a pattern stands for itself, even if it is not there.
fn expand(disk: &dyn Disk, pattern: &str) -> Vec<PathBuf> {
    let is_pattern = |text: &str| text.contains(['*', '?', '[']);
    if !is_pattern(pattern) {
        return vec![PathBuf::from(pattern)];
    }
    let mut paths = vec![PathBuf::new()];
    for component in Path::new(pattern).components() {
        let text = component.as_os_str().to_string_lossy();
        if !is_pattern(&text) {
            paths.iter_mut().for_each(|path| path.push(component));
            continue;
        }
        paths = paths.iter().flat_map(|dir| matching(disk, dir, &text)).collect();
    }
    paths.retain(|path| disk.exists(path));
    paths
}

fn matching(disk: &dyn Disk, dir: &Path, pattern: &str) -> Vec<PathBuf> {
    let listed = disk.list(if dir.as_os_str().is_empty() { Path::new(".") } else { dir }).unwrap_or_default();
    let names = listed.iter().filter_map(|path| path.file_name());
    let fits = |name: &str| name.starts_with('.') == pattern.starts_with('.') && glob::matches(pattern.as_bytes(), name.as_bytes(), false);
    names.filter(|name| fits(&name.to_string_lossy())).map(|name| dir.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EnableWhere;
    use crate::env::RealDisk;

    fn refusal(text: &str) -> String {
        load_text(text.as_bytes()).unwrap_err().to_string()
    }

    fn config(text: &str) -> Config {
        let loaded = load_text(text.as_bytes()).unwrap();
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        loaded.config
    }

    #[test]
    fn reads_lines() {
        let text = "# port 1\n\n  PORT 7000 \r\nrequirepass \"a \\x41\"\nmaxmemory 1kb\nunixsocketperm 770\nsave 60 1\nsave 30 2 10 3\n\
                    slaveof host 1\nbind 1.2.3.4 -::1\nenable-debug-command local\nrename-command CONFIG ''\nport 7001";
        let config = config(text);
        assert_eq!((config.port, config.requirepass.as_str(), config.maxmemory, config.unixsocketperm), (7001, "a A", 1024, 0o770));
        assert_eq!(config.save, [(60, 1), (30, 2), (10, 3)]);
        assert_eq!(config.slaveof, Some(("host".to_owned(), 1)));
        assert_eq!(config.bind, ["1.2.3.4", "-::1"]);
        assert_eq!(config.enable_debug_command, EnableWhere::Local);
        assert_eq!(config.rename_command, [("CONFIG".to_owned(), String::new())]);
    }

    #[test]
    fn refuses_in_the_words_of_redis() {
        let version = env!("CARGO_PKG_VERSION");
        let expected =
            format!("*** FATAL CONFIG FILE ERROR (replikant {version}) ***\nReading the configuration, at line 3\n>>> 'foo bar'\n{BAD_DIRECTIVE}");
        assert_eq!(refusal("port 1\n\n  foo bar \nport 2"), expected);
        let cases = [
            ("port", "wrong number of arguments"),
            ("port 1 2", "wrong number of arguments"),
            ("port abc", "argument couldn't be parsed into an integer"),
            ("port 65536", "argument must be between 0 and 65535 inclusive"),
            ("save \"60", "Unbalanced quotes in configuration line"),
            ("save 60", "Invalid save parameters"),
            ("slaveof a", "wrong number of arguments"),
            ("slaveof a b", "Invalid master port"),
            ("unixsocketperm 9", "argument couldn't be parsed as an octal number"),
            ("unixsocketperm 1000", "argument must be between 0 and 777 inclusive"),
            ("maxmemory xx", "argument must be a memory value"),
            ("include", BAD_DIRECTIVE),
            ("rename-command get", BAD_DIRECTIVE),
            ("client-output-buffer-limit normal 0 0", "Wrong number of arguments in buffer limit configuration."),
            ("cluster-enabled yes", "'cluster-enabled' is not available yet, and the server would not be safe without it"),
            ("dbfilename a/b", "dbfilename can't be a path, just a filename"),
        ];
        for (line, reason) in cases {
            assert_eq!(refusal(line).lines().last(), Some(reason), "{line}");
        }
        assert!(refusal("appendonly yes").contains("appendonly is not available yet"));
    }

    #[test]
    fn foreign_directives_are_kept_and_warned_of() {
        let loaded = load_text(b"io-threads 4\nappendfsync everysec\nproc-title-template \"{title} x\"").unwrap();
        assert_eq!(loaded.warnings.len(), 2);
        assert!(loaded.warnings[0].contains("'io-threads'"));
        assert_eq!(loaded.config.kept["io-threads"], "4");
        assert_eq!(loaded.config.kept["proc-title-template"], "\"{title} x\"");
    }

    #[test]
    fn files_include_others() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        write("main.conf", format!("timeout 1\ninclude {}\nhz 20\n", path("part-*.conf")));
        write("part-1.conf", "timeout 2\nport 1\n".to_owned());
        write("part-2.conf", "port 2\nhz 30\n".to_owned());
        let load = |name: &str, options: &str| load(&RealDisk, Some(&dir.path().join(name)), Some(b"maxclients 7"), options.as_bytes());
        let config = load("main.conf", "port \"3\" ").unwrap().config;
        assert_eq!((config.timeout, config.port, config.hz, config.maxclients), (2, 3, 20, 7));

        write("part-2.conf", "\nnonsense\n".to_owned());
        let error = load("main.conf", "").unwrap_err().to_string();
        assert!(error.contains(&format!("'{}', at line 2", path("part-2.conf"))), "{error}");
        write("loop.conf", format!("include {}", path("loop.conf")));
        assert!(load("loop.conf", "").unwrap_err().to_string().contains("too deeply"));
        write("gone.conf", format!("include {}", path("gone-*")));
        assert!(load("gone.conf", "").is_ok());
        write("gone.conf", format!("include {}", path("not-there")));
        assert!(load("gone.conf", "").unwrap_err().to_string().starts_with("Fatal error, can't open config file"));
    }

    #[test]
    fn options_add_save_points_to_those_of_the_file() {
        let line = crate::config::command_line(["--save", "30", "2", "--slaveof", "h", "1"].map(Into::into));
        let text = [b"save 60 1\n".as_slice(), &line.options].concat();
        let config = load_text(&text).unwrap().config;
        assert_eq!(config.save, [(60, 1), (30, 2)]);
        assert_eq!(config.slaveof, Some(("h".to_owned(), 1)));
    }

    /// The directives of Debian's /etc/redis/redis.conf.
    const DEBIAN: &str = r#"
bind 127.0.0.1 -::1
protected-mode yes
port 6379
tcp-backlog 511
timeout 0
tcp-keepalive 300
daemonize yes
pidfile /run/redis/redis-server.pid
loglevel notice
logfile /var/log/redis/redis-server.log
databases 16
always-show-logo no
set-proc-title yes
proc-title-template "{title} {listen-addr} {server-mode}"
stop-writes-on-bgsave-error yes
rdbcompression yes
rdbchecksum yes
dbfilename dump.rdb
rdb-del-sync-files no
dir /var/lib/redis
replica-serve-stale-data yes
replica-read-only yes
repl-diskless-sync yes
repl-diskless-sync-delay 5
repl-diskless-sync-max-replicas 0
repl-diskless-load disabled
repl-disable-tcp-nodelay no
replica-priority 100
acllog-max-len 128
lazyfree-lazy-eviction no
lazyfree-lazy-expire no
lazyfree-lazy-server-del no
replica-lazy-flush no
lazyfree-lazy-user-del no
lazyfree-lazy-user-flush no
oom-score-adj no
oom-score-adj-values 0 200 800
disable-thp yes
appendonly no
appendfilename "appendonly.aof"
appenddirname "appendonlydir"
appendfsync everysec
no-appendfsync-on-rewrite no
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 64mb
aof-load-truncated yes
aof-use-rdb-preamble yes
aof-timestamp-enabled no
slowlog-log-slower-than 10000
slowlog-max-len 128
latency-monitor-threshold 0
notify-keyspace-events ""
hash-max-listpack-entries 512
hash-max-listpack-value 64
list-max-listpack-size -2
list-compress-depth 0
set-max-intset-entries 512
zset-max-listpack-entries 128
zset-max-listpack-value 64
hll-sparse-max-bytes 3000
stream-node-max-bytes 4096
stream-node-max-entries 100
activerehashing yes
client-output-buffer-limit normal 0 0 0
client-output-buffer-limit replica 256mb 64mb 60
client-output-buffer-limit pubsub 32mb 8mb 60
hz 10
dynamic-hz yes
aof-rewrite-incremental-fsync yes
rdb-save-incremental-fsync yes
jemalloc-bg-thread yes
"#;

    #[test]
    fn debians_conf_loads() {
        let loaded = load_text(DEBIAN.as_bytes()).unwrap();
        assert_eq!(loaded.warnings, Vec::<String>::new());
        assert_eq!(loaded.config.pidfile, "/run/redis/redis-server.pid");
        assert!(loaded.config.daemonize);
    }
}
