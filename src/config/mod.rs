//! A node's configuration: typed values, the one table of directives, the conf file's syntax, the command line, CONFIG GET, SET and REWRITE.
//! No actors, no I/O but what the caller passes in.

mod access;
mod args;
mod check;
mod directive;
mod events;
mod known;
mod lists;
mod load;
mod rewrite;
mod table;
mod values;

pub use crate::types::limits::Limits;
pub use access::{get, set};
pub use args::{CommandLine, command_line};
#[doc(hidden)]
pub use check::check_conf;
pub use events::Events;
pub use lists::{bind_address, percentiles};
pub use load::{ConfError, DirectiveError, Loaded, load, load_file_over, load_over, load_text, set_directive};
pub use rewrite::rewrite;
pub use values::{Config, DisklessLoad, EnableWhere, EvictionPolicy, LogFormat, LogLevel, OutputLimit, ReplDialect};
