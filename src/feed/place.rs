//! Where a feed is in a master's history, and the file that remembers it.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::env::Disk;
use crate::replication::{ReplId, ReplOffset};

/// A place in a master's history: all up to there has been dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The history's name.
    pub replid: ReplId,
    /// Bytes of the stream so far.
    pub offset: ReplOffset,
    /// The database that the stream has selected there.
    pub db: u32,
}

/// What opens the file, with its version.
const MAGIC: &str = "replikant-feed-1";

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} db {}", self.replid, self.offset, self.db)
    }
}

impl Place {
    /// Reads the file; `None` if there is none yet.
    pub(super) fn load(disk: &dyn Disk, path: &Path) -> io::Result<Option<Place>> {
        let mut text = Vec::new();
        match disk.open(path) {
            Ok(mut file) => file.read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let parsed = std::str::from_utf8(&text).ok().and_then(parse);
        parsed.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "this is not a feed's place"))
    }

    /// Replaces the file, so that a crash leaves the old one or the new.
    pub(super) fn save(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let mut file = disk.create(&temporary)?;
        file.write_all(format!("{MAGIC} {} {} {}\n", self.replid, self.offset, self.db).as_bytes())?;
        file.sync()?;
        disk.rename(&temporary, path)?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        disk.sync_dir(dir)
    }
}

fn parse(text: &str) -> Option<Place> {
    let mut words = text.split_whitespace();
    if words.next()? != MAGIC {
        return None;
    }
    let replid = ReplId::parse(words.next()?.as_bytes())?;
    let offset = ReplOffset(words.next()?.parse().ok()?);
    Some(Place { replid, offset, db: words.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{RealDisk, SeededRandom};

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("place");
        assert_eq!(Place::load(&RealDisk, &path).unwrap(), None);
        for offset in [7, u64::MAX] {
            let place = Place { replid: ReplId::random(&SeededRandom::from_seed(offset)), offset: ReplOffset(offset), db: 3 };
            place.save(&RealDisk, &path).unwrap();
            assert_eq!(Place::load(&RealDisk, &path).unwrap(), Some(place));
        }
        for text in ["", "replikant-feed-1 abc 1 0", "something else"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Place::load(&RealDisk, &path).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
