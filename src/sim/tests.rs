//! The seam itself: actix actors, timers, sockets and faults in a world, and the promise that a seed decides all.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, StreamHandler};
use tokio::time::{Instant, sleep};

use super::*;
use crate::env::{Env, ListenAddr, Listener, Socket};

fn any(port: u16) -> ListenAddr {
    ListenAddr::Tcp(SocketAddr::from(([0, 0, 0, 0], port)))
}

async fn read(socket: &mut Box<dyn Socket>) -> io::Result<Vec<u8>> {
    let mut buf = Vec::new();
    poll_fn(|cx| socket.poll_read(cx, &mut buf, 1 << 20)).await?;
    Ok(buf)
}

async fn read_exact(socket: &mut Box<dyn Socket>, len: usize) -> io::Result<Vec<u8>> {
    let mut buf = Vec::new();
    while buf.len() < len {
        let rest = len - buf.len();
        if poll_fn(|cx| socket.poll_read(cx, &mut buf, rest)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buf)
}

async fn accept(listener: &mut Box<dyn Listener>) -> Box<dyn Socket> {
    poll_fn(|cx| listener.poll_accept(cx)).await.unwrap()
}

fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    result.err().expect("an error").kind()
}

/// A listener on host b and a connection to it from host a.
struct Pair {
    a: Host,
    b: Host,
    env_a: Env,
    env_b: Env,
    listener: Box<dyn Listener>,
    client: Box<dyn Socket>,
    server: Box<dyn Socket>,
}

async fn pair(world: &World) -> Pair {
    let (a, b) = (world.host("a"), world.host("b"));
    let (env_a, env_b) = (world.env(a), world.env(b));
    let mut listener = env_b.net.listen(&any(7000), 10).unwrap();
    let client = env_a.net.connect("b", 7000, None).await.unwrap();
    let server = accept(&mut listener).await;
    Pair { a, b, env_a, env_b, listener, client, server }
}

/// Sends back what has come, ten times a second.
struct Echo {
    socket: Box<dyn Socket>,
}

impl Actor for Echo {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(Duration::from_millis(100), |echo, ctx| {
            let mut bytes = Vec::new();
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            while let std::task::Poll::Ready(Ok(n)) = echo.socket.poll_read(&mut cx, &mut bytes, 100) {
                if n == 0 {
                    ctx.stop();
                    return;
                }
            }
            echo.socket.try_write(&bytes).expect("the echo fits the window");
        });
    }
}

/// Asks the server how many connections it has accepted.
struct Accepted;

impl Message for Accepted {
    type Result = usize;
}

struct Server {
    env: Env,
    accepted: usize,
}

impl Handler<Accepted> for Server {
    type Result = usize;

    fn handle(&mut self, _: Accepted, _: &mut Self::Context) -> usize {
        self.accepted
    }
}

impl Actor for Server {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let mut listener = self.env.net.listen(&any(7), 10).expect("the port is free");
        ctx.add_stream(futures::stream::poll_fn(move |cx| listener.poll_accept(cx).map(Some)));
    }
}

impl StreamHandler<io::Result<Box<dyn Socket>>> for Server {
    fn handle(&mut self, socket: io::Result<Box<dyn Socket>>, _: &mut Self::Context) {
        let socket = socket.expect("accepted");
        Echo { socket }.start();
        self.accepted += 1;
    }
}

/// Tells when its timer fires.
struct Late(Option<tokio::sync::oneshot::Sender<()>>);

impl Actor for Late {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_later(Duration::from_secs(3600), |late, _| {
            let _ = late.0.take().map(|sender| sender.send(()));
        });
    }
}

#[test]
fn actors_timers_run_in_virtual_time() {
    let world = World::new(1);
    let host = world.host("a");
    let real = std::time::Instant::now();
    let before = world.env(host).clock.unix_ms();
    world.run(async {
        let started = Instant::now();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let address = world.on(host, async { Late(Some(sender)).start() }).await.unwrap();
        assert!(receiver.await.is_ok());
        assert_eq!(started.elapsed().as_secs(), 3600);
        assert!(address.connected());
    });
    assert_eq!(world.env(host).clock.unix_ms() - before, 3_600_000);
    assert!(real.elapsed() < Duration::from_secs(30));
}

