//! CONFIG GET and CONFIG SET on the table.

use std::collections::BTreeMap;

use super::directive::{Directive, Mode};
use super::table::{self, TABLE};
use super::{Config, EnableWhere};
use crate::types::glob;

/// Names and values for CONFIG GET's patterns, sorted by name. A name without a pattern comes back as it was spelled; an older name answers by
/// itself, beside the newer.
pub fn get<'a>(config: &Config, patterns: impl IntoIterator<Item = &'a [u8]>) -> Vec<(Vec<u8>, String)> {
    let mut found = BTreeMap::new();
    for pattern in patterns {
        let is_pattern = pattern.iter().any(|byte| b"[*?".contains(byte));
        for directive in TABLE.iter().filter(|directive| !directive.file_only) {
            for name in directive.names() {
                let matched = if is_pattern { glob::matches(pattern, name.as_bytes(), true) } else { pattern.eq_ignore_ascii_case(name.as_bytes()) };
                if matched {
                    let shown = if is_pattern { name.as_bytes() } else { pattern };
                    found.entry(name).or_insert_with(|| (shown.to_vec(), directive.get(config)));
                }
            }
        }
    }
    found.into_values().collect()
}

/// Sets all pairs or none. `apply` is told each directive whose value has changed, with the new configuration, and may refuse; what it did for
/// those before is then its own to undo. `local` is whether the client is on this machine. Errors are whole replies.
pub fn set<'a>(
    config: &mut Config,
    pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    local: bool,
    apply: &mut dyn FnMut(&'static str, &Config) -> Result<(), String>,
) -> Result<Vec<&'static str>, String> {
    let pairs: Vec<(String, &[u8])> = pairs.into_iter().map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value)).collect();
    let mut rows: Vec<(&str, &'static Directive, &[u8])> = Vec::new();
    for (name, value) in &pairs {
        let directive = table::find(name).filter(|directive| !directive.file_only);
        let directive = directive.ok_or_else(|| format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'"))?;
        may_set(directive, config, local).map_err(|reason| failed(name, reason))?;
        if rows.iter().any(|(earlier, ..)| earlier.eq_ignore_ascii_case(name)) {
            return Err(failed(name, "duplicate parameter"));
        }
        rows.push((name, directive, value));
    }
    let mut new = config.clone();
    for (name, directive, value) in &rows {
        let value = std::str::from_utf8(value).map_err(|_| failed(name, "argument must be UTF-8"))?;
        directive.set(&mut new, &[value], Mode::Replace).map_err(|reason| failed(name, &reason))?;
    }
    let mut changed = Vec::new();
    for (name, directive, _) in &rows {
        if directive.get(&new) != directive.get(config) && !changed.contains(&directive.name) {
            apply(directive.name, &new).map_err(|reason| failed(name, &reason))?;
            changed.push(directive.name);
        }
    }
    *config = new;
    Ok(changed)
}

fn may_set(directive: &Directive, config: &Config, local: bool) -> Result<(), &'static str> {
    let protected_ok = match config.enable_protected_configs {
        EnableWhere::Yes => true,
        EnableWhere::Local => local,
        EnableWhere::No => false,
    };
    match directive {
        Directive { immutable: true, .. } => Err("can't set immutable config"),
        Directive { protected: true, .. } if !protected_ok => Err("can't set protected config"),
        _ => Ok(()),
    }
}

