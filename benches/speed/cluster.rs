//! A cluster of three on this machine: writes beside one node's, what forwarding adds, how long a failover takes, a
//! snapshot beside `cp`; the start of a large node, and how long a checkpoint holds up the writer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::client::{self, Ask};
use super::server::{Server, TIME};
use super::{MANY, ROUNDS, distance, inserts, verdict};

/// The default of `-raft-election-timeout`.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);

const KILLS: usize = 20;

/// From the follower to the leader, one way.
const FAR: Duration = Duration::from_millis(20);

const CHECKPOINTS: usize = 50;

/// Rows of the database that is checkpointed, 100 MB.
const ITEMS: u64 = 100_000;

/// Bytes of the large database, about, and of one of its rows.
const LARGE: u64 = 1 << 30;
const ROW: u64 = 1000;

/// Runs what `names` chooses; all if there are none.
pub async fn run(directory: &Path, names: &[String]) {
    let is_chosen = |name: &str| names.is_empty() || names.iter().any(|chosen| name.contains(chosen.as_str()));
    if is_chosen("cluster writes") {
        writes(&directory.join("writes")).await;
    }
    if is_chosen("cluster forwarded") {
        forwarded(&directory.join("forwarded")).await;
    }
    if is_chosen("checkpoint pause") {
        checkpoints(&directory.join("checkpoints")).await;
    }
    if is_chosen("cluster failover") {
        failover(&directory.join("failover")).await;
    }
    if is_chosen("cluster snapshot") {
        snapshot(&directory.join("snapshot")).await;
    }
}

/// Three nodes; the first leads.
async fn three(directory: &Path) -> [Server; 3] {
    let node = |id: &str, flags: &[&str]| Server::node(&directory.join(id), id, flags);
    fs::create_dir_all(directory).unwrap();
    let first = node("1", &[]);
    first.ready().await;
    let second = node("2", &["-join", &first.raft]);
    second.ready().await;
    let third = node("3", &["-join", &first.raft]);
    third.ready().await;
    create(&first).await;
    // A node has its vote when it has caught up.
    while !nodes(&first).await.as_object().is_some_and(|nodes| nodes.values().all(|node| node["voter"] == true)) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    [first, second, third]
}

/// What a node says of all of them.
async fn nodes(node: &Server) -> serde_json::Value {
    let answer = client::try_once(&node.address, &Ask::get("/nodes?timeout=1s&nonvoters")).await.unwrap_or_default();
    serde_json::from_slice(&answer).unwrap_or_default()
}

async fn create(node: &Server) {
    let create = "[\"CREATE TABLE foo(id INTEGER NOT NULL PRIMARY KEY, name TEXT)\"]";
    client::try_once(&node.address, &Ask::post("/db/execute", create.into())).await.expect("a table");
}

/// Writes of three nodes beside those of one, with where the CPU time goes.
async fn writes(directory: &Path) {
    let cluster = three(directory).await;
    let single = Server::node(&directory.join("single"), "1", &[]);
    single.ready().await;
    create(&single).await;
    let write = Ask::post("/db/execute", inserts(1));
    let mut rounds = Vec::new();
    let mut threads = [BTreeMap::new(), BTreeMap::new(), BTreeMap::new()];
    for _ in 0..ROUNDS {
        let one = client::rate(&single.address, MANY, &write, TIME).await;
        let before: Vec<_> = cluster.iter().map(Server::threads_us).collect();
        let three = client::rate(&cluster[0].address, MANY, &write, TIME).await;
        for ((node, before), sum) in cluster.iter().zip(before).zip(&mut threads) {
            for (name, cpu_us) in node.threads_us() {
                *sum.entry(name.clone()).or_insert(0.0) += cpu_us - before.get(&name).unwrap_or(&0.0);
            }
        }
        rounds.push((three / one, three, one));
    }
    rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (ratio, three, one) = rounds[ROUNDS / 2];
    let (least, most) = (rounds[0].0, rounds[ROUNDS - 1].0);
    println!(
        "cluster writes           {three:>8.0}/s   one node {one:>8.0}/s   ratio {ratio:.2} ({least:.2}..{most:.2}), at least 0.35  {}",
        verdict(ratio >= 0.35)
    );
    let seconds = ROUNDS as f64 * TIME.as_secs_f64();
    println!("  cores used by            leader  follower  follower");
    let names: std::collections::BTreeSet<_> = threads.iter().flat_map(|node| node.keys()).collect();
    for name in names {
        let of = |node: &BTreeMap<String, f64>| node.get(name).unwrap_or(&0.0) / 1e6 / seconds;
        let [leader, one, other] = [of(&threads[0]), of(&threads[1]), of(&threads[2])];
        println!("  {name:<22} {leader:>8.2}  {one:>8.2}  {other:>8.2}");
    }
}

