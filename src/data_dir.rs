//! The data directory: whose it is, whether we can use it, and its lock.
//!
//! Nothing in it is touched before all of this is known.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::world::disk::{FREE_MIN, read_small, replace_small};
use crate::world::{Disk, Open, World};

/// Raised when an older binary couldn't read the directory any more.
const FORMAT: u64 = 1;

/// Bytes of the file `reserve`: given up by a start that finds the disk full, so that the vote, db.state and the first
/// entries of a term can be written.
const RESERVE: u64 = 8 << 20;

/// What a data directory of the reference has.
const RQLITE_FILES: &[&str] = &["raft.db", "wsnapshots", "rsnapshots", "snapshots"];

/// One line that says what and where.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("data directory {} was made by rqlite; back it up there and load it here", .0.display())]
    MadeByRqlite(PathBuf),
    #[error("data directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    #[error("data directory {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: format {found} is newer than this program's {FORMAT}", path.display())]
    Newer { path: PathBuf, found: u64 },
    #[error("{}: damaged: {why}", path.display())]
    Damaged { path: PathBuf, why: &'static str },
    #[error("{}: this directory belongs to node {found:?}, not {wanted:?}", path.display())]
    OtherNode { path: PathBuf, found: String, wanted: String },
}

/// A directory that is ours while this lives.
pub struct DataDir {
    _lock: Box<dyn Any + Send + Sync>,
    /// Whether it held a node before.
    pub is_preexisting: bool,
}

impl DataDir {
    /// Checks, creates, locks and lays out the directory at `path` for the node `node_id`.
    pub fn open(world: &World, path: &Path, node_id: &str) -> Result<Self, Error> {
        let disk = &*world.disk;
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |error| Error::Io { path, error }
        };
        if disk.exists(path).map_err(io(path))? {
            let names = disk.list(path).map_err(io(path))?;
            let is_theirs = names.iter().any(|name| RQLITE_FILES.contains(&name.as_str()));
            if is_theirs && !names.iter().any(|name| name == "node.json") {
                return Err(Error::MadeByRqlite(path.to_path_buf()));
            }
            check_node(world, path, node_id)?;
        }
        disk.create_dir(path).map_err(io(path))?;
        let lock = disk.lock(&path.join("LOCK")).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Error::InUse(path.to_path_buf()),
            _ => Error::Io { path: path.to_path_buf(), error },
        })?;

        // Again: another process may have been at work until the lock was ours.
        let is_preexisting = check_node(world, path, node_id)?;
        let directories = ["db", "raft", "raft/log", "tmp"].map(|name| path.join(name));
        for directory in &directories {
            disk.create_dir(directory).map_err(io(directory))?;
        }
        let temporary = path.join("tmp");
        for name in disk.list(&temporary).map_err(io(&temporary))? {
            disk.remove(&temporary.join(name)).map_err(io(&temporary))?;
        }
        if !is_preexisting {
            disk.sync_dir(&path.join("raft")).map_err(io(path))?;
            disk.sync_dir(path).map_err(io(path))?;
            for parent in path.ancestors().skip(1) {
                // Any of them may be new: made above, or by a start that was killed before this.
                match disk.sync_dir(parent) {
                    // Then this user can't have made anything in it.
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                    result => result.map_err(io(parent))?,
                }
            }
            let node = json!({"format": FORMAT, "node_id": node_id}).to_string();
            replace_small(disk, &path.join("node.json"), node.as_bytes()).map_err(io(path))?;
        }
        reserve(disk, path).map_err(io(&path.join("reserve")))?;
        Ok(Self { _lock: lock, is_preexisting })
    }
}

/// Keeps space back while there is enough of it, and gives it up when there isn't.
fn reserve(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let file = path.join("reserve");
    let is_there = disk.exists(&file)?;
    match disk.free_space(path)? >= FREE_MIN {
        true if !is_there => disk.open(&file, Open::Create)?.allocate(RESERVE),
        false if is_there => disk.remove(&file),
        _ => Ok(()),
    }
}

/// Whether `node.json` is there and fits.
fn check_node(world: &World, path: &Path, node_id: &str) -> Result<bool, Error> {
    let file = path.join("node.json");
    let bytes = read_small(&*world.disk, &file).map_err(|error| Error::Io { path: file.clone(), error })?;
    let Some(bytes) = bytes else {
        return Ok(false);
    };
    let damaged = |why| Error::Damaged { path: file.clone(), why };
    let node: Value = serde_json::from_slice(&bytes).map_err(|_| damaged("it isn't JSON"))?;
    let found = node["format"].as_u64().ok_or_else(|| damaged("it has no format"))?;
    if found > FORMAT {
        return Err(Error::Newer { path: file, found });
    }
    let found = node["node_id"].as_str().ok_or_else(|| damaged("it has no node_id"))?;
    if found != node_id {
        return Err(Error::OtherNode { path: file, found: found.into(), wanted: node_id.into() });
    }
    Ok(true)
}
