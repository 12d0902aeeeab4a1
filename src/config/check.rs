//! What the reference checks before it starts, in its order and its words.
//!
//! Left out: that extension paths exist, since the flag is refused as long as there are no extensions.

use std::net::IpAddr;

use super::{Error, FLAGS, Given, RaftTiming, Support, non_empty};
use crate::go::{Duration, split_host_port};

/// Where we listen, and where others are told to find us.
pub struct Addresses {
    pub http_addr: String,
    pub http_adv: String,
    pub raft_addr: String,
    pub raft_adv: String,
}

/// An explicit zero is an error, the default isn't.
pub fn reaping(given: &Given) -> Result<(), Error> {
    for name in ["raft-reap-node-timeout", "raft-reap-read-only-node-timeout"] {
        let is_bad = given.0.given(name).is_some() && given.duration(name) <= Duration::ZERO;
        refuse(is_bad, || format!("-{name} must be greater than 0"))?;
    }
    Ok(())
}

pub fn certificates(given: &Given) -> Result<(), Error> {
    both_or_neither(given, "http-cert", "http-key")?;
    both_or_neither(given, "node-cert", "node-key")?;
    for (name, verify) in
        [("http-verify-common-name", "http-verify-client"), ("node-verify-common-name", "node-verify-client")]
    {
        refuse(given.has(name) && !given.flag(verify), || format!("-{name} requires -{verify}"))?;
    }
    Ok(())
}

pub fn addresses(given: &Given) -> Result<Addresses, Error> {
    let (http_addr, raft_addr) = (given.text("http-addr"), given.text("raft-addr"));
    refuse(http_addr == raft_addr, || "HTTP and Raft addresses must differ".to_string())?;
    let http_adv = non_empty(given.text("http-adv-addr")).unwrap_or(http_addr);
    let raft_adv = non_empty(given.text("raft-adv-addr")).unwrap_or(raft_addr);

    // Quirk: a host that is called http… is taken for a protocol as well; kept from the reference.
    let has_scheme = |address: &str| address.to_lowercase().starts_with("http");
    refuse(has_scheme(http_addr) || has_scheme(http_adv), || {
        "HTTP options should not include protocol (http:// or https://)".to_string()
    })?;
    split(http_addr, "HTTP bind address not valid")?;
    let (host, _) = split(http_adv, "HTTP advertised HTTP address not valid")?;
    refuse(is_unspecified(host), || {
        format!("advertised HTTP address is not routable ({host}), specify it via -http-addr or -http-adv-addr")
    })?;

    let (_, port) = split(raft_addr, "raft bind address not valid")?;
    refuse(!is_port(port), || "raft bind port not valid".to_string())?;
    let (host, port) = split(raft_adv, "raft advertised address not valid")?;
    refuse(is_unspecified(host), || {
        format!("advertised Raft address is not routable ({host}), specify it via -raft-addr or -raft-adv-addr")
    })?;
    refuse(!is_port(port), || "raft advertised port is not valid".to_string())?;

    refuse(http_adv == raft_adv, || "advertised HTTP and Raft addresses must differ".to_string())?;
    let [http_addr, http_adv, raft_addr, raft_adv] = [http_addr, http_adv, raft_addr, raft_adv].map(str::to_string);
    Ok(Addresses { http_addr, http_adv, raft_addr, raft_adv })
}

pub fn clustering(given: &Given, addresses: &Addresses) -> Result<(), Error> {
    let expects_nodes = given.int("bootstrap-expect") > 0;
    let is_non_voter = given.flag("raft-non-voter");
    refuse(expects_nodes && is_non_voter, || "bootstrapping only applicable to voting nodes".to_string())?;

    let join = non_empty(given.text("join"));
    for address in join.into_iter().flat_map(|join| join.split(',')) {
        refuse(split_host_port(address).is_none(), || format!("{address} is an invalid join address"))?;
        if !expects_nodes {
            let is_self = address == addresses.raft_adv || address == addresses.raft_addr;
            refuse(is_self, || "node cannot join with itself unless bootstrapping".to_string())?;
            let restores = given.has("auto-restore");
            refuse(restores, || "auto-restoring cannot be used when joining a cluster".to_string())?;
        }
    }
    let discovers = given.has("disco-mode");
    refuse(join.is_some() && discovers, || {
        "disco mode cannot be used when also explicitly joining a cluster".to_string()
    })?;
    let captures = given.has("cdc-config");
    refuse(captures && is_non_voter, || "CDC cannot be enabled on non-voting nodes".to_string())
}

