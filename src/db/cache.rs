//! Statements kept prepared, by their text.

use hashlink::LruCache;

use super::statement::Statement;

/// Bytes of the longest text that is kept prepared: longer ones hold their values, and don't come again.
pub(super) const TEXT_MAX: usize = 4 << 10;

/// A statement kept prepared, and what the authorizer saw of it.
pub(super) struct Cached {
    pub statement: Statement,
    pub seen: u32,
}

/// The statements of one connection that don't run; those used longest ago go first.
pub(super) struct StatementCache {
    /// The last one used, which is most often the next: finding it costs no hash and no memory. `None`: it was taken.
    recent: (String, Option<Cached>),
    others: LruCache<String, Cached>,
}

impl StatementCache {
    /// Keeps `count` statements and the last one used.
    pub fn new(count: usize) -> Self {
        Self { recent: Default::default(), others: LruCache::new(count) }
    }

    /// Takes out the statement whose text is `sql`.
    pub fn take(&mut self, sql: &str) -> Option<Cached> {
        if self.recent.0 == sql {
            return self.recent.1.take();
        }
        self.others.remove(sql)
    }

    /// Keeps the statement whose text is `sql`.
    pub fn put(&mut self, sql: &str, cached: Cached) {
        if self.recent.0 == sql {
            self.recent.1 = Some(cached);
            return;
        }
        let (text, before) = std::mem::replace(&mut self.recent, (sql.to_owned(), Some(cached)));
        if let Some(before) = before {
            self.others.insert(text, before);
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.recent = Default::default();
        self.others.clear();
    }
}
