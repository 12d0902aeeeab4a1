//! A node that met a fault in the middle of an entry shows nobody what is there: it is no state at any index.
//! (seed 71: a linearizable read between the fault and the end of the process)

use rqlite::command::{Execute, Statement};
use sim::world::disk::{Counted, Error, Failure};

use crate::served::{rest, serve, take};

#[test]
fn no_read_shows_half_a_request() {
    serve(1 << 20, |served| async move {
        served.insert(20).await;
        let before = served.query(&["SELECT id FROM t"]).await.unwrap();
        let taken = take(&before, 1).await;
        // Behind a read, writes share no transaction.
        let statements = ["SELECT 1", "INSERT INTO t(b) VALUES(1)", "INSERT INTO t(b) VALUES(2)"];
        let statements = statements.map(|sql| Statement { sql: sql.into(), parameters: Vec::new() }).into();
        // The first INSERT writes a frame, in two writes; the second meets the failure.
        let (path, error) = (".sqlite-wal".into(), Error::Io);
        served.disk.arm(Failure { counted: Counted::Writes, path, after: 2, error });
        let failed = served.store.execute(Execute { statements, transaction: false }, None).await;
        assert!(failed.is_err(), "{failed:?}");
        assert!(served.store.failed().await.contains("applying entry"), "it is a fault");

        let after = served.query(&["SELECT count(*) FROM t"]).await.unwrap();
        for rows in [rest(after, Default::default()).await, rest(before, taken).await] {
            assert_eq!((rows.ended, rows.errors), (0, vec!["the node is stopping".to_string()]));
        }
    });
}
