//! The developer's verbs: `cargo xtask VERB`.

mod sim;

use std::process::ExitCode;

/// THE table of verbs: name, what it does, how.
const VERBS: &[(&str, &str, fn(&[String]) -> anyhow::Result<bool>)] = &[(
    "sim",
    "--seed N | --seeds A..B | --minutes M, [--twice]: runs the simulation, one seed a process, one process a core",
    sim::run,
)];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let verb = arguments.first().and_then(|name| VERBS.iter().find(|verb| verb.0 == name));
    let Some((_, _, run)) = verb else {
        for (name, what, _) in VERBS {
            eprintln!("cargo xtask {name} {what}");
        }
        return ExitCode::from(2);
    };
    match run(&arguments[1..]) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}
