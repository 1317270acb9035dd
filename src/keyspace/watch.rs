//! Keys that clients WATCH.

use std::collections::BTreeMap;

use super::DbIndex;

/// Who watches which key. A watcher is the server's slot of a client.
#[derive(Default)]
pub struct Watches {
    keys: BTreeMap<(DbIndex, Vec<u8>), Vec<u32>>,
}

impl Watches {
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
    pub fn add(&mut self, db: DbIndex, key: &[u8], client: u32) {
        let clients = self.keys.entry((db, key.to_vec())).or_default();
        if !clients.contains(&client) {
            clients.push(client);
        }
    }
    pub fn remove(&mut self, db: DbIndex, key: &[u8], client: u32) {
        let at = (db, key.to_vec());
        if let Some(clients) = self.keys.get_mut(&at) {
            clients.retain(|c| *c != client);
            if clients.is_empty() {
                self.keys.remove(&at);
            }
        }
    }
    /// Who watches `key`.
    pub fn of(&self, db: DbIndex, key: &[u8]) -> Vec<u32> {
        if self.keys.is_empty() {
            return Vec::new();
        }
        self.keys.get(&(db, key.to_vec())).cloned().unwrap_or_default()
    }
    /// All watched keys of a database with their watchers (FLUSHDB, SWAPDB).
    pub fn in_db(&self, db: DbIndex) -> impl Iterator<Item = (&[u8], &[u32])> {
        self.keys.range((db, Vec::new())..).take_while(move |((at, _), _)| *at == db).map(|((_, key), clients)| (key.as_slice(), clients.as_slice()))
    }
}
