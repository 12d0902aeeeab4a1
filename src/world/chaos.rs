//! Where the simulation reaches into a running node: rare paths, taken more often, and a look at each applied entry.

/// Does nothing in production.
pub trait Chaos: Send + Sync {
    /// Whether the rare path `name` is taken here and now. Every answer must be correct.
    fn here(&self, name: &'static str) -> bool;

    /// Called on the writer's lane after the entry at `index` was applied, and when the state at `index` was found at
    /// start, with the writer's connection, to be read only.
    fn applied(&self, _index: u64, _connection: &rusqlite::Connection) {}

    /// Called before an entry is appended to the log; `previous` is the term of the one before it.
    fn appended(&self, _index: u64, _term: u64, _previous: Option<u64>, _payload: &[u8]) {}

    /// Called where something rare has just happened that a sweep of seeds has to have reached (`sim/src/reached.rs`).
    fn reached(&self, _what: &'static str) {}

    /// Called when this node finds that it leads in `term`.
    fn leads(&self, _term: u64) {}
}
