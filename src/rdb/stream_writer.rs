//! Writing streams, as `stream` reads them.

use std::io::{self, Write};

use super::types;
use super::writer::Writer;
use crate::types::stream::{Group, Stream, StreamId};

/// The first versions of RDB that know the younger types.
const VERSION_OF_2: u32 = 10;
const VERSION_OF_3: u32 = 11;

/// The type that streams have in a version of RDB.
pub(super) fn stream_type(version: u32) -> u8 {
    match version {
        VERSION_OF_3.. => types::STREAM_LISTPACKS_3,
        VERSION_OF_2.. => types::STREAM_LISTPACKS_2,
        _ => types::STREAM_LISTPACKS,
    }
}

impl<W: Write> Writer<W> {
    pub(super) fn stream(&mut self, stream: &Stream) -> io::Result<()> {
        let version = self.options().version;
        let mut listpack = Vec::new();
        self.length(stream.blocks_len() as u64);
        for block in stream.blocks() {
            self.string(&block.id().to_be_bytes())?;
            listpack.clear();
            block.to_redis(&mut listpack);
            self.string(&listpack)?;
        }
        self.length(stream.len());
        self.id(stream.last_id());
        if version >= VERSION_OF_2 {
            self.id(stream.first_id());
            self.id(stream.max_deleted_id());
            self.length(stream.entries_added());
        }
        self.length(stream.groups_len() as u64);
        for (name, group) in stream.groups() {
            self.string(name)?;
            self.group(group, version)?;
        }
        Ok(())
    }

    fn group(&mut self, group: &Group, version: u32) -> io::Result<()> {
        self.id(group.last_id());
        if version >= VERSION_OF_2 {
            self.length(group.entries_read.unwrap_or(u64::MAX));
        }
        self.length(group.pending_len());
        for pending in group.pending_from(StreamId::MIN) {
            self.raw(&pending.id.to_be_bytes())?;
            self.raw(&pending.delivered_ms.to_le_bytes())?;
            self.length(pending.deliveries);
        }
        self.length(group.consumers_len() as u64);
        for consumer in group.consumers() {
            self.string(consumer.name())?;
            self.raw(&consumer.seen_ms.to_le_bytes())?;
            if version >= VERSION_OF_3 {
                self.raw(&consumer.active_ms.to_le_bytes())?;
            }
            self.length(consumer.pending_len());
            for id in consumer.pending_from(StreamId::MIN) {
                self.raw(&id.to_be_bytes())?;
            }
        }
        Ok(())
    }

    fn id(&mut self, id: StreamId) {
        self.length(id.ms);
        self.length(id.seq);
    }
}
