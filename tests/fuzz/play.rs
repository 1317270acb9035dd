//! The same units to two servers, in pipelined batches: every reply compared in order, and the digests after each batch.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::compare::{Answered, Rules};
use super::grammar::{Unit, subscribes};
use super::reply::{Reply, end_of_reply};
use super::source::Words;
use crate::support::client::encode;
use crate::support::{Client, Daemon, Kind, Peer, Value};

/// So little that requests and replies fit into the sockets' buffers.
const BATCH_STEPS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(20);
/// No server knows it, and all refuse it in any state, so that its reply ends a batch.
const MARK: &str = "no-such-command-ends-the-batch";
const DATABASES: usize = 16;

/// Up to where collections are kept in one block: directive, a limit that is soon reached, the default.
const ENCODING_LIMITS: [(&str, &str, &str); 7] = [
    ("hash-max-listpack-entries", "6", "512"),
    ("set-max-listpack-entries", "6", "128"),
    ("set-max-intset-entries", "6", "512"),
    ("zset-max-listpack-entries", "6", "128"),
    ("list-max-listpack-size", "4", "-2"),
    ("stream-node-max-entries", "4", "100"),
    ("hll-sparse-max-bytes", "300", "3000"),
];

/// What a seed decides besides its commands.
#[derive(Clone, Copy)]
pub struct Setup {
    pub resp3: bool,
    pub few_in_a_block: bool,
}

impl Setup {
    pub fn of(seed: u64) -> Setup {
        Setup { resp3: seed % 2 == 1, few_in_a_block: seed / 2 % 2 == 1 }
    }
}

/// The server under test and the one that is right.
pub struct Pair {
    pub ours: Daemon,
    pub real: Daemon,
    arguments: Vec<&'static str>,
}

pub struct Difference {
    pub words: Words,
    pub what: String,
}

impl Pair {
    pub fn start(oracle: Peer, arguments: &[&'static str]) -> Pair {
        let pair = Pair { ours: Daemon::replikant(arguments), real: Daemon::redis(oracle, arguments), arguments: arguments.to_vec() };
        pair.prepare();
        pair
    }

    /// Nothing expires but in passing: what active expiry has come to is a matter of time.
    fn prepare(&self) {
        for daemon in [&self.ours, &self.real] {
            daemon.client().ok("DEBUG SET-ACTIVE-EXPIRE 0");
        }
    }

    /// After ours has ended by itself.
    pub fn start_ours_again(&mut self) {
        self.ours.quiet();
        self.ours = Daemon::start(Kind::under_test(), &self.arguments);
        self.prepare();
    }

    /// The differences say all that there is to say.
    pub fn quiet(&mut self) {
        self.ours.quiet();
        self.real.quiet();
    }

    /// The commands that both know.
    pub fn common_commands(&self) -> BTreeSet<String> {
        commands(&self.ours).intersection(&commands(&self.real)).cloned().collect()
    }
}

/// The commands that a server knows, upper case.
pub fn commands(daemon: &Daemon) -> BTreeSet<String> {
    daemon.client().run("COMMAND").items().iter().map(|command| command.items()[0].text().to_ascii_uppercase()).collect()
}

pub struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Connection {
    fn open(daemon: &Daemon, resp3: bool) -> io::Result<Connection> {
        let client = Client::try_connect(daemon.port)?;
        let stream = client.stream().try_clone()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut connection = Connection { stream, input: Vec::new() };
        if resp3 {
            connection.stream.write_all(b"HELLO 3\r\n")?;
            connection.replies_to_mark(true)?;
        }
        Ok(connection)
    }

    /// The replies up to that of the mark, each as its bytes; `ask` sends the mark first.
    fn replies_to_mark(&mut self, ask: bool) -> io::Result<Vec<Vec<u8>>> {
        if ask {
            self.stream.write_all(format!("{MARK}\r\n").as_bytes())?;
        }
        let is_mark = |reply: &[u8]| reply.starts_with(b"-ERR unknown command") && reply.windows(MARK.len()).any(|part| part == MARK.as_bytes());
        let (mut replies, mut from) = (Vec::new(), 0);
        loop {
            match end_of_reply(&self.input, from) {
                Some(end) => {
                    let reply = self.input[from..end].to_vec();
                    from = end;
                    if is_mark(&reply) {
                        self.input.drain(..from);
                        return Ok(replies);
                    }
                    replies.push(reply);
                }
                None => {
                    let mut buffer = [0; 64 << 10];
                    match self.stream.read(&mut buffer)? {
                        0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                        count => self.input.extend_from_slice(&buffer[..count]),
                    }
                }
            }
        }
    }
}

/// Two connections to one server, and one that asks for digests.
pub struct Session {
    connections: [Connection; 2],
    pub control: Client,
}

impl Session {
    pub fn open(daemon: &Daemon, setup: Setup) -> io::Result<Session> {
        let mut control = Client::try_connect(daemon.port)?;
        set_limits(&mut control, setup)?;
        control.try_command(&["FLUSHALL"])?;
        control.try_command(&["SCRIPT", "FLUSH"])?;
        Ok(Session { connections: [Connection::open(daemon, setup.resp3)?, Connection::open(daemon, setup.resp3)?], control })
    }

