//! Requests of reads and writes: reads alone are a query, anything else is one entry of the log.

use super::execute::check_pragmas;
use super::query::{Level, Query};
use super::{Error, Store};
use crate::command::{Execute, Kind, Statement};
use crate::db::SqlError;
use crate::db::execute::Executed;
use crate::db::query::Class;
use crate::db::readers::Reading;

/// What a request became.
pub enum Requested {
    /// Its rows are still to be read. With the index of its entry, if the level needed one.
    Reads(Reading, Option<u64>),
    /// With the index of its entry.
    Logged(Executed, u64),
}

impl Store {
    /// Carries out reads and writes in their order. What can't be prepared here counts as a write: the leader's schema
    /// may be newer.
    ///
    /// Errors: as [`Store::query`] and [`Store::execute`].
    /// Source: rqlite `store/store.go` `Store.Request`; http-data.md §9.5.
    pub async fn request(&self, query: Query) -> Result<Requested, Error> {
        check_pragmas(&query.statements)?;
        let (statements, classes) = self.readers.classify(query.statements).await.ok_or(Error::TooBusy)?;
        let is_read = |class: &Result<Class, SqlError>| matches!(class, Ok(Class::Read));
        if classes?.iter().all(is_read) {
            // Quirk: `auto` isn't resolved here, so it reads locally, unchecked.
            let level = if query.level == Level::Auto { Level::None } else { query.level };
            let (reading, index) = self.query(Query { statements, level, ..query }).await?;
            return Ok(Requested::Reads(reading, index));
        }
        let request = Execute { statements, transaction: query.transaction };
        let (executed, index) = self.run(request, Kind::Request, query.db_timeout).await?;
        Ok(Requested::Logged(executed, index))
    }

    /// Whether nothing is written, as far as this node's schema tells.
    pub async fn reads_only(&self, statements: Vec<Statement>) -> Result<(Vec<Statement>, bool), Error> {
        check_pragmas(&statements)?;
        let (statements, classes) = self.readers.classify(statements).await.ok_or(Error::TooBusy)?;
        let reads_only = classes?.iter().all(|class| matches!(class, Ok(Class::Read)));
        Ok((statements, reads_only))
    }

    /// What SQLite has against each statement, as the schema is now; nothing is run.
    pub async fn analyze(&self, statements: Vec<Statement>) -> Result<(Vec<Statement>, Vec<Option<String>>), Error> {
        let (statements, classes) = self.readers.classify(statements).await.ok_or(Error::TooBusy)?;
        let errors = classes?.into_iter().map(|class| class.err().map(|error| error.message)).collect();
        Ok((statements, errors))
    }
}
