//! A node's configuration: typed values, the one table of directives, the conf file's syntax, CONFIG REWRITE. No actors, no I/O but what
//! the caller passes in.

mod directive;

pub use directive::{Config, EnableWhere, EvictionPolicy, LogFormat, LogLevel, OutputLimit};