    /// Sends requests that are for one connection.
    fn send(&mut self, connection: usize, batch: &[Words]) -> io::Result<()> {
        self.connections[connection].stream.write_all(&encoded(batch))
    }

    fn replies(&mut self, connection: usize) -> io::Result<Vec<Vec<u8>>> {
        self.connections[connection].replies_to_mark(false)
    }

    /// Sends units and reads past the replies.
    pub fn run(&mut self, units: &[Unit]) -> io::Result<()> {
        let mut from = 0;
        while from < units.len() {
            let end = end_of_batch(units, from);
            let batch: Vec<Words> = units[from..end].iter().flat_map(|unit| unit.steps.iter().cloned()).collect();
            self.send(units[from].connection, &batch)?;
            self.replies(units[from].connection)?;
            from = end;
        }
        Ok(())
    }

    pub fn digest(&mut self) -> io::Result<Value> {
        self.control.try_command(&["DEBUG", "DIGEST"])
    }
}

pub fn set_limits(control: &mut Client, setup: Setup) -> io::Result<()> {
    for (name, few, default) in ENCODING_LIMITS {
        // Not every version has all of them.
        control.try_command(&["CONFIG", "SET", name, if setup.few_in_a_block { few } else { default }])?;
    }
    Ok(())
}

/// Plays the units on emptied servers; tells the first difference.
pub fn play(pair: &mut Pair, rules: &Rules, units: &[Unit], setup: Setup) -> Result<(), Difference> {
    let mut real = Session::open(&pair.real, setup).expect("the oracle lives");
    let mut ours = match Session::open(&pair.ours, setup) {
        Ok(ours) => ours,
        Err(error) => return Err(gone(pair, &error, &[])),
    };
    let mut from = 0;
    while from < units.len() {
        let end = end_of_batch(units, from);
        let batch: Vec<Words> = units[from..end].iter().flat_map(|unit| unit.steps.iter().map(|words| asked(rules, words))).flatten().collect();
        let connection = units[from].connection;
        real.send(connection, &batch).expect("the oracle reads");
        let sent = ours.send(connection, &batch);
        let expected = real.replies(connection).expect("the oracle answers");
        let replies = match sent.and_then(|()| ours.replies(connection)) {
            Ok(replies) => replies,
            Err(error) => return Err(gone(pair, &error, &batch)),
        };
        compare(rules, &batch, &replies, &expected)?;
        let (digest, expected) = (ours.digest(), real.digest().expect("the oracle answers"));
        match digest {
            Ok(digest) if digest == expected => {}
            Ok(_) => return Err(Difference { words: vec![b"DEBUG".to_vec(), b"DIGEST".to_vec()], what: differing_keys(&pair.ours, &pair.real) }),
            Err(error) => return Err(gone(pair, &error, &batch)),
        }
        from = end;
    }
    Ok(())
}

/// The end of the units from this one on that can be sent at once: few, on one connection. What subscribes is sent alone, as its replies
/// are not one a command.
fn end_of_batch(units: &[Unit], from: usize) -> usize {
    if subscribes(&units[from].steps) {
        return from + 1;
    }
    let mut steps = 0;
    let more = units[from..].iter().take_while(|unit| {
        let fits = steps == 0 || steps + unit.steps.len() <= BATCH_STEPS;
        steps += unit.steps.len();
        fits && unit.connection == units[from].connection && !subscribes(&unit.steps)
    });
    from + more.count()
}

/// A step, after the questions for the encodings that decide whether its reply has an order.
fn asked(rules: &Rules, words: &Words) -> Vec<Words> {
    use super::compare::Rule;
    match rules.of(words) {
        Some(Rule::Unordered([_, ..]) | Rule::UnorderedPairs) => {
            let question = |key: &Vec<u8>| vec![b"OBJECT".to_vec(), b"ENCODING".to_vec(), key.clone()];
            words[1..].iter().map(question).chain([words.clone()]).collect()
        }
        _ => vec![words.clone()],
    }
}

/// The batch, out of any transaction at its end, then the mark.
fn encoded(batch: &[Words]) -> Vec<u8> {
    let mut request = Vec::new();
    for words in batch {
        encode(&mut request, words);
    }
    request.extend_from_slice(b"DISCARD\r\n");
    request.extend_from_slice(format!("{MARK}\r\n").as_bytes());
    request
}

fn gone(pair: &mut Pair, error: &io::Error, batch: &[Words]) -> Difference {
    let log = pair.ours.log();
    let lines: Vec<&str> = log.lines().collect();
    let what = format!("ours does not answer: {error}\n{}", lines[lines.len().saturating_sub(8)..].join("\n"));
    pair.start_ours_again();
    Difference { words: batch.last().cloned().unwrap_or_default(), what }
}

/// Replies against replies. In RESP2 a subscriber's replies and messages are no more and no less than arrays; where they do not match the
/// requests one by one, all must be the same to the byte.
fn compare(rules: &Rules, batch: &[Words], ours: &[Vec<u8>], real: &[Vec<u8>]) -> Result<(), Difference> {
    let pushes = |replies: &[Vec<u8>]| replies.iter().filter(|reply| reply[0] == b'>').cloned().collect::<Vec<_>>();
    let answers = |replies: &[Vec<u8>]| replies.iter().filter(|reply| reply[0] != b'>').cloned().collect::<Vec<_>>();
    let (our_pushes, real_pushes) = (pushes(ours), pushes(real));
    if our_pushes != real_pushes {
        return Err(Difference { words: Words::new(), what: format!("pushes: {:?}\nRedis has: {:?}", shown(&our_pushes), shown(&real_pushes)) });
    }
    let (ours, real) = (answers(ours), answers(real));
    // The last is DISCARD's.
    if ours.len() != batch.len() + 1 || real.len() != batch.len() + 1 {
        return match ours == real {
            true => Ok(()),
            false => Err(Difference { words: Words::new(), what: format!("replies: {:?}\nRedis has: {:?}", shown(&ours), shown(&real)) }),
        };
    }
    if ours == real {
        return Ok(());
    }
    let mut queued: Vec<&Words> = Vec::new();
    let mut before: Vec<Answered> = Vec::new();
    for (words, (ours, real)) in batch.iter().zip(ours.iter().zip(&real)) {
        let answered = Answered { words, ours: Reply::parse(ours), real: Reply::parse(real) };
        let is = |name: &str| words[0].eq_ignore_ascii_case(name.as_bytes());
        if answered.real.is_line(b'+', "QUEUED") {
            queued.push(words);
        } else if is("EXEC") {
            compare_transaction(rules, &std::mem::take(&mut queued), &answered)?;
            before.clear();
            continue;
        } else if !answered.real.is_error() && (is("MULTI") || is("DISCARD") || is("RESET")) {
            queued.clear();
        }
        check(rules, &answered, &before)?;
        before.push(answered);
    }
    Ok(())
}

fn compare_transaction(rules: &Rules, queued: &[&Words], exec: &Answered) -> Result<(), Difference> {
    let (Some(ours), Some(real)) = (exec.ours.items(), exec.real.items()) else { return check(rules, exec, &[]) };
    if ours.len() != real.len() || real.len() != queued.len() {
        return check(rules, exec, &[]);
    }
    let mut before: Vec<Answered> = Vec::new();
    for (words, (ours, real)) in queued.iter().zip(ours.iter().zip(real)) {
        let answered = Answered { words, ours: ours.clone(), real: real.clone() };
        check(rules, &answered, &before)?;
        before.push(answered);
    }
    Ok(())
}

fn check(rules: &Rules, answered: &Answered, before: &[Answered]) -> Result<(), Difference> {
    if rules.same(answered, before) {
        return Ok(());
    }
    let what = format!("{:?}\nRedis says: {:?}", answered.ours, answered.real);
    Err(Difference { words: answered.words.clone(), what })
}

fn shown(replies: &[Vec<u8>]) -> Vec<String> {
    replies.iter().map(|reply| reply.escape_ascii().to_string()).collect()
}

/// What says whether two keys are the same: DIGEST-VALUE covers the value, whatever its encoding.
const FACTS: [&[&str]; 4] = [&["TYPE"], &["OBJECT", "ENCODING"], &["DEBUG", "DIGEST-VALUE"], &["PEXPIRETIME"]];
/// How to read a value by its type.
const READS: [(&str, &[&str], &[&str]); 6] = [
    ("string", &["GET"], &[]),
    ("list", &["LRANGE"], &["0", "-1"]),
    ("set", &["SMEMBERS"], &[]),
    ("hash", &["HGETALL"], &[]),
    ("zset", &["ZRANGE"], &["0", "-1", "WITHSCORES"]),
    ("stream", &["XINFO", "STREAM"], &["FULL"]),
];

/// The keys of both servers that are not the same, with all that tells how.
pub fn differing_keys(ours: &Daemon, real: &Daemon) -> String {
    let mut lines = Vec::new();
    for db in 0..DATABASES {
        let mut clients = [ours.client(), real.client()];
        let mut keys = BTreeSet::new();
        for client in &mut clients {
            client.ok(&format!("SELECT {db}"));
            keys.extend(client.run("KEYS *").items().iter().map(|key| match key {
                Value::Bulk(bytes) => bytes.clone(),
                other => panic!("no key: {other:?}"),
            }));
        }
        for key in keys {
            let [here, there] = clients.each_mut().map(|client| facts(client, &key));
            if here != there {
                lines.push(format!("database {db}, {:?}: {here}\nRedis has: {there}", key.escape_ascii().to_string()));
            }
        }
    }
    if lines.is_empty() {
        lines.push("the digests differ, though keys that can be seen do not".to_owned());
    }
    lines.join("\n")
}

fn facts(client: &mut Client, key: &[u8]) -> String {
    let mut ask = |before: &[&str], after: &[&str]| {
        let mut words: Words = before.iter().map(|word| word.as_bytes().to_vec()).collect();
        words.push(key.to_vec());
        words.extend(after.iter().map(|word| word.as_bytes().to_vec()));
        // 6.2 does not know PEXPIRETIME.
        match client.command(&words) {
            Value::Error(_) => Value::Nil,
            fact => fact,
        }
    };
    let facts = FACTS.map(|question| ask(question, &[]));
    let kind = facts[0].text();
    let value = READS.iter().find(|(name, ..)| *name == kind).map(|(_, before, after)| ask(before, after));
    format!("{facts:?} {:?}", value.unwrap_or(Value::Nil))
}
