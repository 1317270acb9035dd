//! Writing streams, as `stream` reads them.

use std::io::{self, Write};

use super::writer::Writer;
use super::{VERSION_WRITTEN, types};
use crate::types::stream::{Facts, Group, Stream, StreamId};

/// The first versions of RDB that know the younger types.
const VERSION_OF_2: u32 = 10;
const VERSION_OF_3: u32 = 11;

/// The oldest version that holds all of a stream that knows so much.
pub(super) fn version_for(facts: Facts) -> u32 {
    match facts {
        Facts::Derived => VERSION_WRITTEN,
        Facts::History => VERSION_OF_2,
        Facts::Activity => VERSION_OF_3,
    }
}

/// The oldest type that holds all of a stream; in a version that doesn't have it, the newest that it has.
pub(super) fn stream_type(stream: &Stream, version: u32) -> u8 {
    match version.min(version_for(stream.facts())) {
        VERSION_OF_3.. => types::STREAM_LISTPACKS_3,
        VERSION_OF_2.. => types::STREAM_LISTPACKS_2,
        _ => types::STREAM_LISTPACKS,
    }
}

impl<W: Write> Writer<W> {
    pub(super) fn stream(&mut self, stream: &Stream) -> io::Result<()> {
        let number = stream_type(stream, self.options().version);
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
        if number != types::STREAM_LISTPACKS {
            self.id(stream.first_id());
            self.id(stream.max_deleted_id());
            self.length(stream.entries_added());
        }
        self.length(stream.groups_len() as u64);
        for (name, group) in stream.groups() {
            self.string(name)?;
            self.group(group, number)?;
        }
        Ok(())
    }

    fn group(&mut self, group: &Group, number: u8) -> io::Result<()> {
        self.id(group.last_id());
        if number != types::STREAM_LISTPACKS {
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
            if number == types::STREAM_LISTPACKS_3 {
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
