//! Keyspace events: what has happened to a key, published to whoever subscribed to the key or to the event. Off, they cost one look at the
//! configuration. They are not in the stream: a slave makes its own when it applies a command.

use super::{Ctx, NodeState};
use crate::config::Events;
use crate::keyspace::{DbIndex, Key, Kind, SetExpire};

impl NodeState {
    /// Something has happened to a key (`notifyKeyspaceEvent`).
    #[inline]
    pub fn notify(&mut self, class: Events, event: &str, db: DbIndex, key: &[u8]) {
        if self.config.notify_keyspace_events.intersects(class) {
            self.publish_event(event, db, key);
        }
    }

    #[cold]
    fn publish_event(&mut self, event: &str, db: DbIndex, key: &[u8]) {
        let events = self.config.notify_keyspace_events;
        if self.pubsub.channels.is_empty() && self.pubsub.patterns.is_empty() {
            return;
        }
        if events.contains(Events::KEYSPACE) {
            let mut channel = format!("__keyspace@{}__:", db.0).into_bytes();
            channel.extend_from_slice(key);
            self.publish(&channel, event.as_bytes());
        }
        if events.contains(Events::KEYEVENT) {
            self.publish(format!("__keyevent@{}__:{event}", db.0).as_bytes(), key);
        }
    }
}

impl Ctx<'_> {
    /// Something has happened to a key of the current database.
    #[inline]
    pub fn notify(&mut self, class: Events, event: &str, key: &[u8]) {
        self.node.notify(class, event, self.db, key);
    }

    /// A command of strings has changed a key, or created it if `is_new`.
    #[inline]
    pub fn notify_string(&mut self, event: &str, is_new: bool, key: &[u8]) {
        self.notify_new(Events::STRING, event, is_new, key);
    }

    /// A command has changed a key, or created it if `is_new`.
    #[inline]
    pub fn notify_new(&mut self, class: Events, event: &str, is_new: bool, key: &[u8]) {
        if is_new {
            self.notify(Events::NEW, "new", key);
        }
        self.notify(class, event, key);
    }

    /// Sets a key to a string, whatever it was, and tells everybody who cares.
    #[inline]
    pub fn store(&mut self, key: Key<'_>, value: &[u8], expire: SetExpire) {
        if !self.node.config.notify_keyspace_events.is_empty() {
            return self.store_and_notify(key, value, expire);
        }
        self.node.keyspace.db_mut(self.db).set_string(key, value, expire);
        self.changed(key.bytes);
    }

    /// `store` without an expiry, for what has not been looked up.
    #[inline]
    pub fn replace(&mut self, key: Key<'_>, value: &[u8]) {
        if !self.node.config.notify_keyspace_events.is_empty() {
            return self.store_and_notify(key, value, SetExpire::Clear);
        }
        self.overwrite(key, value);
        self.changed(key.bytes);
    }

    #[cold]
    fn store_and_notify(&mut self, key: Key<'_>, value: &[u8], expire: SetExpire) {
        // An old value that is over has its own event.
        let old = self.write(key).map(|entry| entry.kind());
        self.node.keyspace.db_mut(self.db).set_string(key, value, expire);
        self.changed(key.bytes);
        match old {
            None => self.notify(Events::NEW, "new", key.bytes),
            Some(kind) => self.notify_overwritten(self.db, kind, Kind::String, key.bytes),
        }
        self.notify(Events::STRING, "set", key.bytes);
        if matches!(expire, SetExpire::At(_)) {
            self.notify(Events::GENERIC, "expire", key.bytes);
        }
    }

    /// A key holds something else now.
    pub fn notify_overwritten(&mut self, db: DbIndex, old: Kind, new: Kind, key: &[u8]) {
        self.node.notify(Events::OVERWRITTEN, "overwritten", db, key);
        if old != new {
            self.node.notify(Events::TYPE_CHANGED, "type_changed", db, key);
        }
    }
}
