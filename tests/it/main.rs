//! Black-box tests: the real binaries, real processes, real disk and network. What can be simulated is tested in `sim`.
//!
//! Which test shows a line of the checklist in server.md §8 that belongs to clustering:
//!
//! | line | shown by |
//! |---|---|
//! | 8.1 `-join` with a list that has oneself in it | [`cluster`], every test that forms one |
//! | 8.1 `-join http://nonsense` starts, and serves HTTP meanwhile | [`membership`], `a_node_that_tries_to_join_answers_meanwhile` |
//! | 8.1 `RQLITE_DISCO_DNS_HOSTS` | [`membership`], `nodes_find_each_other_by_dns` |
//! | 8.2 killed and restarted without `-join`, all of them too | [`membership`], `a_cluster_knows_its_members` |
//! | 8.2 stopped in order, it ends by itself | [`cluster`], `a_leader_that_is_stopped_hands_over` |
//! | 8.2 a single node restarted with `-join other` ends | [`cluster`], `a_join_that_is_wrong_is_refused` |
//! | 8.2 `raft/peers.json` with new addresses | [`recovery`], `s27_all_addresses_of_a_cluster_change_at_once_and_settings_stay` |
//! | 8.3 `store.leader` is the same on all nodes, and then /readyz is 200 | [`membership`], `a_cluster_knows_its_members` |
//! | 8.3 `store.raft`: state, voter, indexes | [`diagnostics`], `values_are_true`; [`forwarding`], `auto_is_none_...` |
//! | 8.4 `num_join_req`, `num_ignored_joins`, `num_removed_before_joins` | [`membership`], `who_joins_again_is_ignored_or_moved` |
//! | 8.4 `num_client_force_new_conn` is 1 after a stale connection | [`forwarding`], `a_stale_connection_is_seen_by_nobody` |
//! | 8.4 `num_restores` | [`membership`], `a_late_node_gets_a_snapshot_once_the_log_is_gone` |
//! | 8.5 /nodes with a dead peer; /remove through any node | [`membership`], `a_node_is_removed_through_any_other` |
//! | 8.5 `redirect`, also after another leads | [`forwarding`], `a_redirect_follows_the_leader`; [`http_cases`], the cluster's |
//! | 8.5 /boot, and who joins afterwards | [`cluster`], `a_booted_database_reaches_who_joins` |
//! | 8.5 /db/load and /db/backup through a follower | [`cluster_backups`] |
//! | 8.5 after /snapshot?trailing_logs=1 a new node gets a snapshot | [`membership`], `a_late_node_gets_...` |
//! | 8.5 levels through followers; without a quorum 503, promptly | [`cluster`], `any_node_can_be_asked`, `the_others_go_on_...` |
//! | 8.5 freshness | [`forwarding`], `a_read_is_as_fresh_as_it_was_asked_to_be` |
//! | 8.5 queued writes through a follower | [`forwarding`], `queued_writes_...` |
//! | 8.6 join through a follower, again, elsewhere | [`cluster`], `nodes_join_...`; [`membership`], `who_joins_again_...` |
//! | 8.6 expect 3 and 5, a fourth, a full restart, one that comes back | [`membership`], `a_cluster_comes_back_...`; [`recovery`], `survivors_...` |
//! | 8.6 DNS, with a node without a vote | [`membership`], `nodes_find_each_other_by_dns` |
//! | 8.6 remove on shutdown, of the leader and of the other | [`membership`], `who_leaves_leaves_the_other_writable` |
//! | §2.2 wrong joins | [`cluster`], `a_join_that_is_wrong_...`; [`membership`], `an_address_that_...`, `a_new_node_without_...` |
//! | §2.9 reaping | [`membership`], `dead_nodes_are_reaped` |
//!
//! Not here: credentials and TLS (8.6), key-value stores (8.6), which aren't built.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod content;
mod node;

mod backups;
mod boot;
mod bounds;
mod chinook;
mod cluster;
mod cluster_backups;
mod command_line;
mod data_directory;
mod diagnostics;
mod dump_cases;
mod forwarding;
mod http_cases;
mod kill;
mod load_text;
mod loads;
mod membership;
mod queue;
mod recovery;
mod repeated_reads;
