//! BITFIELD: integers of any size at any bit of a string.

use super::bitmaps::bit_offset;
use super::key_range::key_range;
use super::strings::{string_of, with_bytes};
use super::{Acl, CmdResult, CommandError, Ctx, Flags, Spec};
use crate::config::Events;
use crate::keyspace::StrRef;
use crate::types::bitfield::{FieldType, Overflow};

const NO_TYPE: CommandError = CommandError::text("ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.");

enum Action {
    Get,
    Set(i64),
    Increment(i64),
}

/// One of the operations that a request is made of.
struct Step {
    action: Action,
    field: FieldType,
    offset: u64,
    overflow: Overflow,
}

impl Step {
    fn writes(&self) -> bool {
        !matches!(self.action, Action::Get)
    }

    /// The bytes that a string must have for this.
    fn bytes_needed(&self) -> usize {
        ((self.offset + u64::from(self.field.bits) - 1) / 8 + 1) as usize
    }

    /// The reply, and the field's new value if it is to have one.
    fn result(&self, old: i64) -> (Option<i64>, Option<i64>) {
        match self.action {
            Action::Get => (Some(old), None),
            Action::Set(value) => {
                let new = self.field.add(value, 0, self.overflow);
                (new.map(|_| old), new)
            }
            Action::Increment(increment) => {
                let new = self.field.add(old, increment, self.overflow);
                (new, new)
            }
        }
    }
}

fn parse(ctx: &Ctx<'_>) -> Result<Vec<Step>, CommandError> {
    let mut steps = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut at = 2;
    while at < ctx.args.len() {
        let name = ctx.args.at(at).to_ascii_lowercase();
        let words = match name.as_slice() {
            b"get" => 3,
            b"set" | b"incrby" => 4,
            b"overflow" => 2,
            _ => return Err(CommandError::SYNTAX),
        };
        if at + words > ctx.args.len() {
            return Err(CommandError::SYNTAX);
        }
        if name == b"overflow" {
            overflow = match ctx.args.at(at + 1).to_ascii_lowercase().as_slice() {
                b"wrap" => Overflow::Wrap,
                b"sat" => Overflow::Saturate,
                b"fail" => Overflow::Fail,
                _ => return Err("ERR Invalid OVERFLOW type specified".into()),
            };
        } else {
            let field = FieldType::parse(ctx.args.at(at + 1)).ok_or(NO_TYPE)?;
            let offset = bit_offset(ctx, ctx.args.at(at + 2), Some(field.bits))?;
            let action = match name.as_slice() {
                b"get" => Action::Get,
                b"set" => Action::Set(ctx.int(at + 3)?),
                _ => Action::Increment(ctx.int(at + 3)?),
            };
            steps.push(Step { action, field, offset, overflow });
        }
        at += words;
    }
    Ok(steps)
}

fn reply_fields(ctx: &mut Ctx<'_>, steps: &[Step]) -> CmdResult {
    let key = ctx.key(1);
    ctx.read_with(key, |entry, out| {
        let value = string_of(entry)?;
        out.array(steps.len());
        let mut reply = |bytes: &[u8]| steps.iter().for_each(|step| out.int(step.field.get(bytes, step.offset)));
        match value {
            Some(value) => with_bytes(value, reply),
            None => reply(b""),
        }
        Ok(())
    })
}

fn bitfield_ro(ctx: &mut Ctx<'_>) -> CmdResult {
    let steps = parse(ctx)?;
    if steps.iter().any(Step::writes) {
        return Err("ERR BITFIELD_RO only supports the GET subcommand".into());
    }
    reply_fields(ctx, &steps)
}

