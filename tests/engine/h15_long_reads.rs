//! Hazard H15: a read that takes long by itself keeps nobody else waiting, and doesn't keep checkpoints waiting for
//! ever. What clients do to a checkpoint is in `sim/tests/it/h15_gate.rs`; this one needs a statement that really runs.

use std::time::Duration;

use rqlite::db::query::{Progress, QueryOptions};
use rqlite::db::readers::{Bounds, Readers, Reading};
use rqlite::db::value::{Columns, RowSink, ValueRef};
use rqlite::world::runtime;

use crate::node::{Node, statement};

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

/// Keeps the errors.
#[derive(Debug, Default)]
struct Errors(Vec<String>);

impl RowSink for Errors {
    fn begin(&mut self, _: &Columns) {}
    fn row(&mut self, _: &[ValueRef<'_>]) -> Result<(), String> {
        Ok(())
    }
    fn end(&mut self, _: Duration) {}
    fn error(&mut self, text: &str) {
        self.0.push(text.into());
    }
    fn buffered(&self) -> usize {
        0
    }
}

async fn open(readers: &Readers, sql: &str) -> Reading {
    let opened = readers.open(vec![statement(sql, vec![])], QueryOptions::default()).await;
    opened.expect("the gate is open").expect("the database can be opened")
}

fn readers(node: &mut Node, age: Duration) -> Readers {
    let (world, paths, current) = (node.world().clone(), node.paths(), node.machine().current().clone());
    Readers::new(&world, &paths, current, Bounds { readers: 10, spool_bytes: 1 << 20, age })
}

fn block_on(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(runtime::scope(1, future));
}

#[test]
fn a_long_read_doesnt_keep_others_waiting() {
    let mut node = Node::new();
    let readers = readers(&mut node, Duration::MAX);
    block_on(async move {
        let long = open(&readers, ENDLESS).await;
        let running = rqlite::world::spawn(async move { long.next(Errors::default(), 1).await });
        for _ in 0..5 {
            assert!(readers.close(Duration::from_millis(20)).await.is_none(), "it is gone");
            let short = open(&readers, "SELECT 1").await;
            assert_eq!(short.next(Errors::default(), 1).await.1, Progress::Finished);
        }
        assert!(!running.is_finished(), "it was ended");
        // Its client goes: so does it.
        running.abort();
        while readers.close(Duration::from_millis(20)).await.is_none() {}
    });
}

#[test]
fn a_read_that_is_too_old_is_ended() {
    let mut node = Node::new();
    let readers = readers(&mut node, Duration::ZERO);
    block_on(async move {
        let long = open(&readers, ENDLESS).await;
        let running = rqlite::world::spawn(async move { long.next(Errors::default(), 1).await });
        while readers.close(Duration::from_millis(20)).await.is_none() {}
        let (errors, progress) = running.await.unwrap();
        assert_eq!((errors.0, progress), (vec!["interrupted".to_string()], Progress::Finished));
    });
}
