//! What can be switched at the prompt: output mode, consistency, timer and so on.

use std::fs::File;
use std::path::Path;

use super::error::Error;
use super::session::{Session, Target};

#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub blob_array: bool,
    pub changes: bool,
    pub consistency: Consistency,
    pub force_writes: bool,
    pub mode: Mode,
    pub timer: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Column,
    Csv,
    Json,
    Line,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    None,
    #[default]
    Weak,
    Linearizable,
    Strong,
}

const MODES: &[(&str, Mode)] =
    &[("column", Mode::Column), ("csv", Mode::Csv), ("json", Mode::Json), ("line", Mode::Line)];

const LEVELS: &[(&str, Consistency)] = &[
    ("none", Consistency::None),
    ("weak", Consistency::Weak),
    ("linearizable", Consistency::Linearizable),
    ("strong", Consistency::Strong),
];

impl Consistency {
    pub fn name(self) -> &'static str {
        name_of(LEVELS, self)
    }
}

pub fn blob_array(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    switch(session, argument, |settings| &mut settings.blob_array)
}

pub fn changes(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    switch(session, argument, |settings| &mut settings.changes)
}

pub fn force_writes(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    switch(session, argument, |settings| &mut settings.force_writes)
}

pub fn timer(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    switch(session, argument, |settings| &mut settings.timer)
}

pub fn consistency(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    let Some(name) = argument else {
        let name = session.settings.consistency.name();
        return session.print(&format!("{name}\n"));
    };
    session.settings.consistency = named(LEVELS, name).ok_or_else(|| {
        let text = format!("invalid consistency '{name}'. Use 'none', 'weak', 'linearizable', or 'strong'");
        Error::Usage(text)
    })?;
    Ok(())
}

pub fn mode(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    let Some(name) = argument else {
        let name = name_of(MODES, session.settings.mode);
        return session.print(&format!("{name}\n"));
    };
    session.settings.mode = named(MODES, name)
        .ok_or_else(|| Error::Usage(format!("invalid mode '{name}'. Use 'column', 'csv', 'json', or 'line'")))?;
    Ok(())
}

/// Only results go to the file: errors of the shell and what other commands print stay on standard output.
pub fn output(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    session.target = match argument {
        None | Some("stdout") => Target::Stdout,
        Some(name) => {
            let file = File::create(name).map_err(Error::file("open", Path::new(name)))?;
            Target::File(name.to_string(), file)
        }
    };
    Ok(())
}

pub fn show(session: &mut Session, _argument: Option<&str>) -> Result<(), Error> {
    let settings = &session.settings;
    let output = match &session.target {
        Target::Stdout => "stdout",
        Target::File(name, _) => name,
    };
    let text = format!(
        "  blobarray: {}\n  changes: {}\n  consistency: {}\n  forcewrites: {}\n  mode: {}\n  output: {}\n  timer: {}\n",
        on_off(settings.blob_array),
        on_off(settings.changes),
        settings.consistency.name(),
        on_off(settings.force_writes),
        name_of(MODES, settings.mode),
        output,
        on_off(settings.timer),
    );
    session.print(&text)
}

fn switch(
    session: &mut Session,
    argument: Option<&str>,
    setting: impl FnOnce(&mut Settings) -> &mut bool,
) -> Result<(), Error> {
    let setting = setting(&mut session.settings);
    *setting = match argument {
        Some("on") => true,
        Some("off") => false,
        Some(other) => return Err(Error::Usage(format!("invalid option '{other}'. Use 'on' or 'off' (default)"))),
        None => {
            let state = on_off(*setting);
            return session.print(&format!("{state}\n"));
        }
    };
    Ok(())
}

fn on_off(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

fn named<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

fn name_of<T: PartialEq>(table: &[(&'static str, T)], value: T) -> &'static str {
    table.iter().find(|(_, known)| *known == value).expect("every value has a name").0
}
