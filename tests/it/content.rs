//! What a database holds, to be compared.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::Value;

/// Schema and rows. Row ids of tables without INTEGER PRIMARY KEY are not part of it: no dump keeps them.
#[derive(Debug, PartialEq)]
pub struct Content {
    schema: Vec<String>,
    tables: BTreeMap<String, Vec<Vec<Value>>>,
}

impl Content {
    /// Of a file that nobody else has open.
    #[track_caller]
    pub fn of(path: &Path) -> Self {
        let connection = rusqlite::Connection::open(path).unwrap();
        let column = |sql: &str| -> Vec<String> {
            let mut statement = connection.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| row.get(0)).unwrap();
            rows.map(Result::unwrap).collect()
        };
        let schema = column(
            "SELECT type || ' ' || name || ' ' || replace(trim(coalesce(sql, ''), char(10)), ' IF NOT EXISTS', '') \
             FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' ORDER BY type, name",
        );
        let names = column("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_stat%'");
        let rows_of = |name: &str| {
            let mut statement =
                connection.prepare(&format!("SELECT * FROM \"{}\"", name.replace('"', "\"\""))).unwrap();
            let width = statement.column_count();
            let rows = statement.query_map([], |row| (0..width).map(|n| row.get(n)).collect()).unwrap();
            rows.map(Result::unwrap).collect()
        };
        let tables = names.into_iter().map(|name| (name.clone(), rows_of(&name))).collect();
        Self { schema, tables }
    }

    /// Fails unless `other` is the same, numbers up to the last place.
    #[track_caller]
    pub fn assert_almost(&self, other: &Self, what: &str) {
        assert_eq!(self.schema, other.schema, "{what}");
        assert!(self.tables.keys().eq(other.tables.keys()), "{what}");
        for (name, rows) in &self.tables {
            let others = &other.tables[name];
            assert_eq!(rows.len(), others.len(), "{what}: {name}");
            for (value, other) in rows.iter().flatten().zip(others.iter().flatten()) {
                let is_near = match (value, other) {
                    (Value::Real(one), Value::Real(other)) => {
                        one == other || one.to_bits().abs_diff(other.to_bits()) <= 1
                    }
                    _ => value == other,
                };
                assert!(is_near, "{what}: {name}: {value:?} and {other:?}");
            }
        }
    }
}