/// What a read takes through a follower and at the leader: beside it, where a round trip is nothing but the work of both
/// sides, and [`FAR`] away, where the proxy's timers blur the third digit. `sim/tests/distance.rs` counts exactly.
async fn forwarded(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    for (n, delay) in [None, Some(FAR)].into_iter().enumerate() {
        let far = async |address: &str| match delay {
            None => address.to_owned(),
            Some(delay) => distance::to(address, delay).await,
        };
        let raft = Server::free_address();
        let advertised = far(&raft).await;
        let node = |id: &str, flags: &[&str]| Server::node(&directory.join(format!("{n}-{id}")), id, flags);
        let leader = node("1", &["-raft-addr", &raft, "-raft-adv-addr", &advertised]);
        leader.ready().await;
        create(&leader).await;
        let follower = node("2", &["-join", &advertised, "-raft-non-voter"]);
        follower.ready().await;
        let (http, what) =
            (far(&leader.address).await, delay.map_or("beside it".into(), |delay| format!("{delay:?} away")));
        through(&leader, &follower, &http, &what).await;
    }
}

/// `http`: the leader's API, as far away as it is from the follower.
async fn through(leader: &Server, follower: &Server, http: &str, what: &str) {
    let read = Ask::get("/db/query?level=weak&q=SELECT%20*%20FROM%20foo%20WHERE%20id=1");
    let took = async |address: &str, ask: &Ask| {
        let (address, ask) = (address.to_owned(), ask.clone());
        tokio::task::spawn_blocking(move || client::took_us(&address, &ask, TIME)).await.unwrap()
    };
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let direct = took(&leader.address, &read).await;
        // A connection between the nodes that was idle for a while is asked first whether it works.
        client::try_once(&follower.address, &read).await.expect("an answer");
        let forwarded = took(&follower.address, &read).await;
        let trip = took(http, &Ask::get("/readyz?noleader")).await;
        rounds.push(((forwarded - direct) / trip, direct, forwarded, trip));
    }
    rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (trips, direct, forwarded, trip) = rounds[ROUNDS / 2];
    println!(
        "cluster forwarded read   {forwarded:.0} us, {direct:.0} us at the leader, {what}: {trips:.2} of a round trip ({trip:.0} us) more, at most 1  {}",
        // To a hundredth: 20 ms away, the nodes' own work is less than that.
        verdict(trips < 1.005)
    );
}

