//! The names in one directory: now, durable, and the changes between the two.

use std::collections::BTreeMap;

/// One change of names that no sync of the directory has covered yet.
#[derive(Clone)]
enum Change {
    Link(String, u64),
    Unlink(String),
    Rename(String, String),
}

/// With more unsynced changes than this the oldest become durable, as a kernel writes back now and then.
const UNSYNCED_MAX: usize = 64;

/// A directory's names with their inodes.
#[derive(Clone, Default)]
pub struct Directory {
    pub now: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    unsynced: Vec<Change>,
}

impl Directory {
    pub fn link(&mut self, name: &str, inode: u64) {
        self.change(Change::Link(name.into(), inode));
    }

    pub fn unlink(&mut self, name: &str) {
        self.change(Change::Unlink(name.into()));
    }

    /// Within this directory, in one step. (A rename to another directory is a link there and an unlink here, each
    /// durable with its own directory.)
    pub fn rename(&mut self, from: &str, to: &str) {
        self.change(Change::Rename(from.into(), to.into()));
    }

    pub fn sync(&mut self) {
        self.durable.clone_from(&self.now);
        self.unsynced.clear();
    }

    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// The power failed: the first `kept` unsynced changes are left.
    pub fn power_fail(&mut self, kept: usize) {
        for change in self.unsynced.drain(..).take(kept) {
            apply(&mut self.durable, change);
        }
        self.now.clone_from(&self.durable);
    }

    /// All inodes that a name refers to, or may refer to after a power failure.
    pub fn inodes(&self) -> impl Iterator<Item = u64> {
        let unsynced = self.unsynced.iter().filter_map(|change| match change {
            Change::Link(_, inode) => Some(*inode),
            Change::Unlink(_) | Change::Rename(..) => None,
        });
        self.now.values().chain(self.durable.values()).copied().chain(unsynced)
    }

    fn change(&mut self, change: Change) {
        match &change {
            Change::Link(name, inode) => {
                self.now.insert(name.clone(), *inode);
            }
            Change::Unlink(name) => {
                self.now.remove(name);
            }
            Change::Rename(from, to) => {
                let inode = self.now.remove(from).expect("the caller looked the name up");
                self.now.insert(to.clone(), inode);
            }
        }
        self.unsynced.push(change);
        if self.unsynced.len() > UNSYNCED_MAX {
            for change in self.unsynced.drain(..UNSYNCED_MAX / 2) {
                apply(&mut self.durable, change);
            }
        }
    }
}

fn apply(names: &mut BTreeMap<String, u64>, change: Change) {
    match change {
        Change::Link(name, inode) => {
            names.insert(name, inode);
        }
        Change::Unlink(name) => {
            names.remove(&name);
        }
        Change::Rename(from, to) => {
            if let Some(inode) = names.remove(&from) {
                names.insert(to, inode);
            }
        }
    }
}
