//! What sorted sets and places reply and put into the stream; the constants are Redis 8.2.3's.

use super::super::testing::Bench;

#[test]
fn the_stream_says_what_has_changed() {
    let mut b = Bench::new();
    for (line, effects) in [
        ("zadd z 1 a 2 b 3 c 4 d", &["zadd z 1 a 2 b 3 c 4 d"][..]),
        ("zadd z 1 a", &[]),
        ("zadd z nx 5 a", &[]),
        ("zadd z incr 1 a", &["zadd z incr 1 a"]),
        ("zincrby z 0 b", &[]),
        ("zrem z q", &[]),
        ("zpopmin z", &["zpopmin z"]),
        ("bzpopmin z 0", &["ZPOPMIN z"]),
        ("bzpopmax nokey z 0", &["ZPOPMAX z"]),
        ("zmpop 2 nokey z max count 10", &["ZPOPMAX z 1"]),
        ("zadd z 1 a 2 b 3 c 4 d", &["zadd z 1 a 2 b 3 c 4 d"]),
        ("bzmpop 0 1 z min count 2", &["ZPOPMIN z 2"]),
        ("zrangestore y z 0 0", &["zrangestore y z 0 0"]),
        ("zrangestore y nokey 0 0", &["zrangestore y nokey 0 0"]),
        ("zrangestore y nokey 0 0", &[]),
        ("zunionstore y 2 z z", &["zunionstore y 2 z z"]),
        ("zremrangebyscore y 7 7", &[]),
        ("zremrangebyscore y 6 6", &["zremrangebyscore y 6 6"]),
        ("geoadd g 13.361389 38.115556 Palermo", &["zadd g 3479099956230698 Palermo"]),
        ("geoadd g ch xx 13.5 38.115556 Palermo", &["zadd g ch xx 3479100629809192 Palermo"]),
        ("georadius g 15 37 200 km", &[]),
        ("georadius g 15 37 200 km store gs", &["georadius g 15 37 200 km store gs"]),
        ("geosearchstore gs g fromlonlat 15 37 byradius 1 km", &["geosearchstore gs g fromlonlat 15 37 byradius 1 km"]),
        ("geoadd gb 13.361389 38.115556 p", &["zadd gb 3479099956230698 p"]),
        ("geosearchstore gs gb fromlonlat 13 38 bybox 200 200 km", &["MULTI", "DEL gs", "ZADD gs 3479099956230698 p", "EXEC"]),
        ("geosearchstore gs gb fromlonlat 90 38 bybox 1 1 km", &["DEL gs"]),
        ("geosearchstore gs gb fromlonlat 90 38 bybox 1 1 km", &[]),
    ] {
        assert_eq!(b.streamed(line), effects, "{line}");
    }
    assert_eq!(b.say("exists gs"), ":0");
}

#[test]
fn options_of_zadd_spare_members() {
    let mut b = Bench::new();
    for (line, reply) in [
        ("zadd z xx 1 a", ":0"),
        ("zadd z 1 a 2 b", ":2"),
        ("zadd z gt 0 a 3 b", ":0"),
        ("zadd z lt ch 0 a 9 b 1 c", ":2"),
        ("zadd z nx ch 5 a 5 d", ":1"),
        ("zadd z gt incr -1 a", "$-1"),
        ("zadd z incr 1.5 a", "$3 1.5"),
        ("zadd z inf i", ":1"),
        ("zincrby z -inf i", "-ERR resulting score is not a number (NaN)"),
        ("zscore z i", "$3 inf"),
        ("zincrby z NX a", "-ERR syntax error"),
        ("zadd z nx gt 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible"),
        ("zrange z 0 -1 withscores", "*10 $1 c $1 1 $1 a $3 1.5 $1 b $1 3 $1 d $1 5 $1 i $3 inf"),
    ] {
        assert_eq!(b.say(line), reply, "{line}");
    }
}

