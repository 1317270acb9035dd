//! Counts the panics of this thread. tokio and actix catch a task's panic; a test must still fail by it.

use std::cell::{Cell, RefCell};
use std::sync::Once;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Begins to count, in addition to what the process does on a panic.
pub(super) fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            COUNT.with(|count| count.set(count.get() + 1));
            LAST.with(|last| *last.borrow_mut() = info.to_string().replace('\n', " "));
            before(info);
        }));
    });
}

pub(super) fn count() -> u64 {
    COUNT.with(Cell::get)
}

/// What the last one said, and where.
pub(super) fn last() -> String {
    LAST.with(|last| last.borrow().clone())
}
