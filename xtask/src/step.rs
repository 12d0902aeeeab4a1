//! One command of a verb: shown, run, timed.

use std::{env, process::Command, time::Instant};

use anyhow::{Context, bail};

/// Runs `cargo ARGUMENTS...` at the root of the workspace.
pub fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    let shown = format!("cargo {}", arguments.join(" "));
    eprintln!("── {shown}");
    let started = Instant::now();

    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let status = Command::new(cargo).args(arguments).current_dir(root).status();
    let status = status.with_context(|| format!("{shown} didn't start"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    eprintln!("── {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}