fn echo_story(seed: u64) -> String {
    let world = World::new(seed);
    let server = world.host("server");
    world.run(async {
        let env = world.env(server);
        let address = world.on(server, async { Server { env, accepted: 0 }.start() }).await.unwrap();
        let mut clients = Vec::new();
        for i in 0..3 {
            let env = world.env(world.host(&format!("client-{i}")));
            clients.push(env.net.connect("10.0.0.1", 7, None).await.unwrap());
        }
        for round in 0..5u8 {
            for (i, client) in clients.iter_mut().enumerate() {
                let text = vec![b'a' + round; 10 + i];
                assert_eq!(client.try_write(&text).unwrap(), text.len());
            }
            for (i, client) in clients.iter_mut().enumerate() {
                assert_eq!(read_exact(client, 10 + i).await.unwrap(), vec![b'a' + round; 10 + i]);
            }
        }
        let accepted = address.send(Accepted).await.unwrap();
        assert_eq!(accepted, 3);
        world.note(format_args!("accepted {accepted}"));
    });
    world.trace()
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = echo_story(11);
    assert!(trace.contains(" data c") && trace.ends_with("note accepted 3\n"), "{trace}");
    assert_eq!(trace, echo_story(11));
    assert_ne!(trace, echo_story(12));
}

#[test]
fn bytes_keep_their_order_and_take_time() {
    let world = World::new(3);
    world.run(async {
        let mut pair = pair(&world).await;
        world.network().set_link_latency(pair.a, pair.b, Latency { base_us: 50_000, jitter_us: 100_000 });
        let started = Instant::now();
        let mut sent = Vec::new();
        for i in 0..200u8 {
            let text = [i; 7];
            assert_eq!(pair.client.try_write(&text).unwrap(), 7);
            sent.extend_from_slice(&text);
        }
        assert_eq!(read_exact(&mut pair.server, sent.len()).await.unwrap(), sent);
        assert!((50..=152).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
        assert_eq!(pair.client.peer_addr(), pair.server.local_addr());
        assert_eq!(pair.client.local_addr().to_string(), "10.0.0.1:40001");
        drop(pair.client);
        assert_eq!(read(&mut pair.server).await.unwrap(), b"");
    });
}

#[test]
fn a_writer_is_stopped_by_a_peer_that_does_not_read() {
    let world = World::new(3);
    world.run(async {
        let mut pair = pair(&world).await;
        world.network().set_window(1000);
        assert_eq!(pair.client.try_write(&[1; 1500]).unwrap(), 1000);
        assert_eq!(kind(pair.client.try_write(&[1; 500])), io::ErrorKind::WouldBlock);
        let ready = tokio::time::timeout(Duration::from_secs(60), poll_fn(|cx| pair.client.poll_write_ready(cx))).await;
        assert!(ready.is_err(), "still full");
        assert_eq!(read_exact(&mut pair.server, 300).await.unwrap().len(), 300);
        poll_fn(|cx| pair.client.poll_write_ready(cx)).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        assert_eq!(pair.client.try_write(&[1; 500]).unwrap(), 300);
    });
}

#[test]
fn short_writes_take_a_part_and_lose_nothing() {
    let world = World::new(3);
    world.run(async {
        let mut pair = pair(&world).await;
        world.network().set_short_writes(2);
        let (mut sent, mut short) = (Vec::new(), 0);
        for i in 0..100u8 {
            let n = pair.client.try_write(&[i; 100]).unwrap();
            sent.resize(sent.len() + n, i);
            short += usize::from(n < 100);
        }
        assert!((20..80).contains(&short), "{short}");
        assert_eq!(read_exact(&mut pair.server, sent.len()).await.unwrap(), sent);
    });
}

#[test]
fn connections_are_refused_where_nobody_listens() {
    let world = World::new(3);
    world.run(async {
        let pair = pair(&world).await;
        assert_eq!(kind(pair.env_a.net.connect("10.0.0.2", 7001, None).await), io::ErrorKind::ConnectionRefused);
        assert_eq!(kind(pair.env_a.net.connect("10.0.0.77", 7000, None).await), io::ErrorKind::HostUnreachable);
        assert_eq!(kind(pair.env_a.net.connect("nowhere", 7000, None).await), io::ErrorKind::NotFound);
        assert_eq!(kind(pair.env_b.net.listen(&any(7000), 1)), io::ErrorKind::AddrInUse);
        let free = pair.env_b.net.listen(&any(0), 1).unwrap();
        assert_eq!(free.local_addr().port(), 20_000);
        // The backlog holds one.
        pair.env_a.net.connect("b", 20_000, None).await.unwrap();
        assert_eq!(kind(pair.env_a.net.connect("b", 20_000, None).await), io::ErrorKind::ConnectionRefused);
        // Loopback is not the host's own address.
        let _local = pair.env_b.net.listen(&ListenAddr::Tcp(SocketAddr::from(([127, 0, 0, 1], 7002))), 1).unwrap();
        assert_eq!(kind(pair.env_a.net.connect("b", 7002, None).await), io::ErrorKind::ConnectionRefused);
        let client = pair.env_b.net.connect("localhost", 7002, None).await.unwrap();
        assert!(client.local_addr().ip().unwrap().is_loopback());
        drop(pair.listener);
        assert_eq!(kind(pair.env_a.net.connect("b", 7000, None).await), io::ErrorKind::ConnectionRefused);
        let again = pair.env_b.net.listen(&any(7000), 1);
        assert!(again.is_ok());
    });
}

#[test]
fn a_partition_holds_bytes_until_it_heals() {
    for one_way in [false, true] {
        let world = World::new(4);
        world.run(async {
            let mut pair = pair(&world).await;
            if one_way {
                world.network().partition_one_way(pair.a, pair.b);
            } else {
                world.network().partition(pair.a, pair.b);
            }
            pair.client.try_write(b"one").unwrap();
            pair.server.try_write(b"two").unwrap();
            let back = tokio::time::timeout(Duration::from_secs(60), read_exact(&mut pair.client, 3)).await;
            assert_eq!(back.is_ok(), one_way);
            assert!(tokio::time::timeout(Duration::from_secs(60), read(&mut pair.server)).await.is_err());
            pair.client.try_write(b"three").unwrap();
            world.network().heal(pair.a, pair.b);
            assert_eq!(read_exact(&mut pair.server, 8).await.unwrap(), b"onethree");
        });
    }
}

#[test]
fn retransmission_ends_in_a_timeout_and_the_peer_learns_of_it_later() {
    let world = World::new(4);
    world.run(async {
        let mut pair = pair(&world).await;
        world.network().set_retransmit_timeout(Duration::from_secs(30));
        world.network().partition(pair.a, pair.b);
        let started = Instant::now();
        pair.client.try_write(b"lost").unwrap();
        assert_eq!(kind(read(&mut pair.client).await), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), 30);
        let connecting = tokio::time::timeout(Duration::from_secs(1000), pair.env_a.net.connect("b", 7000, None)).await;
        assert_eq!(kind(connecting.unwrap()), io::ErrorKind::TimedOut);
        world.network().heal_all();
        assert!(tokio::time::timeout(Duration::from_secs(60), read(&mut pair.server)).await.is_err());
        pair.server.try_write(b"hello?").unwrap();
        assert_eq!(kind(read(&mut pair.server).await), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_cut_resets_both_ends_at_any_byte() {
    for cut_at in [0u64, 1, 700, 1400] {
        let world = World::new(5);
        world.run(async {
            let mut pair = pair(&world).await;
            world.network().cut_after(pair.a, pair.b, cut_at);
            let mut sent = 0;
            while sent < 200 && pair.client.try_write(b"7 bytes").is_ok() {
                sent += 1;
            }
            let mut got = Vec::new();
            let error = loop {
                match read(&mut pair.server).await {
                    Ok(bytes) => got.extend_from_slice(&bytes),
                    Err(error) => break error.kind(),
                }
            };
            assert_eq!((got.len() as u64, error), (cut_at, io::ErrorKind::ConnectionReset));
            assert_eq!(kind(read(&mut pair.client).await), io::ErrorKind::ConnectionReset);
            assert_eq!(kind(pair.client.try_write(b"x")), io::ErrorKind::ConnectionReset);
            drop((pair.client, pair.server));
            assert_eq!(world.network().connections(), []);
        });
    }
}

#[test]
fn a_crash_drops_the_hosts_tasks_listeners_and_connections() {
    let world = World::new(6);
    let host = world.host("server");
    let client = world.env(world.host("client"));
    world.run(async {
        for _ in 0..2 {
            let env = world.env(host);
            let address = world.on(host, async { Server { env, accepted: 0 }.start() }).await.unwrap();
            let mut socket = client.net.connect("server", 7, None).await.unwrap();
            socket.try_write(b"x").unwrap();
            assert_eq!(read_exact(&mut socket, 1).await.unwrap(), b"x");
            world.crash(host);
            assert!(!address.connected());
            assert_eq!(kind(read(&mut socket).await), io::ErrorKind::ConnectionReset);
            assert_eq!(kind(client.net.connect("server", 7, None).await), io::ErrorKind::ConnectionRefused);
        }
        let env = world.env(host);
        let waits = async move {
            let _env = env;
            std::future::pending::<()>().await;
        };
        let (ended, ()) = futures::join!(world.on(host, waits), async { world.crash(host) });
        assert_eq!(ended, None);
    });
}

#[test]
fn a_paused_host_stands_still_and_its_clock_may_jump() {
    let world = World::new(6);
    let host = world.host("a");
    let env = world.env(host);
    world.run(async {
        let env2 = env.clone();
        let echo = world.host("b");
        let other = world.env(echo);
        let address = world.on(host, async { Server { env: env2, accepted: 0 }.start() }).await.unwrap();
        let mut socket = other.net.connect("a", 7, None).await.unwrap();
        world.pause(host);
        socket.try_write(b"x").unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(10), read(&mut socket)).await.is_err());
        world.resume(host);
        assert_eq!(read(&mut socket).await.unwrap(), b"x");
        assert!(address.connected());
        let (unix, monotonic) = (env.clock.unix_us(), env.clock.monotonic_ns());
        world.jump_clock(host, -5_000_000);
        assert_eq!(env.clock.unix_us(), unix - 5_000_000);
        assert_eq!(env.clock.monotonic_ns(), monotonic);
        assert_eq!(other.clock.unix_us(), unix);
    });
}

#[test]
#[should_panic(expected = "a task of the simulated world panicked")]
fn a_panic_in_a_task_fails_the_story() {
    let world = World::new(6);
    let host = world.host("a");
    world.run(async {
        world.on(host, async { drop(tokio::task::spawn_local(async { panic!("as an assert in an actor does") })) }).await;
        sleep(Duration::from_secs(1)).await;
    });
}

#[test]
fn hosts_draw_different_numbers_and_the_same_ones_for_the_same_seed() {
    let draw = |seed| {
        let world = World::new(seed);
        let hosts = [world.host("a"), world.host("b")];
        hosts.map(|host| world.env(host).random.next_u64())
    };
    let [a, b] = draw(1);
    assert_ne!(a, b);
    assert_eq!(draw(1), [a, b]);
    assert_ne!(draw(2), [a, b]);
}

#[test]
fn unix_sockets_connect_within_the_host() {
    let world = World::new(8);
    let host = world.host("a");
    let env = world.env(host);
    world.run(async {
        let path = std::path::PathBuf::from("/tmp/a.sock");
        let mut listener = env.net.listen(&ListenAddr::Unix { path: path.clone(), mode: None }, 5).unwrap();
        let mut client = world.network().connect_unix(host, &path).await.unwrap();
        let mut server = accept(&mut listener).await;
        client.try_write(b"hi").unwrap();
        assert_eq!(read_exact(&mut server, 2).await.unwrap(), b"hi");
        assert_eq!(server.peer_addr().to_string(), "/tmp/a.sock:0");
    });
}
