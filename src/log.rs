//! Where a node's log goes: a terminal in colour, a file as plain text or JSON, syslog. Levels have Redis's names and can change while the node
//! runs.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use slog::{Drain, KV, Level, Logger, OwnedKVList, Record, o};

use crate::config::{Config, LogFormat, LogLevel};

/// Changes the level of a running log.
#[derive(Clone)]
pub struct LevelSwitch(Arc<AtomicUsize>);

impl LevelSwitch {
    pub fn new(level: LogLevel) -> Self {
        LevelSwitch(Arc::new(AtomicUsize::new(slog_level(level))))
    }

    pub fn set(&self, level: LogLevel) {
        self.0.store(slog_level(level), Ordering::Relaxed);
    }

    fn lets_through(&self, record: &Record<'_>) -> bool {
        record.level().as_usize() <= self.0.load(Ordering::Relaxed)
    }
}

/// Redis's levels as slog's: `verbose` is slog's debug, `notice` its info. A bug is told at every level.
fn slog_level(level: LogLevel) -> usize {
    match level {
        LogLevel::Debug => Level::Trace,
        LogLevel::Verbose => Level::Debug,
        LogLevel::Notice => Level::Info,
        LogLevel::Warning => Level::Warning,
        LogLevel::Nothing => Level::Critical,
    }
    .as_usize()
}

/// The logger that a configuration asks for: `logfile` (relative to the working directory; empty for standard output), `log-format`, `loglevel`, syslog.
pub fn build(config: &Config) -> io::Result<(Logger, LevelSwitch)> {
    let switch = LevelSwitch::new(config.loglevel);
    let text = config.log_format == LogFormat::Text;
    let main: Box<dyn Drain<Ok = (), Err = slog::Never> + Send> = match (config.logfile.as_str(), text) {
        ("", true) => Box::new(terminal()),
        ("", false) => Box::new(slog_json::Json::default(io::stdout()).fuse()),
        (path, true) => {
            let decorator = slog_term::PlainSyncDecorator::new(open(Path::new(path))?);
            Box::new(slog_term::FullFormat::new(decorator).build().fuse())
        }
        (path, false) => Box::new(slog_json::Json::default(open(Path::new(path))?).fuse()),
    };
    let syslog = config.syslog_enabled.then(|| Syslog::open(&config.syslog_ident, &config.syslog_facility)).transpose()?;
    let both = slog::Duplicate::new(Mutex::new(main).fuse(), OptionalSyslog(syslog)).fuse();
    let filter = switch.clone();
    let filtered = slog::Filter::new(both, move |record| filter.lets_through(record));
    Ok((Logger::root(filtered.fuse(), o!()), switch))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn terminal() -> impl Drain<Ok = (), Err = slog::Never> {
    let decorator = slog_term::TermDecorator::new().stdout();
    let decorator = if io::stdout().is_terminal() { decorator.force_color() } else { decorator.force_plain() }.build();
    slog_term::FullFormat::new(decorator).build().fuse()
}

/// The system's log. One a process, as the C library has it.
struct Syslog {
    /// `openlog` keeps a pointer to it.
    _ident: std::ffi::CString,
}

struct OptionalSyslog(Option<Syslog>);

impl Syslog {
    fn open(ident: &str, facility: &str) -> io::Result<Self> {
        let facility = match facility.to_ascii_lowercase().as_str() {
            "user" => libc::LOG_USER,
            "local0" => libc::LOG_LOCAL0,
            "local1" => libc::LOG_LOCAL1,
            "local2" => libc::LOG_LOCAL2,
            "local3" => libc::LOG_LOCAL3,
            "local4" => libc::LOG_LOCAL4,
            "local5" => libc::LOG_LOCAL5,
            "local6" => libc::LOG_LOCAL6,
            "local7" => libc::LOG_LOCAL7,
            other => return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("unknown syslog facility '{other}'"))),
        };
        let ident = std::ffi::CString::new(ident).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "syslog-ident has a zero byte"))?;
        // SAFETY: the identity lives as long as the log is open.
        unsafe { libc::openlog(ident.as_ptr(), libc::LOG_PID | libc::LOG_NDELAY | libc::LOG_NOWAIT, facility) };
        Ok(Syslog { _ident: ident })
    }
}

impl Drain for OptionalSyslog {
    type Ok = ();
    type Err = io::Error;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), io::Error> {
        if self.0.is_none() {
            return Ok(());
        }
        let mut line = Line(record.msg().to_string());
        record.kv().serialize(record, &mut line).map_err(|_| io::ErrorKind::InvalidData)?;
        values.serialize(record, &mut line).map_err(|_| io::ErrorKind::InvalidData)?;
        let priority = match record.level() {
            Level::Critical => libc::LOG_CRIT,
            Level::Error => libc::LOG_ERR,
            Level::Warning => libc::LOG_WARNING,
            Level::Info => libc::LOG_NOTICE,
            Level::Debug => libc::LOG_INFO,
            Level::Trace => libc::LOG_DEBUG,
        };
        let text = std::ffi::CString::new(line.0.replace('\0', " ")).map_err(|_| io::ErrorKind::InvalidData)?;
        // SAFETY: format and text are strings that end with a zero.
        unsafe { libc::syslog(priority, c"%s".as_ptr(), text.as_ptr()) };
        Ok(())
    }
}

/// A message with its values behind it.
struct Line(String);

impl slog::Serializer for Line {
    fn emit_arguments(&mut self, key: slog::Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, ", {key}: {value}")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(format: LogFormat, level: LogLevel) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let config = Config { logfile: path.display().to_string(), log_format: format, loglevel: level, ..Config::default() };
        let (log, switch) = build(&config).unwrap();
        slog::debug!(log, "too fine");
        slog::info!(log, "a notice"; "port" => 6379);
        slog::warn!(log, "a warning");
        switch.set(LogLevel::Debug);
        slog::trace!(log, "everything");
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn levels_hold_back_and_can_change() {
        let text = logged(LogFormat::Text, LogLevel::Warning);
        assert!(!text.contains("too fine") && !text.contains("a notice"), "{text}");
        assert!(text.contains("a warning") && text.contains("everything"), "{text}");
    }

    #[test]
    fn json_has_one_object_a_line() {
        let text = logged(LogFormat::Json, LogLevel::Notice);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.lines().next().unwrap().contains("\"port\":6379"), "{text}");
    }
}
