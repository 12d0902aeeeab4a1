//! What we call ourselves.

/// The version of the reference that we stand in for: in headers, `/status`, `/nodes`, the shell and `-version`.
pub const RQLITE_VERSION: &str = "10";

/// The commit that was built, if the build was told.
pub const COMMIT: &str = match option_env!("RQLITE_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// The line of `rqlited -version`, without a line break.
pub fn line() -> String {
    let (os, arch) = (os(), arch());
    let rust = env!("RQLITE_RUSTC_VERSION");
    let sqlite = rusqlite::version();
    format!("rqlited {RQLITE_VERSION} {os} {arch} rust{rust} sqlite{sqlite} (commit {COMMIT}, compiler rustc)")
}

/// Go's name of the operating system.
pub fn os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    }
}

/// Go's name of the processor.
pub fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}
