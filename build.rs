//! Compiles the protobuf files, without protoc; tells the crate which compiler builds it.

fn main() {
    let files = [
        "src/command/command.proto",
        "src/raft/raft.proto",
        "src/raft/rpc.proto",
        "src/peer/peer.proto",
        "src/cluster/cluster.proto",
        "src/db/state.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["src"]).expect("the protobuf files are valid");
    prost_build::Config::new()
        // Chunks and blobs are shared with the buffer they were read into.
        .bytes(["."])
        // Else it would be the size of every request.
        .boxed(".rqlite.raft.InstallSnapshot.applied")
        .compile_fds(descriptors)
        .expect("the protobuf files compile");

    println!("cargo:rustc-env=RQLITE_RUSTC_VERSION={}", rustc_version().unwrap_or("unknown".to_string()));
    println!("cargo:rerun-if-env-changed=RQLITE_COMMIT");
}

/// `1.95.0` of `rustc 1.95.0 (59807616e 2026-04-14)`.
fn rustc_version() -> Option<String> {
    let rustc = std::env::var_os("RUSTC")?;
    let output = std::process::Command::new(rustc).arg("--version").output().ok()?;
    String::from_utf8(output.stdout).ok()?.split(' ').nth(1).map(str::to_string)
}
