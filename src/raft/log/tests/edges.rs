//! Purges, truncations, saved commit indexes, large entries, streams, reopening.

use futures::StreamExt;
use openraft::storage::LeaderBoundedStreamError;

use super::*;
use crate::raft::log::Stats;
use crate::raft::types::{LeaderId, Vote};

#[track_caller]
fn state(log: &Log, purged: Option<(u64, u64)>, last: Option<(u64, u64)>) {
    let id = |id: Option<(u64, u64)>| id.map(|(term, index)| log_id(term, index));
    let memory = log.shared.memory();
    assert_eq!((memory.purged, memory.last()), (id(purged), id(last)));
}

#[test]
fn a_purge_past_the_end_leaves_an_empty_log_that_goes_on_there() {
    run(async {
        let home = Home::new();
        let mut log = home.opened();
        append(&mut log, entries(1, 0..=9)).await;
        log.purge(log_id(3, 100)).await.unwrap();
        state(&log, Some((3, 100)), Some((3, 100)));
        assert_eq!(home.segments().len(), 0);
        let mut log = home.opened();
        state(&log, Some((3, 100)), Some((3, 100)));
        assert_eq!(log.stats(), Stats { first: None, last: None, bytes: 0, segments: 0 });
        append(&mut log, entries(3, 101..=102)).await;
        let mut log = home.opened();
        state(&log, Some((3, 100)), Some((3, 102)));
        assert_eq!(all(&mut log).await, entries(3, 101..=102));
    });
}

#[test]
fn a_purge_within_a_segment_keeps_it() {
    run(async {
        let home = Home::new();
        let mut log = home.opened();
        append(&mut log, entries(1, 0..=19)).await;
        log.purge(log_id(1, 14)).await.unwrap();
        state(&log, Some((1, 14)), Some((1, 19)));
        assert_eq!(log.stats(), Stats { first: Some(15), last: Some(19), bytes: 1024, segments: 2 });
        log.purge(log_id(1, 16)).await.unwrap();
        assert_eq!(all(&mut log).await, entries(1, 17..=19));
        // The second purge changed no file.
        let mut log = home.opened();
        state(&log, Some((1, 14)), Some((1, 19)));
        assert_eq!(all(&mut log).await, entries(1, 15..=19));
    });
}

#[test]
fn everything_is_there_after_everything() {
    run(async {
        let home = Home::new();
        let mut log = home.opened();
        append(&mut log, entries(1, 0..=19)).await;
        log.save_vote(&Vote::new_committed(2, "b".into())).await.unwrap();
        log.truncate_after(Some(log_id(1, 7))).await.unwrap();
        append(&mut log, entries(2, 8..=30)).await;
        log.save_committed(Some(log_id(2, 29))).await.unwrap();
        log.purge(log_id(1, 5)).await.unwrap();
        append(&mut log, entries(4, 31..=31)).await;
        for _ in 0..2 {
            let mut log = home.opened();
            let want = [entries(1, 6..=7), entries(2, 8..=30), entries(4, 31..=31)].concat();
            assert_eq!(all(&mut log).await, want);
            assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(2, "b".into())));
            assert_eq!(log.read_committed().await.unwrap(), Some(log_id(2, 29)));
            let keys = log.get_key_log_ids(log_id(1, 5)..=log_id(4, 31)).await.unwrap();
            assert_eq!(keys, [log_id(1, 7), log_id(2, 30), log_id(4, 31)]);
        }
    });
}

#[test]
fn a_cut_of_everything_leaves_an_empty_log() {
    run(async {
        let home = Home::new();
        let mut log = home.opened();
        append(&mut log, entries(1, 0..=19)).await;
        log.truncate_after(None).await.unwrap();
        state(&log, None, None);
        append(&mut log, entries(2, 0..=3)).await;
        assert_eq!(all(&mut home.opened()).await, entries(2, 0..=3));
    });
}

