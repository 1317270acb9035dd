//! What any conf file is held to: the fuzzer calls this with its inventions, a test with those that it has kept.

use super::{load_text, rewrite};

/// A text that loads still says the same after CONFIG REWRITE, and a second rewrite changes nothing. Panics where something is wrong.
pub fn check_conf(text: &[u8]) {
    let Ok(loaded) = load_text(text) else { return };
    let once = rewrite(text, &loaded.config);
    let reloaded = load_text(&once).unwrap_or_else(|error| panic!("a rewritten conf does not load: {error}"));
    assert_eq!(reloaded.config, loaded.config, "a rewritten conf says something else");
    assert_eq!(rewrite(&once, &loaded.config), once, "a second rewrite changes something");
}
