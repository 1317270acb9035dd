//! A master that stops while a slave stands still: how long it waits, by the world's clock. And what a node finds that starts after a crash.

use std::time::Duration;

use replikant::sim::{Cluster, World};
use tokio::time::{Instant, sleep, timeout};

/// As `base_config` sets `shutdown-timeout`.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long the stop took, if the slave's host goes on after `pause`, and how many keys each node has then.
fn stop(pause: Duration) -> (Duration, u64) {
    let world = World::new(3);
    world.run(async {
        let cluster = Cluster::new(&world);
        cluster.add("master", None);
        cluster.add("slave", Some(0));
        cluster.start_all().await.unwrap();
        cluster.converge(Duration::from_secs(30)).await.unwrap();
        world.pause(cluster.host(1));
        let mut client = cluster.connect(0).await.unwrap();
        assert!(client.line("SET last 1").await.unwrap().is_ok());
        let (from, master) = (Instant::now(), cluster.handle(0).unwrap());
        master.request_stop(None);
        let stopped = async {
            timeout(Duration::from_secs(60), master.stopped()).await.expect("it stops");
            from.elapsed()
        };
        let resumed = async {
            sleep(pause).await;
            world.resume(cluster.host(1));
        };
        let (took, ()) = futures::join!(stopped, resumed);
        drop(master);
        world.crash(cluster.host(0));
        let mut keys = 0;
        cluster.look(|nodes| keys = nodes.iter().map(|node| node.keys()).min().unwrap_or(0));
        (took, keys)
    })
}

#[test]
fn a_slave_that_goes_on_in_time_has_the_last_write() {
    let (took, keys) = stop(Duration::from_secs(1));
    assert!((Duration::from_secs(1)..TIMEOUT).contains(&took), "{took:?}");
    assert_eq!(keys, 1);
}

#[test]
fn one_that_does_not_is_waited_for_until_the_time_is_over() {
    let (took, _) = stop(Duration::from_secs(9));
    assert!((TIMEOUT..TIMEOUT + Duration::from_millis(200)).contains(&took), "{took:?}");
}

#[test]
fn files_that_a_crashed_node_left_are_removed_when_it_starts_again() {
    const LEFT: &str = "/temp-0123456789abcdef.rdb";
    let world = World::new(3);
    world.run(async {
        let cluster = Cluster::new(&world);
        cluster.add("master", None);
        cluster.start_all().await.unwrap();
        let disk = world.disk(cluster.host(0));
        disk.put(LEFT, b"REDIS").unwrap();
        cluster.crash(0);
        assert!(disk.content(LEFT).is_some());
        cluster.start(0).await.unwrap();
        assert!(disk.content(LEFT).is_none());
    });
}