#[test]
fn a_saved_commit_index_survives_a_cut_and_is_clipped_to_the_log() {
    run(async {
        let home = Home::new();
        let mut log = home.opened();
        append(&mut log, entries(1, 0..=9)).await;
        // Behind entry 9, so the cut takes its record away.
        log.save_committed(Some(log_id(1, 3))).await.unwrap();
        log.truncate_after(Some(log_id(1, 4))).await.unwrap();
        let mut log = home.opened();
        assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 3)));

        // Others may commit an entry before it is on this disk.
        log.save_committed(Some(log_id(1, 8))).await.unwrap();
        append(&mut log, entries(1, 5..=5)).await;
        let mut log = home.opened();
        assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 5)));
        assert_eq!(log.saved_committed(), Some(log_id(1, 8)));
    });
}

#[test]
fn an_entry_larger_than_a_segment_gets_its_own() {
    run(async {
        let home = Home::new();
        let large = |index, bytes: usize| Entry {
            log_id: log_id(1, index),
            payload: EntryPayload::Normal(Payload(Bytes::from(vec![index as u8; bytes]))),
        };
        let some = vec![entry(1, 0), large(1, 5_000), entry(1, 2), large(3, 1_000_001), large(4, 500), entry(1, 5)];
        append(&mut home.opened(), some.clone()).await;
        assert_eq!(all(&mut home.opened()).await, some);
        assert_eq!(home.segments().len(), 6);
    });
}

#[test]
fn reads_come_in_pieces() {
    run(async {
        let home = Home::new();
        let mut log = home.opened();
        append(&mut log, entries(1, 0..=29)).await;
        // 200 bytes hold two records of 72; the cache's 150 too.
        for (from, want) in [(0, 2), (4, 2), (5, 1), (26, 2), (28, 2), (29, 1), (30, 0)] {
            let got = log.limited_get_log_entries(from, 30).await.unwrap();
            assert_eq!(got, entries(1, from..=29)[..want], "from {from}");
        }
        let streamed: Vec<_> = log.entries_stream(3..25).await.map(Result::unwrap).collect().await;
        assert_eq!(streamed, entries(1, 3..=24));
    });
}

#[test]
fn a_stream_for_a_leader_ends_with_its_vote() {
    run(async {
        let home = Home::new();
        let mut log = home.opened();
        append(&mut log, entries(1, 0..=29)).await;
        log.save_vote(&Vote::new_committed(1, "a".into())).await.unwrap();
        let mut reader = log.clone();
        let leader = LeaderId { term: 1, voted_for: "a".into() };
        let mut stream = Box::pin(reader.leader_bounded_stream(leader, 0..30).await);
        assert_eq!(stream.next().await.unwrap().unwrap(), entry(1, 0));
        log.save_vote(&Vote::new(2, "b".into())).await.unwrap();
        let rest: Vec<_> = stream.collect().await;
        let Some((Err(LeaderBoundedStreamError::LeaderChanged(_)), before)) = rest.split_last() else {
            panic!("{rest:?}");
        };
        assert!(before.len() < 3, "more than a piece was read under another vote");
    });
}

#[test]
fn a_purge_under_a_stream_is_an_error_not_a_gap() {
    run(async {
        let home = Home::new();
        let mut log = home.opened();
        append(&mut log, entries(1, 0..=29)).await;
        let mut reader = log.clone();
        let mut stream = Box::pin(reader.entries_stream(0..30).await);
        assert_eq!(stream.next().await.unwrap().unwrap(), entry(1, 0));
        log.purge(log_id(1, 20)).await.unwrap();
        let rest: Vec<_> = stream.collect().await;
        let (last, before) = rest.split_last().unwrap();
        assert!(last.is_err());
        assert_eq!(before.iter().map(|one| one.as_ref().unwrap().clone()).collect::<Vec<_>>(), entries(1, 1..=1));
    });
}

#[test]
#[should_panic(expected = "hole in the log")]
fn a_hole_is_a_bug() {
    run(async {
        let home = Home::new();
        let mut log = home.opened();
        append(&mut log, entries(1, 0..=2)).await;
        append(&mut log, entries(1, 4..=4)).await;
    });
}