fn bitfield(ctx: &mut Ctx<'_>) -> CmdResult {
    let steps = parse(ctx)?;
    let Some(len) = steps.iter().filter(|step| step.writes()).map(Step::bytes_needed).max() else {
        return reply_fields(ctx, &steps);
    };
    let key = ctx.key(1);
    let old_len = string_of(ctx.write(key))?.map(StrRef::len);
    let grows = old_len.is_none_or(|old_len| old_len < len);
    ctx.out.array(steps.len());
    let mut changes = 0;
    let (db, out) = (ctx.node.keyspace.db_mut(ctx.db), &mut *ctx.out);
    db.modify_bytes(key, len, |bytes| {
        for step in &steps {
            let old = step.field.get(bytes, step.offset);
            let (reply, new) = step.result(old);
            match reply {
                Some(number) => out.int(number),
                None => out.null(),
            }
            if let Some(new) = new {
                step.field.set(bytes, step.offset, new);
                changes += u64::from(grows || new != old);
            }
        }
    });
    if old_len.is_none() {
        ctx.notify(Events::NEW, "new", key.bytes);
    }
    if changes > 0 {
        ctx.notify(Events::STRING, "setbit", key.bytes);
    }
    // A string that has grown though every step has failed is a change too, of which Redis 8.2 tells its slaves nothing.
    if grows && changes == 0 {
        changes = 1;
    }
    if changes > 0 {
        ctx.changed(key.bytes);
        ctx.node.dirty += changes - 1;
    }
    Ok(())
}

pub(super) const ROWS: &[Spec] = &[
    Spec::new("bitfield", -2, Flags::WRITE.union(Flags::DENYOOM), bitfield)
        .keys(1, 1, 1)
        .key_specs(&[
            key_range(&["RW", "access", "update", "variable_flags"], 1, 0, 1).notes("This command allows both access and modification of the key")
        ])
        .acl(Acl::BITMAP)
        .docs("bitmap", "3.2.0", "O(1) for each subcommand specified", "Performs arbitrary bitfield integer operations on strings."),
    Spec::new("bitfield_ro", -2, Flags::READONLY.union(Flags::FAST), bitfield_ro)
        .keys(1, 1, 1)
        .key_specs(&[key_range(&["RO", "access"], 1, 0, 1)])
        .acl(Acl::BITMAP)
        .docs("bitmap", "6.0.0", "O(1) for each subcommand specified", "Performs arbitrary read-only bitfield integer operations on strings."),
];

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;

    #[test]
    fn steps_are_taken_in_order() {
        let mut b = Bench::new();
        assert_eq!(b.say("bitfield k incrby i5 100 1 get u4 0"), "*2 :1 :0");
        assert_eq!(b.say("bitfield k set u8 #1 200 get u8 8 overflow sat incrby u8 #1 100 overflow fail incrby u8 #1 1"), "*4 :0 :200 :255 $-1");
        assert_eq!(b.say("bitfield_ro k get u8 #1 get i8 #1"), "*2 :255 :-1");
        assert_eq!(b.say("bitfield k"), "*0");
        assert_eq!(b.say("bitfield nokey get u8 0"), "*1 :0");
        assert_eq!(b.say("exists nokey"), ":0");
    }

    #[test]
    fn what_changes_nothing_is_not_streamed() {
        let mut b = Bench::new();
        assert_eq!(b.streamed("bitfield k set u8 0 5 set u8 0 6"), ["bitfield k set u8 0 5 set u8 0 6"]);
        assert_eq!(b.node.dirty, 2);
        assert_eq!(b.streamed("bitfield k set u8 0 6"), [""; 0]);
        assert_eq!(b.streamed("bitfield k overflow fail set u8 0 300"), [""; 0]);
        // The string grows, so slaves must hear of it.
        assert_eq!(b.streamed("bitfield k overflow fail set u8 #3 300"), ["bitfield k overflow fail set u8 #3 300"]);
        assert_eq!(b.say("strlen k"), ":4");
    }

    #[test]
    fn bad_words_are_refused() {
        let mut b = Bench::new();
        for line in ["bitfield k get", "bitfield k get u8", "bitfield k set u8 0", "bitfield k overflow", "bitfield k foo"] {
            assert_eq!(b.say(line), "-ERR syntax error", "{line}");
        }
        assert!(b.say("bitfield k get u64 0").starts_with("-ERR Invalid bitfield type."));
        assert_eq!(b.say("bitfield k overflow foo"), "-ERR Invalid OVERFLOW type specified");
        for line in ["bitfield k get u8 #", "bitfield k get u8 -1", "bitfield k get u8 4294967296", "bitfield k get u8 #9223372036854775807"] {
            assert_eq!(b.say(line), "-ERR bit offset is not an integer or out of range", "{line}");
        }
        assert_eq!(b.say("bitfield_ro k set u8 0 1"), "-ERR BITFIELD_RO only supports the GET subcommand");
        assert_eq!(b.say("bitfield_ro k set u8 0 x"), "-ERR value is not an integer or out of range");
    }
}