#[test]
fn ranges_by_rank_score_and_member() {
    let mut b = Bench::new();
    b.say("zadd z 1 a 2 b 3 c 4 d 5 e");
    b.say("zadd l 0 a 0 b 0 c 0 d");
    for (line, reply) in [
        ("zrange z 1 -2 rev", "*3 $1 d $1 c $1 b"),
        ("zrange z (1 4 byscore limit 1 5", "*2 $1 c $1 d"),
        ("zrange z +inf (2 byscore rev limit 1 1", "*1 $1 d"),
        ("zrange z 0 9 byscore limit -1 5", "*0"),
        ("zrange l [b (d bylex", "*2 $1 b $1 c"),
        ("zrange l + - bylex rev limit 0 2", "*2 $1 d $1 c"),
        ("zrange z 0 1 limit 0 1", "-ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX"),
        ("zrange z 0 1 limit 0 -1", "*2 $1 a $1 b"),
        ("zrangebyscore z \"\" 1", "*1 $1 a"),
        ("zcount z (1 (5", ":3"),
        ("zlexcount l - (c", ":2"),
        ("zrevrank z a withscore", "*2 :4 $1 1"),
        ("zrank z nobody withscore", "*-1"),
    ] {
        assert_eq!(b.say(line), reply, "{line}");
    }
}

#[test]
fn unions_and_intersections_weigh_and_aggregate() {
    let mut b = Bench::new();
    b.say("zadd z 1 a 2 b 3 5");
    b.say("zadd y 10 b 20 5 30 c");
    b.say("sadd s 5 b");
    for (line, reply) in [
        ("zunion 2 z y withscores", "*8 $1 a $1 1 $1 b $2 12 $1 5 $2 23 $1 c $2 30"),
        ("zinter 3 z y s withscores", "*4 $1 b $2 13 $1 5 $2 24"),
        ("zinter 2 z y weights 2 -1 aggregate min withscores", "*4 $1 5 $3 -20 $1 b $3 -10"),
        ("zdiff 2 z s withscores", "*2 $1 a $1 1"),
        ("zintercard 2 z y limit 1", ":1"),
        ("zunionstore d 1 s", ":2"),
        ("zrange d 0 -1 withscores", "*4 $1 5 $1 1 $1 b $1 1"),
        ("zrank d 5", ":0"),
    ] {
        assert_eq!(b.say(line), reply, "{line}");
    }
}

#[test]
fn places_are_found() {
    let mut b = Bench::new();
    b.say("geoadd g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania");
    for (line, reply) in [
        ("geodist g Palermo Catania km", "$8 166.2742"),
        ("geopos g Palermo nobody", "*2 *2 $18 13.361389338970184 $16 38.1155563954963 *-1"),
        ("geohash g Catania", "*1 $11 sqdtr74hyu0"),
        ("geosearch g fromlonlat 15 37 byradius 200 km desc withdist", "*2 *2 $7 Palermo $8 190.4424 *2 $7 Catania $7 56.4413"),
        ("geosearch g frommember Palermo bybox 100 100 km", "*1 $7 Palermo"),
        ("georadius_ro g 15 37 200 km count 1", "*1 $7 Catania"),
        ("georadius_ro g 15 37 200 km store d", "-ERR syntax error"),
        ("geosearch g fromlonlat 15 37 asc count 1", "-ERR exactly one of BYRADIUS and BYBOX can be specified for geosearch"),
        ("geoadd g 181 0 x", "-ERR invalid longitude,latitude pair 181.000000,0.000000"),
    ] {
        assert_eq!(b.say(line), reply, "{line}");
    }
}

#[test]
fn random_members_are_members() {
    let mut b = Bench::new();
    assert_eq!(b.say("config set zset-max-listpack-entries 4"), "+OK");
    for number in 0..30 {
        b.say(&format!("zadd z {number} m{number}"));
        for count in [3, 29, 100] {
            let reply = b.say(&format!("zrandmember z {count}"));
            let mut members: Vec<&str> = reply.split(' ').filter(|word| word.starts_with('m')).collect();
            assert_eq!(members.len(), count.min(number + 1));
            members.sort_unstable();
            members.dedup();
            assert_eq!(members.len(), count.min(number + 1));
        }
    }
    assert!(b.say("zrandmember z -70").starts_with("*70 "));
    assert_eq!(b.say("zrandmember z -9223372036854775807"), "-ERR value is out of range");
}
