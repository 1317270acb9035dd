//! COMMAND GETKEYS and GETKEYSANDFLAGS of every kind of command against a real Redis 8.2.3.

use crate::support::{Client, Daemon, Peer, Value};

/// `""` stands for an empty argument. Commands that this server does not have are passed over.
const REQUESTS: &str = r#"
EVAL s 2 a b c
EVAL s 0
EVAL s 3 a
EVAL s -1 a
EVAL s x a
EVALSHA_RO s 1 a b
FCALL f 1 k
XREAD COUNT 1 STREAMS a b 0 0
XREAD COUNT 1 STREAMS a b 0
XREAD STREAMS
XREAD BLOCK STREAMS STREAMS a 0
XREAD COUNT 1 a b
XREADGROUP GROUP STREAMS c STREAMS a b > >
XREADGROUP GROUP g c COUNT 2 NOACK STREAMS a >
ZUNION 2 a b WEIGHTS 1 2
ZUNION 2147483647 a b
ZUNIONSTORE d 2 a b
ZUNIONSTORE d 5 a b
ZUNIONSTORE d 0 a b
ZUNIONSTORE d x a b
ZINTERCARD 2 a b LIMIT 1
SINTERCARD 1 a
LMPOP 2 a b LEFT
BLMPOP 1 2 a b LEFT
BZMPOP 0 1 a MIN
SORT a
SORT a BY w STORE b
SORT a STORE b STORE c
SORT a GET STORE b
SORT a LIMIT STORE x STORE c
SORT a store
SORT_RO a BY w GET x
MIGRATE h 1 k 0 100
MIGRATE h 1 "" 0 100 KEYS a b c
MIGRATE h 1 "" 0 100 AUTH KEYS KEYS a b c
MIGRATE h 1 "" 0 100 COPY AUTH2 KEYS pw KEYS a
MIGRATE h 1 k 0 100 KEYS a b
GEORADIUS a 1 2 3 km STORE b
GEORADIUS a 1 2 3 km STORE b STOREDIST c
GEORADIUS a 1 2 3 km COUNT 1
GEORADIUS a 1 2 3 km STORE
GEORADIUSBYMEMBER a STORE 3 km STORE b
BITFIELD a GET u8 0
BITFIELD a OVERFLOW SAT GET u8 0
BITFIELD a SET u8 0 1
BITFIELD a GET u8 0 INCRBY u8 0 1
BITFIELD a GET SET 0
BITOP AND d a b
SET a b
SET a b GET
SET a b EX 10 get
MSET a 1 b 2
OBJECT ENCODING a
OBJECT HELP
XGROUP CREATE a g $
XINFO HELP
MEMORY USAGE a
MEMORY HELP
MEMORY DOCTOR
SPUBLISH ch m
SSUBSCRIBE a b
SUBSCRIBE a
PFMERGE d a
PFMERGE d
PFDEBUG GETREG a
BLPOP a b 0
SMOVE a b c
SDIFFSTORE d a b
RESTORE a 0 x
WATCH a b
LCS a b
ZRANGESTORE d s 0 -1
GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 km
GET
GET a b
nosuch a
"#;

fn ask(client: &mut Client, subcommand: &str, line: &str) -> Value {
    let words = line.split(' ').map(|word| if word == "\"\"" { "" } else { word });
    client.command(&["COMMAND", subcommand].into_iter().chain(words).collect::<Vec<_>>())
}

#[test]
fn keys_are_found_as_in_redis() {
    let (ours, real) = (Daemon::replikant(&[]), Daemon::redis(Peer::V8, &[]));
    let (mut ours, mut real) = (ours.client(), real.client());
    let mut wrong = Vec::new();
    let mut compared = 0;
    for line in REQUESTS.lines().filter(|line| !line.is_empty()) {
        let name = line.split(' ').next().unwrap_or_default();
        if name != "nosuch" && ours.run(&format!("COMMAND INFO {name}")).items() == [Value::Nil] {
            continue;
        }
        compared += 1;
        for subcommand in ["GETKEYS", "GETKEYSANDFLAGS"] {
            let (got, wanted) = (ask(&mut ours, subcommand, line), ask(&mut real, subcommand, line));
            if got != wanted {
                wrong.push(format!("{subcommand} {line}\n   ours {got:?}\n  Redis {wanted:?}"));
            }
        }
    }
    assert!(compared > 20, "{compared} requests compared");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