/// Checkpoints at the default trigger while clients change rows all over the database.
async fn checkpoints(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    let node = Server::node(&directory.join("1"), "1", &["-raft-snap-int", "100ms"]);
    node.ready().await;
    let fill = format!(
        "[\"CREATE TABLE item(id INTEGER PRIMARY KEY, body BLOB)\", \"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL \
         SELECT i + 1 FROM n WHERE i < {ITEMS}) INSERT INTO item SELECT i, zeroblob({}) FROM n\"]",
        ROW - 20
    );
    client::try_once(&node.address, &Ask::post("/db/execute", fill)).await.expect("a table");
    let change = format!("[\"UPDATE item SET body = randomblob({}) WHERE id = abs(random() % {ITEMS})\"]", ROW - 20);
    let change = Ask::post("/db/execute", change);
    let (mut pauses, mut last) = (Vec::new(), 0);
    while pauses.len() < CHECKPOINTS {
        let looking = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let ask = Ask::get("/status?key=store.checkpoints");
            let answer = client::try_once(&node.address, &ask).await.unwrap_or_default();
            serde_json::from_slice::<serde_json::Value>(&answer).unwrap_or_default()
        };
        let (_, seen) = tokio::join!(client::rate(&node.address, MANY, &change, Duration::from_millis(20)), looking);
        let done = seen["done"].as_u64().unwrap_or(last);
        if done > last {
            // The first has the whole table to copy.
            if last > 0 {
                pauses.push(seen["last_pause_us"].as_f64().unwrap() / 1000.0);
            }
            last = done;
        }
    }
    pauses.sort_by(f64::total_cmp);
    let (median, worst) = (pauses[CHECKPOINTS / 2], pauses[CHECKPOINTS - 1]);
    println!(
        "checkpoint pause         {median:.1} ms, worst of {CHECKPOINTS} {worst:.1} ms; at most 50  {}",
        verdict(worst <= 50.0)
    );
}

/// Kills the leader again and again; how long until the next write is acknowledged.
async fn failover(directory: &Path) {
    let mut cluster = three(directory).await;
    let write = Ask::post("/db/execute", inserts(1));
    let mut took = Vec::new();
    for _ in 0..KILLS {
        let leader = leader(&cluster).await;
        cluster[leader].kill();
        let killed = Instant::now();
        while !acknowledged(&cluster, leader, &write).await {}
        took.push(killed.elapsed());
        cluster[leader].start();
        cluster[leader].ready().await;
    }
    took.sort();
    let (median, worst) = (took[KILLS / 2], took[KILLS - 1]);
    let [median, worst] = [median, worst].map(|took| took.as_secs_f64() / ELECTION_TIMEOUT.as_secs_f64());
    println!(
        "cluster failover         {median:.2} of the election timeout until the next write, at most 2; worst of {KILLS} {worst:.2}, at most 4  {}",
        verdict(median <= 2.0 && worst <= 4.0)
    );
}

async fn leader(cluster: &[Server; 3]) -> usize {
    loop {
        for (n, node) in cluster.iter().enumerate() {
            if nodes(node).await[(n + 1).to_string()]["leader"] == true {
                return n;
            }
        }
    }
}

/// Whether one of the nodes, but for the one that was killed, takes the write now.
async fn acknowledged(cluster: &[Server; 3], killed: usize, write: &Ask) -> bool {
    for (n, node) in cluster.iter().enumerate() {
        let patience = Duration::from_millis(200);
        let answer = async { tokio::time::timeout(patience, client::try_once(&node.address, write)).await };
        if n != killed && answer.await.is_ok_and(|answer| answer.is_some()) {
            return true;
        }
    }
    tokio::time::sleep(Duration::from_millis(2)).await;
    false
}

/// Reads the file and uses memory for copies of it, as much as what comes then will: a virtual machine whose host takes
/// back what is free gets it again page by page, at a third of the speed of `cp`.
fn warm(main: &Path, copy: &Path) {
    let copies = [1, 2, 3].map(|n| copy.with_extension(n.to_string()));
    for copy in &copies {
        fs::copy(main, copy).unwrap();
        fs::File::open(copy).unwrap().sync_all().unwrap();
    }
    for copy in &copies {
        fs::remove_file(copy).unwrap();
    }
}

