//! Files in `tmp/` that go when their owner goes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::world::Disk;

/// A temporary file and the WAL or journal that SQLite may leave beside it; removed on drop unless it was renamed away.
pub struct TemporaryFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl TemporaryFile {
    /// The file at `path`, which needn't exist yet.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // What can't be removed is removed at the next start.
        let _ = self.disk.remove(&self.path);
        for suffix in ["-wal", "-journal"] {
            let mut beside = self.path.clone().into_os_string();
            beside.push(suffix);
            let _ = self.disk.remove(Path::new(&beside));
        }
    }
}
