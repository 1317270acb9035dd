//! Clients that the world uses, unchanged, and applications on top of them: each runs its script of tests/clients against one of our servers.

use std::path::Path;
use std::process::Command;

use crate::support::{Daemon, peers};

/// Runs a script with the server's address; it must say `done`.
fn run(interpreter: &str, script: &str, options: &[&str]) {
    let server = Daemon::replikant(&[]);
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut command = Command::new(interpreter);
    match interpreter {
        "node" => {
            // Node looks for libraries beside the script.
            let libraries = peers::file("clients/node");
            let copy = server.dir().join(script);
            std::fs::copy(scripts.join(script), &copy).expect("copying the script");
            std::os::unix::fs::symlink(libraries.join("node_modules"), server.dir().join("node_modules")).expect("linking the libraries");
            command.arg(copy);
        }
        _ => {
            command.env("PYTHONPATH", peers::file("clients/python")).env("PYTHONDONTWRITEBYTECODE", "1").arg(scripts.join(script));
            // What a script starts finds its modules here.
            command.current_dir(&scripts);
        }
    }
    let output = command.args(["127.0.0.1", &server.port.to_string()]).args(options).output().expect("starting the client");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.trim_end().ends_with("done"),
        "{script}: {said}{}\nlog: {}",
        String::from_utf8_lossy(&output.stderr),
        server.log()
    );
}

#[test]
fn redis_py_in_both_protocols() {
    run("python3", "redis_py.py", &["2"]);
    run("python3", "redis_py.py", &["3"]);
}

#[test]
fn rq_worker() {
    run("python3", "rq_worker.py", &[]);
}

#[test]
fn celery_worker() {
    run("python3", "celery_worker.py", &[]);
}

#[test]
fn ioredis() {
    run("node", "ioredis.mjs", &[]);
}

#[test]
fn node_redis_in_both_protocols() {
    run("node", "node_redis.mjs", &["2"]);
    run("node", "node_redis.mjs", &["3"]);
}

#[test]
fn bullmq_queue() {
    run("node", "bullmq.mjs", &[]);
}

/// The Rust client: typed commands, a pipeline, a transaction, a script, pub/sub, an iterator.
#[test]
fn redis_crate() -> redis::RedisResult<()> {
    use redis::{Commands, RedisResult, Value};
    let server = Daemon::replikant(&[]);
    let client = redis::Client::open(format!("redis://127.0.0.1:{}/?protocol=resp3", server.port))?;
    let mut connection = client.get_connection()?;
    let _: () = connection.set_ex("k", "v", 100)?;
    assert_eq!(connection.get::<_, String>("k")?, "v");
    let _: () = connection.hset_multiple("h", &[("a", 1), ("b", 2)])?;
    let fields: std::collections::BTreeMap<String, i64> = connection.hgetall("h")?;
    assert_eq!(fields, [("a".to_owned(), 1), ("b".to_owned(), 2)].into());
    let _: () = connection.zadd_multiple("z", &[(1.0, "one"), (2.5, "two")])?;
    assert_eq!(connection.zrange_withscores::<_, Vec<(String, f64)>>("z", 0, -1)?, [("one".to_owned(), 1.0), ("two".to_owned(), 2.5)]);
    assert_eq!(connection.rpush::<_, _, i64>("l", &["x", "y"])?, 2);
    assert_eq!(connection.lrange::<_, Vec<String>>("l", 0, -1)?, ["x", "y"]);
    let counts: (i64, i64) = redis::pipe().atomic().incr("n", 1).incr("n", 41).query(&mut connection)?;
    assert_eq!(counts, (1, 42));
    let sum: i64 = redis::Script::new("return redis.call('incrby', KEYS[1], ARGV[1])").key("n").arg(8).invoke(&mut connection)?;
    assert_eq!(sum, 50);
    for n in 0..200 {
        let _: () = connection.sadd("big", format!("member:{n}"))?;
    }
    let seen: std::collections::BTreeSet<String> = connection.sscan("big")?.collect::<RedisResult<_>>()?;
    assert_eq!(seen.len(), 200);
    let wrong: RedisResult<Value> = connection.lpush("k", 1);
    assert_eq!(wrong.expect_err("a string is no list").code(), Some("WRONGTYPE"));

    let mut listening = client.get_connection()?;
    let mut subscriber = listening.as_pubsub();
    subscriber.subscribe("news")?;
    assert_eq!(connection.publish::<_, _, i64>("news", "hi")?, 1);
    assert_eq!(subscriber.get_message()?.get_payload::<String>()?, "hi");
    Ok(())
}
