//! Compiles the protobuf files, without protoc.

fn main() {
    let files = ["src/command/command.proto", "src/raft/raft.proto", "src/db/state.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["src"]).expect("the protobuf files are valid");
    prost_build::Config::new()
        // Chunks and blobs are shared with the buffer they were read into.
        .bytes(["."])
        .compile_fds(descriptors)
        .expect("the protobuf files compile");
}
