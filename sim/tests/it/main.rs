//! One test binary. A simulation runs only in child processes: two of them never share a process.
//!
//! Which test shows that a known bug of faults.md §4 is impossible here (`it`: the root's tests over the real binary;
//! `seeds`: `cargo xtask sim`, with the invariant):
//!
//! | bug | shown by |
//! |---|---|
//! | S3 power loss around a checkpoint | [`checkpoint`], at every operation; mutants 03, 09, 11, 12 |
//! | S7 a reader starves checkpoints | [`h15_gate`]; mutant 17 |
//! | S9 an interrupted node is malformed | [`checkpoint`], `a_killed_process...`; `it` kill; seeds, `integrity` |
//! | S16 memory grows with the database | `it` backups, `s16_...` |
//! | S17 a text that fails leaves a part, or its settings | `it` loads, `s17_texts`; seeds, `refused`; mutant 14 |
//! | S19 VACUUM or another program breaks the chain | there is no chain; VACUUMs are in [`checkpoint::workload`], other programs in `engine` h03_main_file |
//! | S22 a failed start truncates the database | `it` data_directory, `s22_...` |
//! | S24 quotes in the path | `it` loads, `s24_...` |
//! | S29 a bad file destroys the database | `it` loads, `s29_bad_loads`; seeds, `refused`; mutant 04 |
//! | S31 a slow client of a backup blocks others | [`h15_gate`], `a_client_that_stops...`; `it` backups, `s31_...` |
//! | S37 a damaged backup with a 200 | seeds, `backups`; mutant 16; [`h15_gate`], `a_backup_that_cant_be_kept...` |
//! | S38 a crash after the swap of a boot | `it` boot; seeds, `loads`, `model`; `it` cluster, `a_booted_database...` |
//! | S39 randomness and time differ | `engine` same_log, h08; `it` http_cases; seeds, `replay` |
//! | S48 a valid file is rejected, or comes back corrupt | `it` loads, `s48_good_loads` |
//! | S50 an old WAL beside a new file | `it` loads, `s50_...`; [`node_state`], at each start |
//! | S52 a flush that flushes nothing, files written in place | [`raft_log`]; [`disk`]; mutants 01, 02, 07 |
//! | S57 a full disk, and no start afterwards | [`checkpoint`], `s57_...`; [`every_operation`]; seeds, `FullDisk` |
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
mod scenarios;
mod served;
mod vfs;