pub fn telemetry(given: &Given) -> Result<(), Error> {
    both_or_neither(given, "otlp-cert", "otlp-key")?;

    let (endpoint, insecure) = (given.text("otlp-endpoint"), given.flag("otlp-insecure"));
    let uses_tls = given.flag("otlp-no-verify") || given.has("otlp-ca-cert") || given.has("otlp-cert");
    if endpoint.is_empty() {
        return refuse(insecure || uses_tls, || "OTLP options require -otlp-endpoint".to_string());
    }
    refuse(endpoint.contains("://"), || "-otlp-endpoint must not include a protocol scheme".to_string())?;
    split(endpoint, "-otlp-endpoint is not a valid address")?;
    let interval = given.duration("otlp-interval");
    refuse(interval <= Duration::ZERO, || "-otlp-interval must be greater than zero".to_string())?;
    refuse(insecure && uses_tls, || "-otlp-insecure cannot be used with other OTLP TLS options".to_string())
}

pub fn discovery(given: &Given) -> Result<(), Error> {
    let expects_nodes = given.int("bootstrap-expect") > 0;
    match given.text("disco-mode") {
        "" => Ok(()),
        mode @ ("consul-kv" | "etcd-kv") => {
            refuse(expects_nodes, || format!("bootstrapping not applicable when using {mode}"))
        }
        mode @ ("dns" | "dns-srv") => refuse(!expects_nodes && !given.flag("raft-non-voter"), || {
            format!("bootstrap-expect value required when using {mode} with a voting node")
        }),
        _ => refuse(true, || "disco mode must be one of consul-kv, etcd-kv, dns, or dns-srv".to_string()),
    }
}

/// Flags that would be ignored are refused instead, unless they say what happens anyway.
pub fn support(given: &Given) -> Result<(), Error> {
    let differs = |flag: &&super::flags::Flag| given.0.given(flag.name).is_some_and(|it| *it != flag.default.value());
    // Key-value stores.
    if given.text("disco-mode").ends_with("-kv") {
        return Err(Error::NotSupported("disco-mode"));
    }
    match FLAGS.iter().filter(|flag| flag.support == Support::NotYet).find(differs) {
        Some(flag) => Err(Error::NotSupported(flag.name)),
        None => Ok(()),
    }
}

/// Source: hashicorp/raft `ValidateConfig`.
pub fn raft_timing(given: &Given) -> Result<RaftTiming, Error> {
    let heartbeat = given.duration("raft-heartbeat-timeout");
    let election = given.duration("raft-election-timeout");
    let commit = given.duration("raft-commit-timeout");
    let lease = Some(given.duration("raft-leader-lease-timeout")).filter(|lease| *lease != Duration::ZERO);
    let lease = lease.unwrap_or(Duration::from_millis(500));

    for (name, value, least_ms) in [
        ("HeartbeatTimeout", heartbeat, 5),
        ("ElectionTimeout", election, 5),
        ("CommitTimeout", commit, 1),
        ("SnapshotInterval", given.duration("raft-snap-int"), 5),
        ("LeaderLeaseTimeout", lease, 5),
    ] {
        if value < Duration::from_millis(least_ms) {
            return Err(Error::Raft(format!("{name} is too low")));
        }
    }
    if lease > heartbeat {
        let text = format!("LeaderLeaseTimeout ({lease}) cannot be larger than heartbeat timeout ({heartbeat})");
        return Err(Error::Raft(text));
    }
    if election < heartbeat {
        let text =
            format!("ElectionTimeout ({election}) must be equal or greater than Heartbeat Timeout ({heartbeat})");
        return Err(Error::Raft(text));
    }
    Ok(RaftTiming {
        heartbeat_timeout: heartbeat.to_std(),
        election_timeout: election.to_std(),
        leader_lease_timeout: lease.to_std(),
        commit_timeout: commit.to_std(),
        apply_timeout: given.duration("raft-apply-timeout").to_std(),
    })
}

fn both_or_neither(given: &Given, one: &str, other: &str) -> Result<(), Error> {
    let is_half = given.has(one) != given.has(other);
    refuse(is_half, || format!("either both -{one} and -{other} must be set, or neither"))
}

fn split<'a>(address: &'a str, text: &str) -> Result<(&'a str, &'a str), Error> {
    split_host_port(address).ok_or_else(|| Error::Fatal(text.to_string()))
}

/// Any integer will do; whether one can listen on it shows later.
fn is_port(text: &str) -> bool {
    text.parse::<i64>().is_ok()
}

/// An empty host isn't an address, so it passes.
fn is_unspecified(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_unspecified())
}

fn refuse(is_bad: bool, text: impl FnOnce() -> String) -> Result<(), Error> {
    if is_bad { Err(Error::Fatal(text())) } else { Ok(()) }
}
