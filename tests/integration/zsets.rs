//! Sorted sets, small and big, reach slaves of every kind: by full sync and by the stream.

use crate::support::{Client, Daemon, Peer, replicate, wait_in_sync};

/// Scores that DEBUG DIGEST shows alike in every version.
fn write(client: &mut Client, round: usize) {
    for number in 0..600 {
        let member = format!("member:{}", number * 7 % 1000);
        client.command(&["ZADD", "big", &format!("{}.5", number * round % 97), &member]);
        client.command(&["ZADD", &format!("small:{}", number % 40), &number.to_string(), &member]);
    }
    for line in [
        "ZINCRBY big 2 member:7",
        "ZREMRANGEBYRANK big 10 60",
        "ZPOPMAX big 5",
        "BZPOPMIN nokey big 0",
        "ZMPOP 2 small:1 small:2 MIN COUNT 3",
        "ZUNIONSTORE union 3 small:3 small:4 big WEIGHTS 2 1 1",
        "ZRANGESTORE range big 10 90 BYSCORE",
        "GEOADD places 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
        "GEOSEARCHSTORE near places FROMLONLAT 15 37 BYRADIUS 100 km",
        "COPY big copied REPLACE",
        "RENAME range renamed",
        "PEXPIRE union 10000000",
        "ZREMRANGEBYSCORE small:5 -inf +inf",
    ] {
        let reply = client.run(line);
        assert!(!reply.is_error("ERR"), "{line}: {reply:?}");
    }
}

#[test]
fn sorted_sets_reach_slaves() {
    let master = Daemon::replikant(&[]);
    let mut client = master.client();
    write(&mut client, 1);
    let ours = Daemon::replikant(&[]);
    let real = Peer::ALL.map(|peer| Daemon::redis(peer, &[]));
    replicate(&ours, master.port);
    real.iter().for_each(|slave| replicate(slave, master.port));
    for round in [3, 5] {
        let digest = wait_in_sync(&master, &ours);
        for slave in &real {
            assert_eq!(wait_in_sync(&master, slave), digest);
        }
        write(&mut client, round);
    }
    wait_in_sync(&master, &ours);
    assert_eq!(ours.client().run("OBJECT ENCODING big").text(), "skiplist");
    assert_eq!(ours.client().run("OBJECT ENCODING small:1").text(), "listpack");
}
