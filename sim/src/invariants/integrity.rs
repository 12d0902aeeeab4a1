//! SQLite finds no damage in a file.
//!
//! Source: SQLite's `PRAGMA integrity_check`; faults.md S3, S9, S37.

use rusqlite::Connection;

/// Everything SQLite can check: pages, indexes against tables, constraints.
pub fn check(connection: &Connection) -> Result<(), String> {
    match connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0)) {
        Ok(answer) if answer == "ok" => Ok(()),
        Ok(damage) => Err(format!("integrity: {damage}")),
        Err(error) => Err(format!("integrity: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_lacks_a_row_is_found() {
        // Before any connection of the process: it stops and starts SQLite.
        rqlite::db::engine::initialize(std::path::Path::new("/nowhere"));
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE t(a); CREATE TABLE u(a); INSERT INTO t VALUES (1), (2);
                 CREATE INDEX ti ON t(a); CREATE INDEX ui ON u(a);",
            )
            .unwrap();
        assert_eq!(check(&connection), Ok(()));
        connection
            .execute_batch(
                "PRAGMA writable_schema = ON;
                 UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'ui')
                  WHERE name = 'ti';
                 DELETE FROM sqlite_schema WHERE name = 'ui';
                 PRAGMA writable_schema = RESET;",
            )
            .unwrap();
        assert!(check(&connection).is_err());
    }
}
