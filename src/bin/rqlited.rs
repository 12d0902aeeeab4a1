//! The server: flags, the operating system's world, a node, a signal.
#![allow(clippy::disallowed_methods)]

use std::io::Write;
use std::process::ExitCode;

use rqlite::config::{self, Config, Outcome};
use rqlite::world::{os, runtime};
use rqlite::{node, version};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let config = match config::parse(&arguments, &cwd) {
        Outcome::Run(config) => *config,
        Outcome::Exit { code, stdout, stderr } => {
            print!("{stdout}");
            eprint!("{stderr}");
            return ExitCode::from(code);
        }
    };
    stop_on_panic();
    log_to_stderr(&config.raft_log_level);
    tracing::info!("rqlited starting, version {}, SQLite {}", version::RQLITE_VERSION, rusqlite::version());
    tracing::info!("launch command: rqlited {}", arguments.join(" "));

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let world = os::world();
    let seed = world.entropy.next_u64();
    match runtime.block_on(runtime::scope(seed, run(world, config))) {
        Ok(()) => {
            tracing::info!("rqlite server stopped");
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

async fn run(world: rqlite::world::World, config: Config) -> Result<(), node::Error> {
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            tracing::error!("no signal can be received: stop the node by SIGKILL");
            return;
        };
        loop {
            let name = tokio::select! {
                _ = interrupt.recv() => "interrupt",
                _ = terminate.recv() => "terminated",
            };
            tracing::info!("received signal {name:?}");
            stop.send_replace(true);
        }
    });
    node::run(world, config, stopped, |address| {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
        tracing::info!("node HTTP API available at http://{address}");
        tracing::info!("connect using the command-line tool via 'rqlite -H {host} -p {port}'");
    })
    .await
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    tracing::error!("{error}");
    ExitCode::FAILURE
}

/// A panic is a bug, on whatever thread: the node must not go on without that thread.
fn stop_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        let _ = std::io::stderr().flush();
        std::process::abort();
    }));
}

/// `[rqlited] 2026/11/22 21:42:43 message`, as the reference.
fn log_to_stderr(raft_level: &str) {
    struct Line;
    impl<S, N> tracing_subscriber::fmt::FormatEvent<S, N> for Line
    where
        S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
        N: for<'a> tracing_subscriber::fmt::FormatFields<'a> + 'static,
    {
        fn format_event(
            &self,
            context: &tracing_subscriber::fmt::FmtContext<'_, S, N>,
            mut writer: tracing_subscriber::fmt::format::Writer<'_>,
            event: &tracing::Event<'_>,
        ) -> std::fmt::Result {
            let target = event.metadata().target();
            let component = match target.split("::").nth(1) {
                Some(module) if target.starts_with("rqlite") => module,
                _ if target.starts_with("openraft") => "raft",
                _ => "rqlited",
            };
            let now = chrono::Local::now().format("%Y/%m/%d %H:%M:%S");
            write!(writer, "[{component}] {now} ")?;
            use tracing_subscriber::fmt::FormatFields;
            context.format_fields(writer.by_ref(), event)?;
            writeln!(writer)
        }
    }
    let ours = tracing_subscriber::filter::Targets::new()
        .with_target("rqlite", tracing::Level::INFO)
        .with_target("rqlited", tracing::Level::INFO)
        // Unknown levels are fine.
        .with_target("openraft", raft_level.parse().unwrap_or(tracing::Level::WARN))
        .with_default(tracing::Level::WARN);
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let lines = tracing_subscriber::fmt::layer().event_format(Line).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines).with(ours).init();
}
