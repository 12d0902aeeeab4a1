//! THE table of dot commands: help, parser and dispatch follow from it.

use futures::future::LocalBoxFuture;

use super::error::Error;
use super::session::Session;
use super::{backup, cluster, restore, settings, sql, sysdump};

/// One dot command.
pub struct Command {
    pub name: &'static str,
    /// As help shows them.
    pub arguments: &'static str,
    pub help: &'static str,
    /// `argument` is what stands behind the name and one space, `None` if that is nothing.
    pub run: Run,
}

pub type Run = for<'a> fn(&'a mut Session, Option<&'a str>) -> LocalBoxFuture<'a, Result<(), Error>>;

/// A line as it is understood.
pub enum Line<'a> {
    Exit,
    Command(&'static Command, Option<&'a str>),
    /// All else, unknown dot commands too.
    Sql(&'a str),
}

/// Builds a row; the body is a call of an async function, or a plain one.
macro_rules! command {
    ($name:literal, $arguments:literal, $help:literal, async $run:path) => {
        Command {
            name: $name,
            arguments: $arguments,
            help: $help,
            run: |session, argument| Box::pin($run(session, argument)),
        }
    };
    ($name:literal, $arguments:literal, $help:literal, $run:path) => {
        Command {
            name: $name,
            arguments: $arguments,
            help: $help,
            run: |session, argument| Box::pin(std::future::ready($run(session, argument))),
        }
    };
}

#[rustfmt::skip]
pub const COMMANDS: &[Command] = &[
    command!(".backup", "FILE", "Write database backup to FILE", async backup::backup),
    command!(".blobarray", "[on|off]", "Show setting, or set BLOB data display as byte arrays", settings::blob_array),
    command!(".boot", "FILE", "Boot the node using a SQLite file read from FILE", async restore::boot),
    command!(".changes", "[on|off]", "Show setting, or set display of last insert ID after writes", settings::changes),
    command!(".consistency", "[none|weak|linearizable|strong]", "Show or set read consistency level", settings::consistency),
    command!(".dump", "FILE [TABLE,TABLE...]", "Dump the database in SQL text to FILE, optionally limited to TABLEs", async backup::dump),
    command!(".exit", "", "Exit this program", exit),
    command!(".expvar", "", "Show expvar (Go runtime) information for connected node", async cluster::expvar),
    command!(".extensions", "", "Show loaded SQLite extensions", async cluster::extensions),
    command!(".forcewrites", "[on|off]", "Show setting, or set all statements to be executed via /db/execute", settings::force_writes),
    command!(".help", "", "Show this message", help),
    command!(".indexes", "", "Show names of all indexes", async sql::indexes),
    command!(".leader", "", "Show the current cluster leader", async cluster::leader),
    command!(".mode", "[column|csv|json|line]", "Show or set output mode for query results", settings::mode),
    command!(".nodes", "[all]", "Show connection status of voting nodes. 'all' to show all nodes", async cluster::nodes),
    command!(".output", "FILE", "Send output to FILE, or stdout if FILE is omitted", settings::output),
    command!(".quit", "", "Exit this program", exit),
    command!(".read", "FILE", "Read and execute SQL statements from FILE", async sql::read),
    command!(".ready", "", "Show ready status for connected node", async cluster::ready),
    command!(".reap", "", "Request a snapshot reap on connected node", async cluster::reap),
    command!(".remove", "NODEID", "Remove node NODEID from the cluster", async cluster::remove),
    command!(".restore", "FILE", "Load using SQLite file or SQL dump contained in FILE", async restore::restore),
    command!(".schema", "", "Show CREATE statements for all tables", async sql::schema),
    command!(".show", "", "Show the current values for various settings", settings::show),
    command!(".snapshot", "[TRAILINGLOGS]", "Request a Raft snapshot and log truncation on connected node", async cluster::snapshot),
    command!(".status", "", "Show status and diagnostic information for connected node", async cluster::status),
    command!(".stepdown", "[NODEID]", "Instruct the leader to stepdown, optionally specifying new Leader node", async cluster::stepdown),
    command!(".sysdump", "FILE", "Dump system diagnostics to FILE", async sysdump::sysdump),
    command!(".tables", "", "List names of tables", async sql::tables),
    command!(".timer", "[on|off]", "Show setting, or set query timings on or off", settings::timer),
];

/// Understands a line that has been trimmed. The first word's case doesn't matter; arguments are taken as they are.
pub fn parse(line: &str) -> Line<'_> {
    let (word, argument) = match line.split_once(' ') {
        Some((word, rest)) => (word, Some(rest)),
        None => (line, None),
    };
    let word = word.to_lowercase();
    if matches!(word.as_str(), ".exit" | ".quit" | "exit" | "quit") {
        return Line::Exit;
    }
    match COMMANDS.iter().find(|command| command.name == word) {
        Some(command) => Line::Command(command, argument),
        None => Line::Sql(line),
    }
}

fn help(session: &mut Session, _argument: Option<&str>) -> Result<(), Error> {
    let text = help_text();
    session.print(&text)
}

fn help_text() -> String {
    let usages: Vec<String> = COMMANDS.iter().map(|it| format!("{} {}", it.name, it.arguments)).collect();
    let width = usages.iter().map(|usage| usage.trim_end().len()).max().unwrap_or(0);
    let lines = COMMANDS.iter().zip(&usages).map(|(command, usage)| {
        let usage = usage.trim_end();
        format!("{usage:width$}  {}\n", command.help)
    });
    lines.collect()
}

/// [`parse`] has taken the line as [`Line::Exit`] already; the row is for help.
fn exit(_session: &mut Session, _argument: Option<&str>) -> Result<(), Error> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Line, help_text, parse};

    #[test]
    fn lines_are_understood() {
        check(".mode json", ".mode 'json'");
        check(".MODE json", ".mode 'json'");
        check(".mode  json", ".mode ' json'");
        check(".mode", ".mode");
        check(".mode JSON", ".mode 'JSON'");
        check(".Backup a b", ".backup 'a b'");
        check("QUIT", "exit");
        check(".exit now", "exit");
        check("exit;", "sql");
        check(".bogus", "sql");
        check("SELECT 1", "sql");
        check(".modes", "sql");

        #[track_caller]
        fn check(line: &str, want: &str) {
            let got = match parse(line) {
                Line::Exit => "exit".to_string(),
                Line::Sql(_) => "sql".to_string(),
                Line::Command(command, None) => command.name.to_string(),
                Line::Command(command, Some(argument)) => format!("{} '{argument}'", command.name),
            };
            assert_eq!(got, want, "{line}");
        }
    }

    #[test]
    fn help_is_the_references() {
        insta::assert_snapshot!(help_text());
    }
}
