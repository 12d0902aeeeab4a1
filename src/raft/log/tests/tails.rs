//! H7: what a torn tail is, and what damage is. Refusing changes nothing.

use super::*;

/// Where the record of the `nth` entry of a segment is.
fn place(nth: usize) -> usize {
    64 + 72 * nth
}

/// A node whose entries fit into one segment.
fn home() -> Home {
    let home = Home::new();
    Home { options: Options { segment_bytes: 4096, ..home.options.clone() }, ..home }
}

/// Appends one by one, so that each knows the one before to be durable.
async fn append_singly(log: &mut Log, some: Vec<Entry>) {
    for entry in some {
        append(log, vec![entry]).await;
    }
}

/// Everything in the node's directory.
fn bytes(home: &Home) -> Vec<Vec<u8>> {
    let mut files = home.segments();
    files.push(home.raft().join("vote"));
    files.iter().filter_map(|path| crate::world::disk::read_small(&*home.world.disk, path).unwrap()).collect()
}

#[track_caller]
fn refused(home: &Home, file: &Path, want: &str) {
    let before = bytes(home);
    let text = home.open().err().expect("refused").to_string();
    let text = text.replace(&file.display().to_string(), "FILE").replace(&home.raft().display().to_string(), "RAFT");
    assert_eq!(text, want);
    assert_eq!(bytes(home), before, "something was changed");
}

#[test]
fn what_was_cut_never_comes_back() {
    run(async {
        let home = home();
        let mut log = home.opened();
        append_singly(&mut log, entries(1, 0..=14)).await;
        log.truncate_after(Some(log_id(1, 10))).await.unwrap();
        append_singly(&mut log, entries(2, 11..=11)).await;
        let mut again = home.opened();
        assert_eq!(all(&mut again).await, [entries(1, 0..=10), entries(2, 11..=11)].concat());
    });
}

#[test]
fn a_torn_batch_that_nobody_was_told_of_is_cut() {
    run(async {
        for lost in [5..6, 5..7, 5..8, 6..7, 7..8] {
            let home = home();
            append_singly(&mut home.opened(), entries(1, 0..=4)).await;
            append(&mut home.opened(), entries(1, 5..=7)).await;
            home.edit(&home.segments()[0], |bytes| bytes[place(lost.start)..place(lost.end)].fill(0));
            let mut log = home.opened();
            assert_eq!(all(&mut log).await, entries(1, 0..=lost.start as u64 - 1));
            append(&mut log, entries(2, lost.start as u64..=9)).await;
            let mut again = home.opened();
            assert_eq!(all(&mut again).await.len(), 10);
        }
    });
}

/// A client's blob may hold a piece of this very log. Taking it for a record would stop a healthy node.
#[test]
fn records_in_a_payload_prove_nothing() {
    run(async {
        let home = home();
        append_singly(&mut home.opened(), entries(1, 0..=4)).await;
        let copy = crate::world::disk::read_small(&*home.world.disk, &home.segments()[0]).unwrap().unwrap();
        let mut blob = entry(1, 5);
        blob.payload = EntryPayload::Normal(Payload(Bytes::from(copy[..1024].to_vec())));
        append(&mut home.opened(), vec![blob]).await;
        home.edit(&home.segments()[0], |bytes| bytes[place(5)] ^= 1);
        assert_eq!(all(&mut home.opened()).await, entries(1, 0..=4));
    });
}

#[test]
fn a_bad_record_before_one_that_knew_it_durable_is_damage() {
    run(async {
        for bad in 0..=3 {
            let home = home();
            append_singly(&mut home.opened(), entries(1, 0..=4)).await;
            let segment = home.segments()[0].clone();
            home.edit(&segment, |bytes| bytes[place(bad) + 50] ^= 1);
            let (offset, next, at) = (place(bad), bad + 1, place(bad + 1));
            refused(
                &home,
                &segment,
                &format!(
                    "raft log is damaged: segment FILE, byte {offset}: entry {bad} is not valid, but was durable when \
                 {next} at byte {at} was written; nothing was changed"
                ),
            );
        }
    });
}

#[test]
fn a_saved_commit_index_proves_the_last_entry() {
    run(async {
        let home = home();
        let mut log = home.opened();
        append_singly(&mut log, entries(1, 0..=4)).await;
        log.save_committed(Some(log_id(1, 4))).await.unwrap();
        // Nothing to cut: it only waits for the lane.
        log.truncate_after(Some(log_id(1, 4))).await.unwrap();
        let segment = home.segments()[0].clone();
        home.edit(&segment, |bytes| bytes[place(4) + 60] ^= 4);
        refused(
            &home,
            &segment,
            "raft log is damaged: segment FILE, byte 352: entry 4 is not valid, but was durable when 4 at byte 424 \
             was written; nothing was changed",
        );
    });
}

