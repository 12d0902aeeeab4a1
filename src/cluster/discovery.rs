//! Where other nodes may be.
//!
//! Source: server.md §2.3, §2.4; rqlite-disco-clients `dns`, `dnssrv`.

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::go;
use crate::world::World;
use crate::world::disk::read_small;

/// Stands in for the look-up of addresses: `host:port`, with commas between.
const HOSTS: &str = "RQLITE_DISCO_DNS_HOSTS";

/// Largest configuration file.
const CONFIG_MAX: u64 = 1 << 20;

/// `-disco-mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Dns,
    DnsSrv,
}

/// The flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub mode: Mode,
    /// `-disco-config`: what it says, and the file that it names, should there be one.
    pub config: String,
    pub file: PathBuf,
    /// Where this node listens for others: they do so too, unless told.
    pub port: u64,
}

/// How the addresses of other nodes are found.
#[derive(Debug)]
pub struct Discovery {
    source: Source,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
enum Source {
    /// `-join`
    Fixed(Vec<String>),
    /// The addresses of a name.
    Dns { name: String, port: u64 },
    /// The addresses and ports of a service.
    DnsSrv { name: String, service: String },
}

/// What /status tells.
#[derive(Debug, Default)]
struct Seen {
    error: Option<String>,
    /// When it was last looked up, since 1970.
    contact: Option<Duration>,
    addresses: Option<Vec<String>>,
}

/// The file; what is left out or empty is the default.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    name: String,
    port: u64,
    service: String,
}

impl Discovery {
    /// Always these.
    pub fn fixed(addresses: Vec<String>) -> Self {
        Self { source: Source::Fixed(addresses), seen: Mutex::default() }
    }

    /// As `options` say. The error is a text.
    pub fn new(world: &World, options: &Options) -> Result<Self, String> {
        let text = read(world, options).map_err(|error| format!("failed to read discovery config: {error}"))?;
        let text = go::expand(&text, |name| world.host.env(name));
        let config: Config = match text.trim() {
            "" => Config::default(),
            text => serde_json::from_str(text).map_err(|error| format!("failed to parse discovery config: {error}"))?,
        };
        let or = |text: String, default: &str| if text.is_empty() { default.to_string() } else { text };
        let name = or(config.name, "rqlite");
        let source = match options.mode {
            Mode::Dns => Source::Dns { name, port: if config.port == 0 { options.port } else { config.port } },
            Mode::DnsSrv => Source::DnsSrv { name, service: or(config.service, "rqlite") },
        };
        Ok(Self { source, seen: Mutex::default() })
    }

    /// The addresses now.
    pub async fn look_up(&self, world: &World) -> io::Result<Vec<String>> {
        let overridden = world.host.env(HOSTS).filter(|hosts| !hosts.is_empty());
        let (found, is_asked) = match (&self.source, overridden) {
            (Source::Fixed(addresses), _) => return Ok(addresses.clone()),
            (Source::Dns { .. }, Some(hosts)) => (given(&hosts), false),
            (Source::Dns { name, port }, None) => (addresses(world, &format!("{name}:{port}")).await, true),
            (Source::DnsSrv { .. }, _) => (self.service(world).await, true),
        };
        let found = found.map(|mut addresses| {
            addresses.sort();
            addresses.dedup();
            addresses
        });
        let mut seen = self.seen.lock().expect("no panic holds this lock");
        if is_asked {
            seen.contact = Some(world.clock.unix_now());
        }
        seen.error = found.as_ref().err().map(ToString::to_string);
        if let Ok(addresses) = &found
            && seen.addresses.as_ref() != Some(addresses)
        {
            tracing::info!("resolved addresses: [{}]", addresses.join(" "));
            seen.addresses = Some(addresses.clone());
        }
        found
    }

    /// For /status; `None`: nothing is discovered.
    pub fn status(&self) -> Option<Value> {
        let mut status = match &self.source {
            Source::Fixed(_) => return None,
            Source::Dns { name, port } => json!({"mode": "dns", "name": name, "port": port}),
            // Quirk: the key really ends with a colon; kept from the reference.
            Source::DnsSrv { name, service } => {
                json!({"mode": "dns-srv", "name": name, "service": service, "dns_name:": record(service, name)})
            }
        };
        let seen = self.seen.lock().expect("no panic holds this lock");
        if let Some(error) = &seen.error {
            status["last_error"] = json!(error);
        }
        if let Some(contact) = seen.contact {
            status["last_contact"] = json!(go::time::rfc3339(Some(contact)));
        }
        if let Some(addresses) = &seen.addresses {
            status["last_addresses"] = json!(addresses);
        }
        Some(status)
    }

    async fn service(&self, world: &World) -> io::Result<Vec<String>> {
        let Source::DnsSrv { name, service } = &self.source else { unreachable!("only a service has records") };
        let mut found = Vec::new();
        for target in world.net.services(&record(service, name)).await? {
            found.extend(addresses(world, &target).await?);
        }
        Ok(found)
    }
}

/// What the flag says, or the file that it names.
fn read(world: &World, options: &Options) -> io::Result<String> {
    match world.disk.stat(&options.file) {
        Ok(stat) if !stat.is_dir && !options.config.is_empty() => {
            if stat.size > CONFIG_MAX {
                return Err(io::Error::other(format!("{}: it is too large", options.file.display())));
            }
            let bytes = read_small(&*world.disk, &options.file)?.unwrap_or_default();
            String::from_utf8(bytes).map_err(io::Error::other)
        }
        _ => Ok(options.config.clone()),
    }
}

fn record(service: &str, name: &str) -> String {
    format!("_{service}._tcp.{name}")
}

async fn addresses(world: &World, address: &str) -> io::Result<Vec<String>> {
    Ok(world.net.resolve(address).await?.into_iter().map(|address| address.to_string()).collect())
}

fn given(hosts: &str) -> io::Result<Vec<String>> {
    let address = |host: &str| match go::split_host_port(host.trim()) {
        Some(_) => Ok(host.trim().to_string()),
        None => Err(io::Error::other(format!("{HOSTS}: invalid address {host}"))),
    };
    hosts.split(',').map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_as_they_are() {
        assert_eq!(given("localhost:1, h:2").unwrap(), ["localhost:1", "h:2"]);
        assert_eq!(given("h:1,h").unwrap_err().to_string(), "RQLITE_DISCO_DNS_HOSTS: invalid address h");
    }

    #[test]
    fn status_is_as_the_reference_shows_it() {
        let addresses = Some(vec!["127.0.0.1:1".to_string()]);
        let seen = Seen { addresses, ..Seen::default() };
        check(
            Source::Dns { name: "foo.local".into(), port: 1234 },
            seen,
            json!({"last_addresses": ["127.0.0.1:1"], "mode": "dns", "name": "foo.local", "port": 1234}),
        );
        let seen = Seen { error: Some("no".into()), contact: Some(Duration::from_secs(1)), addresses: None };
        check(
            Source::DnsSrv { name: "n".into(), service: "s".into() },
            seen,
            json!({"mode": "dns-srv", "name": "n", "service": "s", "dns_name:": "_s._tcp.n", "last_error": "no",
                   "last_contact": "1970-01-01T00:00:01Z"}),
        );

        #[track_caller]
        fn check(source: Source, seen: Seen, want: Value) {
            assert_eq!(Discovery { source, seen: Mutex::new(seen) }.status(), Some(want));
        }
    }
}