/// A node of 1 GB: its start, beside one that is almost empty; and a node that joins it, beside `cp`.
async fn snapshot(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    let file = directory.join("large.sqlite");
    make(&file);
    let mut first = Server::node(&directory.join("1"), "1", &[]);
    let mut small = Server::node(&directory.join("small"), "1", &[]);
    first.ready().await;
    small.ready().await;
    create(&small).await;
    load(&first, &file);
    let mut starts = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (node, took) in [&mut first, &mut small].into_iter().zip(&mut starts) {
            node.kill();
            let began = Instant::now();
            node.start();
            node.ready().await;
            took.push(began.elapsed().as_secs_f64() * 1000.0);
        }
    }
    let [large, small_ms] = starts.map(|mut took| {
        took.sort_by(f64::total_cmp);
        took[ROUNDS / 2]
    });
    drop(small);
    println!(
        "start of a 1 GB node     {large:.0} ms after kill -9, an empty one {small_ms:.0} ms; at most 1000  {}",
        verdict(large <= 1000.0)
    );

    let (mut rounds, mut memory) = (Vec::new(), [0.0f64; 2]);
    for round in 0..ROUNDS {
        // The very file that is sent.
        let (main, copy) = (directory.join("1/db/2.sqlite"), directory.join("copy"));
        warm(&main, &copy);
        let began = Instant::now();
        assert!(Command::new("cp").args([&main, &copy]).status().unwrap().success());
        let cp = began.elapsed();
        // What a follower has acknowledged is durable: what such a copy takes is told beside it.
        fs::File::open(&copy).unwrap().sync_all().unwrap();
        let durable = began.elapsed();
        fs::remove_file(&copy).unwrap();

        first.kill();
        first.start();
        first.ready().await;
        // Of what was loaded the log still has the chunks: the new node would get those.
        client::try_once(&first.address, &Ask::post("/snapshot?trailing_logs=0", String::new())).await.expect("purged");
        let idle = first.memory("VmRSS");
        let id = format!("late-{round}");
        warm(&main, &copy);
        let started = Instant::now();
        // No vote: nothing depends on it when it is gone again.
        let late = Server::node(&directory.join(&id), &id, &["-join", &first.raft, "-raft-non-voter"]);
        // Up, joined, and asked whether it wants it.
        while fs::read_dir(directory.join(&id).join("tmp")).map_or(0, Iterator::count) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let began = Instant::now();
        let count = Ask::get("/db/query?level=none&q=SELECT%20max(id)%20FROM%20item");
        let expected = format!("[[{}]]", LARGE / ROW);
        let is_there = |body: &[u8]| String::from_utf8_lossy(body).contains(&expected);
        while !client::try_once(&late.address, &count).await.is_some_and(|body| is_there(&body)) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let took = began.elapsed();
        rounds.push((cp.as_secs_f64() / took.as_secs_f64(), took, started.elapsed(), durable, cp));
        memory[0] = memory[0].max(first.memory("VmHWM") - idle);
        memory[1] = memory[1].max(late.memory("VmHWM") - idle);
        drop(late);
        fs::remove_dir_all(directory.join(&id)).unwrap();
        let remove = Ask { method: hyper::Method::DELETE, ..Ask::post("/remove", format!(r#"{{"id":"{id}"}}"#)) };
        client::try_once(&first.address, &remove).await.expect("it is removed");
    }
    rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (ratio, ours, from_start, durable, cp) = rounds[ROUNDS / 2];
    println!(
        "cluster snapshot         {ours:.2?}, {from_start:.2?} from the start of the new node; cp {cp:.2?} (with a sync {durable:.2?})   ratio {ratio:.2} ({:.2}..{:.2}), at least 0.50  {}",
        rounds[0].0,
        rounds[ROUNDS - 1].0,
        verdict(ratio >= 0.5)
    );
    let [leader, follower] = memory;
    println!(
        "  over idle at its peak  leader {leader:.1} MiB, follower {follower:.1} MiB, at most 64  {}",
        verdict(leader.max(follower) <= 64.0)
    );
}

fn make(path: &PathBuf) {
    let database = rusqlite::Connection::open(path).unwrap();
    let rows = LARGE / ROW;
    let sql = format!(
        "PRAGMA synchronous=OFF; PRAGMA journal_mode=MEMORY; CREATE TABLE item(id INTEGER PRIMARY KEY, body BLOB); \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         INSERT INTO item SELECT i, randomblob({}) FROM n;",
        ROW - 20
    );
    database.execute_batch(&sql).unwrap();
}

fn load(node: &Server, file: &Path) {
    let url = format!("http://{}/db/load", node.address);
    let answer = ureq::post(url).send(fs::File::open(file).unwrap()).unwrap().into_body().read_to_string().unwrap();
    assert_eq!(answer, r#"{"results":[]}"#);
}