#[test]
fn the_vote_file_proves_what_was_durable_at_the_last_start() {
    run(async {
        let home = home();
        append(&mut home.opened(), entries(1, 0..=4)).await;
        drop(home.opened());
        let segment = home.segments()[0].clone();
        home.edit(&segment, |bytes| bytes[place(4)..].fill(0));
        refused(
            &home,
            &segment,
            "raft log is damaged: segment FILE, byte 352: the log ends here, but entries up to 4 were durable; \
             nothing was changed",
        );
        home.edit(&segment, |bytes| bytes[place(4)] = 7);
        refused(
            &home,
            &segment,
            "raft log is damaged: segment FILE, byte 352: entry 4 is not valid, but it was durable; nothing was changed",
        );
    });
}

#[test]
fn damage_before_the_last_segment_is_refused() {
    run(async {
        let damaged = |edit: fn(&mut Vec<u8>), want: &'static str| async move {
            let home = Home::new();
            append(&mut home.opened(), entries(1, 0..=20)).await;
            let segments = home.segments();
            assert_eq!(segments.len(), 4, "six entries each");
            home.edit(&segments[1], edit);
            refused(&home, &segments[1], want);
        };
        damaged(
            |bytes| bytes[place(2)] ^= 1,
            "raft log is damaged: segment FILE, byte 208: entry 8 is not valid, but a later segment exists; nothing \
             was changed",
        )
        .await;
        damaged(
            |bytes| bytes[place(2)..].fill(0),
            "raft log is damaged: segment FILE, byte 208: entry 8 is not valid, but segment 12, which was begun after \
             it, exists; nothing was changed",
        )
        .await;
        damaged(
            |bytes| bytes[20] ^= 1,
            "raft log is damaged: segment FILE, byte 0: the header is not valid; nothing was changed",
        )
        .await;
    });
}

#[test]
fn a_missing_segment_is_refused() {
    run(async {
        for (missing, want) in [
            (0, "raft log is damaged: segment FILE, byte 0: the entries before it are missing; nothing was changed"),
            (
                1,
                "raft log is damaged: segment FILE, byte 496: entry 6 is not valid, but segment 12, which was begun \
                 after it, exists; nothing was changed",
            ),
            (
                3,
                "raft log is damaged: segment FILE, byte 496: the log ends here, but entries up to 20 were durable; \
                 nothing was changed",
            ),
        ] {
            let home = Home::new();
            append(&mut home.opened(), entries(1, 0..=20)).await;
            drop(home.opened());
            let segments = home.segments();
            home.world.disk.remove(&segments[missing]).unwrap();
            let named = [1, 0, 0, 2][missing];
            refused(&home, &segments[named], want);
        }
    });
}

/// The header is synced before anything is written behind it.
#[test]
fn a_segment_without_a_header_is_torn_only_if_it_is_empty() {
    run(async {
        let home = Home::new();
        append(&mut home.opened(), entries(1, 0..=5)).await;
        let torn = home.raft().join("log").join(crate::raft::log::segment::name(6));
        crate::world::disk::replace_small(&*home.world.disk, &torn, &[0; 512]).unwrap();
        let mut log = home.opened();
        assert_eq!(all(&mut log).await, entries(1, 0..=5));
        append(&mut log, entries(1, 6..=7)).await;
        home.edit(&torn, |bytes| bytes[..64].fill(0));
        refused(
            &home,
            &torn,
            "raft log is damaged: segment FILE, byte 0: the header is not valid; nothing was changed",
        );
    });
}

#[test]
fn a_vote_that_is_missing_or_damaged_is_refused() {
    run(async {
        let home = Home::new();
        append(&mut home.opened(), entries(1, 0..=2)).await;
        let (vote, segment) = (home.raft().join("vote"), home.segments()[0].clone());
        let good = crate::world::disk::read_small(&*home.world.disk, &vote).unwrap().unwrap();
        home.edit(&vote, |bytes| bytes[14] ^= 1);
        refused(
            &home,
            &vote,
            "raft vote file FILE is damaged (checksum): the node could vote twice in one term; it was not started",
        );
        home.edit(&vote, Vec::clear);
        refused(
            &home,
            &vote,
            "raft vote file FILE is damaged (no header): the node could vote twice in one term; it was not started",
        );
        home.world.disk.remove(&vote).unwrap();
        refused(
            &home,
            &segment,
            "raft vote file RAFT/vote is missing, but FILE exists: the node could vote twice in one term; it was not \
             started",
        );
        crate::world::disk::replace_small(&*home.world.disk, &vote, &good).unwrap();
        assert_eq!(all(&mut home.opened()).await.len(), 3);
    });
}

#[test]
fn what_rots_while_it_is_open_stops_the_log() {
    run(async {
        let home = home();
        let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let sink = told.clone();
        let on_fatal = move |why| sink.lock().unwrap().push(why);
        let mut log = Log::open(&home.world, &home.raft(), home.options.clone(), on_fatal).unwrap();
        append(&mut log, entries(1, 0..=9)).await;
        let file = home.world.disk.open(&home.segments()[0], crate::world::Open::Write).unwrap();
        file.write_at(b"rot", place(3) as u64 + 50).unwrap();
        assert!(log.try_get_log_entries(..).await.is_err());
        assert!(log.read_vote().await.is_err(), "it goes on");
        assert_eq!(told.lock().unwrap().len(), 1);
    });
}
