//! A file that appears under its name whole, or not at all.
//!
//! It is written beside the name that was asked for, synced, then renamed; given up, it removes itself. What isn't a
//! regular file (`/dev/null`, a pipe) is written to directly.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::error::Error;

pub struct TargetFile {
    /// As it was asked for.
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    Direct(File),
    Renamed {
        file: NamedTempFile,
        /// Behind symbolic links, which stay.
        target: PathBuf,
    },
}

impl TargetFile {
    /// Errors: what opening the file itself would have met.
    pub fn create(path: &Path) -> Result<TargetFile, Error> {
        let kind = open(path).map_err(Error::file("open", path))?;
        Ok(TargetFile { path: path.to_path_buf(), kind })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = match &mut self.kind {
            Kind::Direct(file) => file.write_all(bytes),
            Kind::Renamed { file, .. } => file.write_all(bytes),
        };
        written.map_err(Error::file("write", &self.path))
    }

    /// Gives the file its name. Only now is anything to be seen of it.
    pub fn finish(self) -> Result<(), Error> {
        let Kind::Renamed { file, target } = self.kind else { return Ok(()) };
        file.as_file().sync_all().map_err(Error::file("sync", &self.path))?;
        file.persist(&target).map_err(|error| Error::file("rename", &self.path)(error.error))?;
        // So that the name survives a power failure too. Some file systems can't.
        if let Ok(directory) = File::open(directory_of(&target)) {
            let _ = directory.sync_all();
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<Kind> {
    let (target, permissions) = match OpenOptions::new().write(true).open(path) {
        Ok(file) => {
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Ok(Kind::Direct(file));
            }
            (path.canonicalize()?, metadata.permissions())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => (path.to_path_buf(), Permissions::from_mode(0o644)),
        Err(error) => return Err(error),
    };
    let name = target.file_name().ok_or(ErrorKind::IsADirectory)?.to_string_lossy();
    let file = tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(".partial")
        .permissions(permissions)
        .tempfile_in(directory_of(&target))
        // Without the temporary name, which the caller's users never see.
        .map_err(|error| io::Error::from_raw_os_error(errno(&error)))?;
    Ok(Kind::Renamed { file, target })
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn errno(error: &io::Error) -> i32 {
    let wrapped =
        error.get_ref().and_then(|inner| inner.source()).and_then(|source| source.downcast_ref::<io::Error>());
    let code = error.raw_os_error().or_else(|| wrapped?.raw_os_error());
    code.unwrap_or(match error.kind() {
        ErrorKind::NotFound => libc::ENOENT,
        ErrorKind::PermissionDenied => libc::EACCES,
        ErrorKind::NotADirectory => libc::ENOTDIR,
        _ => libc::EIO,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::TargetFile;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("backup");
        fs::write(&path, "much longer than the new text").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();

        let mut given_up = TargetFile::create(&path).unwrap();
        given_up.write(b"half").unwrap();
        assert_eq!(names(directory.path()).len(), 2);
        drop(given_up);
        assert_eq!(names(directory.path()), ["backup"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "much longer than the new text");

        write(&path, "new");
        assert_eq!(names(directory.path()), ["backup"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640, "as it was");
    }

    #[test]
    fn a_symbolic_link_stays_one() {
        let directory = tempfile::tempdir().unwrap();
        let (link, target) = (directory.path().join("link"), directory.path().join("target"));
        fs::write(&target, "old").unwrap();
        symlink("target", &link).unwrap();
        write(&link, "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
    }

    #[test]
    fn a_device_is_written_to() {
        write(Path::new("/dev/null"), "x");
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn errors_name_the_file_that_was_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let error = |path: &Path| TargetFile::create(path).map(|_| ()).unwrap_err().to_string();
        assert_eq!(error(Path::new("/nonexistent/x")), "open /nonexistent/x: no such file or directory");
        let path = directory.path();
        assert_eq!(error(path), format!("open {}: is a directory", path.display()));
    }

    fn write(path: &Path, text: &str) {
        let mut file = TargetFile::create(path).unwrap();
        file.write(text.as_bytes()).unwrap();
        file.finish().unwrap();
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}
