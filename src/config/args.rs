//! The command line: `[conf file] [-] [--directive value ...]`, read as redis-server 7.0 reads it.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::types::split::{quote, split};

/// What the words of the command line ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    pub conf: Option<PathBuf>,
    /// `-`: more lines of the conf come on standard input.
    pub stdin: bool,
    /// The options as lines of a conf file.
    pub options: Vec<u8>,
}

/// `args` are without the program's name. What stands for itself (`--version`, `--help`) is the caller's.
pub fn command_line(args: impl IntoIterator<Item = OsString>) -> CommandLine {
    let args: Vec<Vec<u8>> = args.into_iter().map(OsString::into_vec).collect();
    let mut line = CommandLine::default();
    let mut rest = args.as_slice();
    if let Some((first, others)) = rest.split_first()
        && first.first() != Some(&b'-')
    {
        line.conf = Some(PathBuf::from(std::ffi::OsStr::from_bytes(first)));
        rest = others;
    }
    // The word behind a lone option's name is its value, even if it begins with dashes.
    let mut value_due = false;
    for (i, arg) in rest.iter().enumerate() {
        let next = rest.get(i + 1);
        if arg == b"-" && next.is_none() {
            line.stdin = true;
        } else if let Some(option) = arg.strip_prefix(b"--").filter(|_| !value_due) {
            if !line.options.is_empty() {
                line.options.push(b'\n');
            }
            line.options.extend_from_slice(option);
            line.options.push(b' ');
            // `--port 6380` may also come as one word.
            value_due = split(arg).is_ok_and(|words| words.len() == 1);
            if arg.eq_ignore_ascii_case(b"--save") && next.is_none_or(|next| next.starts_with(b"--")) {
                line.options.extend_from_slice(b"\"\"");
                value_due = false;
            }
        } else {
            quote(arg, &mut line.options);
            line.options.push(b' ');
            value_due = false;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> (Option<String>, bool, String) {
        let line = command_line(args.iter().map(OsString::from));
        (line.conf.map(|path| path.display().to_string()), line.stdin, String::from_utf8(line.options).unwrap())
    }

    fn options(args: &[&str]) -> String {
        read(args).2
    }

    #[test]
    fn options_become_lines() {
        assert_eq!(options(&["--port", "6380", "--save", "60", "1"]), "port \"6380\" \nsave \"60\" \"1\" ");
        assert_eq!(options(&["--port 6380", "--hz", "5"]), "port 6380 \nhz \"5\" ");
        assert_eq!(options(&["--requirepass", "a b\""]), "requirepass \"a b\\\"\" ");
    }

    #[test]
    fn a_value_may_begin_with_dashes() {
        assert_eq!(options(&["--requirepass", "--x", "--port", "1"]), "requirepass \"--x\" \nport \"1\" ");
    }

    #[test]
    fn save_may_lack_its_value() {
        assert_eq!(options(&["--save", "--port", "1"]), "save \"\"\nport \"1\" ");
        assert_eq!(options(&["--save"]), "save \"\"");
        assert_eq!(options(&["--save", "", "--port", "1"]), "save \"\" \nport \"1\" ");
    }

    #[test]
    fn a_conf_file_comes_first_and_a_dash_last() {
        assert_eq!(read(&["a.conf", "--port", "1", "-"]), (Some("a.conf".to_owned()), true, "port \"1\" ".to_owned()));
        assert_eq!(read(&["-"]), (None, true, String::new()));
        assert_eq!(read(&[]), (None, false, String::new()));
    }
}