fn failed(name: &str, reason: &str) -> String {
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(config: &Config, patterns: &[&str]) -> Vec<String> {
        get(config, patterns.iter().map(|pattern| pattern.as_bytes()))
            .into_iter()
            .map(|(name, value)| format!("{}={value}", String::from_utf8_lossy(&name)))
            .collect()
    }

    fn set_all(config: &mut Config, pairs: &[(&str, &str)]) -> Result<Vec<&'static str>, String> {
        set(config, pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())), false, &mut |_, _| Ok(()))
    }

    #[test]
    fn gets_by_name_and_by_pattern() {
        let config = Config::default();
        assert_eq!(shown(&config, &["PORT", "port*"]), ["PORT=6379"]);
        assert_eq!(shown(&config, &["slave-p*"]), ["slave-priority=100"]);
        assert_eq!(shown(&config, &["SLAVE-PRIO*", "replica-priority", "slaveof"]), ["replica-priority=100", "slave-priority=100", "slaveof="]);
        assert_eq!(shown(&config, &["save"]), ["save=3600 1 300 100 60 10000"]);
        assert!(shown(&config, &["rename-command", "nope", "*nope*"]).is_empty());
        assert!(shown(&config, &["*"]).len() > 70);
    }

    #[test]
    fn sets_all_or_nothing() {
        let mut config = Config::default();
        assert_eq!(
            set_all(&mut config, &[("timeout", "7"), ("MAXMEMORY", "1mb"), ("save", ""), ("hz", "10")]),
            Ok(vec!["timeout", "maxmemory", "save"])
        );
        assert_eq!((config.timeout, config.maxmemory, config.save.len()), (7, 1 << 20, 0));
        let before = config.clone();
        assert!(set_all(&mut config, &[("timeout", "8"), ("maxclients", "0")]).is_err());
        assert_eq!(config, before);
    }

    #[test]
    fn refuses_in_the_words_of_redis() {
        let cases: [(&[(&str, &str)], &str); 19] = [
            (&[("nope", "1")], "ERR Unknown option or number of arguments for CONFIG SET - 'nope'"),
            (&[("rename-command", "get x")], "ERR Unknown option or number of arguments for CONFIG SET - 'rename-command'"),
            (&[("timeout", "1"), ("databases", "2")], "'databases') - can't set immutable config"),
            (&[("slaveof", "a 1")], "'slaveof') - can't set immutable config"),
            (&[("dir", "/tmp")], "'dir') - can't set protected config"),
            (&[("timeout", "1"), ("TIMEOUT", "2")], "'TIMEOUT') - duplicate parameter"),
            (&[("save", "60")], "'save') - Invalid save parameters"),
            (&[("save", "60 1  70 2")], "'save') - Invalid save parameters"),
            (&[("save", "0 1")], "'save') - Invalid save parameters"),
            (&[("maxmemory", "1.5gb")], "'maxmemory') - argument must be a memory value"),
            (&[("timeout", "01")], "'timeout') - argument couldn't be parsed into an integer"),
            (&[("timeout", "-1")], "'timeout') - argument must be between 0 and 2147483647 inclusive"),
            (&[("appendonly", "maybe")], "'appendonly') - argument must be 'yes' or 'no'"),
            (&[("rdbcompression", "")], "'rdbcompression') - argument must be 'yes' or 'no'"),
            (&[("loglevel", "loud")], "'loglevel') - argument(s) must be one of the following: debug, verbose, notice, warning, nothing"),
            (
                &[("client-output-buffer-limit", "normal 1 2")],
                "'client-output-buffer-limit') - Wrong number of arguments in buffer limit configuration.",
            ),
            (&[("client-output-buffer-limit", "foo 1 2 3")], "- Invalid client class specified in buffer limit configuration."),
            (&[("client-output-buffer-limit", "slave x 2 3")], "- Error in hard, soft or soft_seconds setting in buffer limit configuration."),
            (&[("maxmemory-clients", "101%")], "'maxmemory-clients') - percentage argument must be less or equal to 100"),
        ];
        for (pairs, end) in cases {
            let mut config = Config::default();
            let error = set_all(&mut config, pairs).unwrap_err();
            assert!(error.starts_with("ERR ") && error.ends_with(end), "{error}");
            assert_eq!(config, Config::default());
        }
    }

    #[test]
    fn values_are_brought_in_range_and_shown_as_in_redis() {
        let mut config = Config::default();
        let pairs = [
            ("hz", "1000"),
            ("repl-backlog-size", "1"),
            ("maxmemory-clients", "5%"),
            ("client-output-buffer-limit", "normal 1kb 2 3"),
            ("rdbcompression", "NO"),
        ];
        set_all(&mut config, &pairs).unwrap();
        let limits = "client-output-buffer-limit=normal 1024 2 3 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        let names = ["hz", "repl-backlog-size", "maxmemory-clients", "client-output-buffer-limit", "rdbcompression"];
        assert_eq!(shown(&config, &names), [limits, "hz=500", "maxmemory-clients=5%", "rdbcompression=no", "repl-backlog-size=16384"]);
    }

    #[test]
    fn protected_directives_follow_enable_protected_configs() {
        let mut config = Config { enable_protected_configs: EnableWhere::Local, ..Config::default() };
        let pairs = [(b"dbfilename".as_slice(), b"x.rdb".as_slice())];
        assert!(set(&mut config, pairs, false, &mut |_, _| Ok(())).is_err());
        assert_eq!(set(&mut config, pairs, true, &mut |_, _| Ok(())), Ok(vec!["dbfilename"]));
    }

    #[test]
    fn what_cannot_be_applied_changes_nothing() {
        let mut config = Config::default();
        let pairs = [(b"timeout".as_slice(), b"5".as_slice()), (b"port", b"1")];
        let error = set(&mut config, pairs, false, &mut |name, new| if name == "port" { Err(format!("no port {}", new.port)) } else { Ok(()) });
        assert_eq!(error.unwrap_err(), "ERR CONFIG SET failed (possibly related to argument 'port') - no port 1");
        assert_eq!(config, Config::default());
    }
}
