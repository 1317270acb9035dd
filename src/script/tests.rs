//! The interpreter without a server: what scripts can't break.

use std::rc::Rc;

use super::*;

/// Answers every command with OK.
struct Obliging;

impl Host for Obliging {
    fn call(&mut self, _: Args<'_>, out: &mut Reply) -> Answer {
        out.ok();
        Answer::Done
    }
    fn acl_check(&mut self, _: Args<'_>) -> Option<bool> {
        Some(true)
    }
    fn log(&mut self, _: LogLevel, _: &[u8]) {}
    fn set_replicate(&mut self, _: bool) {}
    fn poll(&mut self) -> Result<(), &'static str> {
        Ok(())
    }
}

fn interpreter() -> Interpreter {
    let random = Rc::new(Random::default());
    let setup = Setup { purpose: Purpose::Scripts, version: "7.2.4", clock_ns: Box::new(|| 0), random: &random, flags: &[] };
    Interpreter::new(setup).unwrap()
}

fn run(interpreter: &Interpreter, code: &str, argv: &[&[u8]]) -> String {
    let script = match interpreter.compile("user_script", code.as_bytes()) {
        Ok(script) => script,
        Err(message) => return String::from_utf8_lossy(&message).into_owned(),
    };
    let mut out = Reply::default();
    match interpreter.run(&script, std::iter::empty(), argv.iter().copied(), &mut Obliging, &mut out) {
        Ok(_) => String::from_utf8_lossy(&out.buf).trim_end().replace("\r\n", " "),
        Err(failure) => String::from_utf8_lossy(&failure.err).into_owned(),
    }
}

#[test]
fn nothing_a_script_leaves_is_seen_by_the_next() {
    let lua = interpreter();
    for code in [
        "x = 1",
        "_G.x = 1",
        "rawset(_G, 'x', 1)",
        "redis.x = 1",
        "string.x = 1",
        "rawset(string, 'x', 1)",
        "table.insert(redis, 1)",
        "setmetatable(_G, nil)",
        "setmetatable(redis, {})",
        "getmetatable('').__index = nil",
        "getmetatable('').__index.x = 1",
        "getmetatable(_G).__index = nil",
        "KEYS = nil",
    ] {
        assert!(run(&lua, code, &[]).contains("Attempt to modify a readonly table"), "{code}");
    }
    let unseen = "return {type(rawget(_G, 'x')), type(redis.x), type(string.x), type(redis[1]), ('a'):upper(), type(getmetatable(_G).__index)}";
    assert_eq!(run(&lua, unseen, &[]), "*6 $3 nil $3 nil $3 nil $3 nil $1 A $8 function");
}

#[test]
fn tables_of_any_depth_are_replied_to() {
    let lua = interpreter();
    for code in ["local t = {} t[1] = t return t", "local t = {} t.map = {a = t} return t", "local t = {} t.set = {[t] = 1} return t"] {
        let reply = run(&lua, code, &[]);
        assert!(reply.ends_with("-ERR reached lua stack limit"), "{code}: {} levels", reply.matches('*').count());
    }
    assert!(run(&lua, "local function f() return f() + 1 end return f()", &[]).contains("stack overflow"));
    assert!(run(&lua, "return cmsgpack.unpack(string.rep('\\145', 100000))", &[]).contains("stack overflow"));
    let deep = "cjson.encode_max_depth(1e6) cjson.decode_max_depth(1e6) local t = {} t[1] = t return {pcall(cjson.encode, t)}";
    assert!(run(&lua, deep, &[]).contains("excessive nesting"));
    assert!(run(&lua, "return cjson.decode(string.rep('[', 100000))", &[]).contains("Found too many nested data structures"));
}

#[test]
fn so_many_values_that_a_call_can_t_hold_are_refused() {
    let lua = interpreter();
    assert!(run(&lua, "return redis.call(unpack({}, 1, 600000))", &[]).contains("too many results to unpack"));
    assert!(run(&lua, "return redis.call(string.byte(string.rep('x', 600000), 1, -1))", &[]).contains("string slice too long"));
    assert!(run(&lua, "return {cmsgpack.unpack(string.rep('\\1', 600000))}", &[]).contains("too many return values"));
    assert_eq!(run(&lua, "local t = {} for i = 1, 7900 do t[i] = i end return redis.call(unpack(t))", &[]), "+OK");
    // Whoever gets past these bounds gets an error, too.
    let past = "local t = {} for i = 1, 7900 do t[i] = i end local function more(...) return redis.call(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ...) end";
    let past = format!("{past} local function most(...) return more({}...) end return most(unpack(t))", "1, ".repeat(200));
    assert!(!run(&lua, &past, &[]).is_empty());
    assert_eq!(run(&lua, "local t = {} for i = 1, 600000 do t[i] = i end return #t", &[]), ":600000");
}

#[test]
fn random_bytes_break_no_decoder() {
    let lua = interpreter();
    let code = "pcall(cjson.decode, ARGV[1]) pcall(cmsgpack.unpack, ARGV[1]) pcall(struct.unpack, ARGV[2], ARGV[1]) pcall(struct.pack, ARGV[2], 1, 2, 3) \
                pcall(struct.size, ARGV[2]) pcall(loadstring, ARGV[1]) return 1";
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 8
    };
    for _ in 0..5000 {
        let bytes: Vec<u8> = (0..next() % 40).map(|_| next() as u8).collect();
        let format: Vec<u8> = (0..next() % 12).map(|_| b"<>! bBhHlLTiIfdsc0123456789x"[next() as usize % 28]).collect();
        assert_eq!(run(&lua, code, &[&bytes, &format]), ":1", "{bytes:?} {format:?}");
    }
    assert!(lua.used_memory() < 64 << 20, "{} bytes are kept", lua.used_memory());
}
