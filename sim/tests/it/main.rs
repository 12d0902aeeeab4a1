//! One test binary. A simulation runs only in child processes: two of them never share a process.
//!
//! Which test shows that a known bug of faults.md §4, or a hazard between nodes, is impossible here (`it`: the root's
//! tests over the real binary; `seeds`: `cargo xtask sim`, with the invariant; S and H numbers with a story of their own
//! are in [`scenarios`], by name):
//!
//! | bug | shown by |
//! |---|---|
//! | S1 a received snapshot hides committed rows | [`scenarios`] s01; [`install`], `a_power_failure_...`; seeds, `replay` |
//! | S2 a swap whose bookkeeping fails | [`scenarios`] s02; [`install`], `a_failed_operation_...`; seeds, `once` |
//! | S3 power loss around a checkpoint | [`checkpoint`], `s03_...`; mutants 03, 09, 11, 12 |
//! | S4 no start after a kill during a snapshot | [`scenarios`] s04; [`install`], `a_killed_installation_...` |
//! | S5 a lock held while a quorum is waited for | [`scenarios`] s05; [`h15_gate`]; mutant 22 |
//! | S6 an error that is answered as success | seeds, `acknowledged`; root's `http::error`, `s06_the_whole_map`; mutant 16 |
//! | S7 a reader starves checkpoints | [`h15_gate`], `s07_...`; mutant 17 |
//! | S8 a snapshot that is removed, or an older one, is sent | [`scenarios`] s08; [`install`], leases through swaps |
//! | S9 an interrupted node is malformed | [`checkpoint`], `a_killed_process...`; `it` kill; seeds, `integrity` |
//! | S10 chunks of an open load are purged | [`scenarios`] s10; [`load_swap`]; [`install`], a snapshot in a load |
//! | S15 a follower's backup or load differs | [`scenarios`] s15; seeds, `backups`; `it` cluster, `any_node_can_be_asked` |
//! | S16 memory grows with the database | `it` backups, `s16_...` |
//! | S17 a text that fails leaves a part, or its settings | `it` loads, `s17_texts`; seeds, `refused`; mutant 14 |
//! | S19 VACUUM or another program breaks the chain | there is no chain; VACUUMs are in [`checkpoint::workload`], other programs in `engine` h03_main_file |
//! | S20 a retry after a lost reply | [`scenarios`] s20; seeds, `once`; mutant 23 |
//! | S21 freshness | [`scenarios`] s21; seeds, `reads`; root's `store::freshness`; mutant 22 |
//! | S22 a failed start truncates the database | `it` data_directory, `s22_...` |
//! | S23 a read replica can't start | [`scenarios`] s23 |
//! | S24 quotes in the path | `it` loads, `s24_...` |
//! | S25 a stalled snapshot holds up a stop | [`scenarios`] s25 |
//! | S27 a recovery with another foreign key setting | `it` load_text, boot: it is replicated state, and goes with each snapshot (`raft::applied`); `it` recovery, `s27_...` |
//! | S28 all addresses change at once | [`scenarios`] s28, twice |
//! | S29 a bad file destroys the database | `it` loads, `s29_bad_loads`; boot, `what_is_no_database_...`; seeds, `refused`; mutant 04 |
//! | S30 a follower's disk is full | [`scenarios`] s30, three times; seeds, `FullDisk` |
//! | S31 a slow client of a backup blocks others | [`h15_gate`], `a_client_that_stops...`; `it` backups, `s31_...` |
//! | S36 a deposed leader's backup | [`scenarios`] s36; seeds, `backups` |
//! | S37 a damaged backup with a 200 | seeds, `backups`; mutant 16; [`h15_gate`], `a_backup_that_cant_be_kept...` |
//! | S38 a crash after the swap of a boot | `it` boot; seeds, `loads`, `model`; `it` cluster, `a_booted_database...` |
//! | S39 randomness and time differ | `engine` same_log, h08; `it` http_cases; seeds, `replay` |
//! | S40 a load that commits after its client gave up | [`scenarios`] s40; seeds, `loads: committed under a new leader` |
//! | S48 a valid file is rejected, or comes back corrupt | `it` loads, `s48_good_loads` |
//! | S50 an old WAL beside a new file | `it` loads, `s50_...`; [`node_state`], at each start |
//! | S51 a snapshot that isn't whole | root's `raft::snapshot`, `s51_...`; [`install`] |
//! | S52 a flush that flushes nothing, files written in place | [`raft_log`], `s52_...`; [`disk`]; mutants 01, 02, 07 |
//! | S53 a snapshot keeps stale members | [`scenarios`] s53 |
//! | S54 a purge races with applying | [`scenarios`] s54 |
//! | S55 a conflicting tail under a snapshot, another incarnation | [`scenarios`] s55; seeds, `logs`; root's `peer::identity` |
//! | S56 snapshot after snapshot | [`scenarios`] s56; root's `store::purge` |
//! | S57 a full disk, and no start afterwards | [`checkpoint`], `s57_...`; [`every_operation`]; seeds, `FullDisk` |
//! | S58 an entry of an earlier term is committed | [`scenarios`] s58; seeds, `logs`, `acknowledged` |
//! | H5 results and faults are told apart | `engine` h05; [`behind_a_fault`]; mutants 05, 13 |
//! | H12 a boot goes round the log | [`scenarios`] h12; `it` cluster, `a_booted_database...`; seeds, `boots` |
//! | H13 a load is state | [`scenarios`] s10, s40; [`load_swap`]; seeds, `loads: aborted` |
//! | H14 what is unknown is sent again | [`scenarios`] s20; mutant 23 |
//! | H16 another engine | [`scenarios`] h16 |
//! | H18 purge and installation | [`install`]; [`raft_log`]; [`scenarios`] s55, s56 |
//! | H19 a node from before a boot or recovery | root's `peer::identity`; `it` recovery; [`scenarios`] h19; seeds, which wipe it or recover by peers.json |
//! | H22 a restarted node goes back in time | [`restarted`]; [`scenarios`] h22; seeds, `reads`; mutant 25 |
//! | H23 bounds of memory and disk | `it` bounds; [`h15_gate`]; root's `http::memory`; seeds, `FullDisk` |
//! | F30 an older disk, an empty one | [`scenarios`] f30; `it` data_directory, `a_directory_of_another_node_...` |
// The tests themselves are outside the simulated world.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod behind_a_fault;
mod checkpoint;
mod determinism;
mod disk;
mod every_operation;
mod h15_gate;
mod install;
mod load_swap;
mod node_state;
mod raft_log;
mod restarted;
mod scenarios;
mod served;
mod vfs;
