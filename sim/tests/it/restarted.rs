//! A node alone commits its whole log when it starts: more than it had noted as committed, perhaps, and clients have seen
//! it. Until then it shows nothing. (hazard H22)

use rqlite::store::Error;
use sim::world::disk::PowerFailure;

use crate::served::{Served, process};

const SPOOL: u64 = 1 << 20;

#[test]
fn nothing_older_is_shown_than_before_the_restart() {
    const COUNT: &str = "SELECT count(*) FROM t";
    let disk = process(async {
        let served = Served::new(SPOOL).await;
        served.insert(1).await;
        served.insert(1).await;
        assert_eq!(served.read(COUNT).await.first, Some(2));
        served.disk
    });
    // What says that the last write is committed is synced with the next one.
    disk.power_fail(PowerFailure::DropAll);
    process(async {
        let served = Served::start(disk, SPOOL).await;
        assert!(matches!(served.query(&[COUNT]).await, Err(Error::NotReady)));
        served.store.campaign_if_alone().await.unwrap();
        served.wait_for("what was committed", || served.store.is_ready()).await;
        assert_eq!(served.read(COUNT).await.first, Some(2));
    });
}
