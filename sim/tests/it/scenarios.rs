//! Known bugs of the field, played out on a whole cluster: see `sim::scenario` for each story.

use std::process::Command;

use sim::scenario;

/// Plays the scenario; the seed chooses what it leaves open.
fn play(name: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(["--seed", "1", "--scenario", name])
        .output()
        .expect("the binary is built with this test");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{name}: {}", told.lines().last().unwrap_or_default());
}

/// A test for each, by its name.
macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            play(stringify!($name));
        })*

        #[test]
        fn every_scenario_is_played() {
            let played = [$(stringify!($name)),*];
            assert_eq!(scenario::ALL.iter().map(|scenario| scenario.name).collect::<Vec<_>>(), played);
        }
    };
}

scenarios! {
    s01_a_snapshot_that_is_received_and_not_applied
    s02_what_follows_the_swap_of_a_snapshot_fails
    s04_kills_during_a_snapshot
    s05_reads_that_wait_for_a_quorum_hold_up_nothing
    s08_another_leader_sends_another_snapshot
    s10_restarts_in_the_middle_of_loads
    s15_backups_and_loads_through_followers
    s20_lost_replies_of_forwarded_writes
    s21_fresh_reads_of_nodes_that_hear_nobody
    s23_a_read_replica_starts_with_a_purged_log
    s25_a_snapshot_that_stalls_holds_up_no_stop
    s28_all_addresses_change_at_once
    s28_one_of_two_voters_moves
    s30_a_follower_whose_disk_is_full_during_a_load
    s30_a_follower_whose_disk_is_full_during_an_installation
    s30_a_follower_whose_disk_fails
    s36_a_deposed_leader_serves_no_backup
    s40_loads_whose_leader_is_gone
    s40_loads_that_the_next_leader_commits
    s53_members_that_changed_before_a_snapshot
    s54_purges_race_with_applying
    s55_a_conflicting_tail_under_a_snapshot
    s56_one_snapshot_is_enough
    s58_entries_of_earlier_terms
    h12_nodes_join_after_a_boot
    h16_another_engine_is_refused
    h19_nodes_join_after_a_recovery
    h22_reads_right_after_a_restart
    f30_an_older_disk_is_kept_out
}
