//! The command line: THE table of flags, and the environment's `RQLITE_HOST`.
//!
//! Source: shell.md §1. Unlike the reference, whatever is wrong here ends the shell with code 1.

use std::time::Duration;

use crate::{go, version};

/// Where to connect, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `host:port`, an IPv6 host in brackets: the first one, then the alternatives.
    pub hosts: Vec<String>,
    /// Begins and ends with a slash.
    pub prefix: String,
    pub credentials: Option<Credentials>,
    /// Of a request; for a transfer, of its silence. `None` waits for ever.
    pub timeout: Option<Duration>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

/// Passwords stay out of every message.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:***", self.user)
    }
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Run(Options),
    /// Text for standard output.
    Print(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("ERR! undefined option {0}")]
    Undefined(String),
    #[error("ERR! option {0} needs a value")]
    NeedsValue(&'static str),
    #[error("ERR! `{0}' couldn't converted to a bool")]
    Bool(String),
    #[error("ERR! `{0}' couldn't converted to an uint")]
    Uint(String),
    #[error("ERR! {0}")]
    Duration(#[from] go::duration::Error),
    #[error("ERR! credentials must be in the form username:password")]
    Credentials,
    #[error("ERR! not supported yet: {0}")]
    NotYet(&'static str),
    #[error("ERR! unsupported protocol {0}")]
    Scheme(String),
    #[error("unsupported protocol {0}")]
    HostScheme(String),
    #[error("RQLITE_HOST does not contain a hostname")]
    NoHost,
    #[error("port number {0} is outside of valid range [0, 65535]")]
    PortRange(String),
    #[error("port '{0}' is not a valid number: strconv.Atoi: parsing {quoted}: invalid syntax", quoted = go::quote(.0))]
    Port(String),
}

struct Flag {
    name: Name,
    short: &'static str,
    long: &'static str,
    default: &'static str,
    help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Help,
    Alternatives,
    Scheme,
    Host,
    Port,
    Prefix,
    Insecure,
    CaCert,
    ClientCert,
    ClientKey,
    User,
    Version,
    Timeout,
}

#[rustfmt::skip]
const FLAGS: &[Flag] = &[
    flag(Name::Help, "-h", "--help", "", "display help information"),
    flag(Name::Alternatives, "-a", "--alternatives", "", "comma separated list of 'host:port' pairs to use as fallback"),
    flag(Name::Scheme, "-s", "--scheme", "http", "protocol scheme (http or https)"),
    flag(Name::Host, "-H", "--host", "127.0.0.1", "rqlited host address"),
    flag(Name::Port, "-p", "--port", "4001", "rqlited host port"),
    flag(Name::Prefix, "-P", "--prefix", "/", "rqlited HTTP URL prefix"),
    flag(Name::Insecure, "-i", "--insecure", "false", "do not verify rqlited HTTPS certificate"),
    flag(Name::CaCert, "-c", "--ca-cert", "", "path to trusted X.509 root CA certificate"),
    flag(Name::ClientCert, "-d", "--client-cert", "", "path to client X.509 certificate for mutual TLS"),
    flag(Name::ClientKey, "-k", "--client-key", "", "path to client X.509 key for mutual TLS"),
    flag(Name::User, "-u", "--user", "", "set basic auth credentials in form username:password"),
    flag(Name::Version, "-v", "--version", "", "display CLI version"),
    flag(Name::Timeout, "-t", "--http-timeout", "30s", "set timeout on HTTP requests"),
];

const fn flag(name: Name, short: &'static str, long: &'static str, default: &'static str, help: &'static str) -> Flag {
    Flag { name, short, long, default, help }
}

/// Reads the arguments behind the program's name; `rqlite_host` is the variable of that name, if it is set.
pub fn parse(arguments: &[String], rqlite_host: Option<&str>) -> Result<Outcome, Error> {
    let given = given(arguments)?;
    let has = |name: Name| given.iter().any(|(flag, _)| flag.name == name);
    // Of a repeated flag the last one counts.
    let value = |name: Name| {
        let last = given.iter().rev().find(|(flag, _)| flag.name == name);
        last.map_or_else(|| default_of(name).to_string(), |(_, value)| value.clone())
    };
    if has(Name::Help) {
        return Ok(Outcome::Print(help()));
    }
    if has(Name::Version) {
        let (version, commit) = (version::RQLITE_VERSION, version::COMMIT);
        return Ok(Outcome::Print(format!("Version {version}, commit {commit}, built on unknown\n")));
    }

    let (scheme, host, port) = match rqlite_host {
        Some(url) if !has(Name::Host) && !has(Name::Port) && !has(Name::Scheme) => of_url(url)?,
        _ => {
            let port = value(Name::Port);
            let number: u64 = port.parse().map_err(|_| Error::Uint(port.clone()))?;
            (value(Name::Scheme), value(Name::Host), port_in_range(number, &port)?)
        }
    };
    match scheme.as_str() {
        "http" => {}
        "https" => return Err(Error::NotYet("-s https")),
        _ => return Err(Error::Scheme(scheme)),
    }
    if parse_bool(&value(Name::Insecure))? {
        return Err(Error::NotYet("-i"));
    }
    for name in [Name::CaCert, Name::ClientCert, Name::ClientKey] {
        if !value(name).is_empty() {
            return Err(Error::NotYet(flag_of(name).short));
        }
    }

    let mut hosts = vec![host_port(&host, port)];
    let alternatives = value(Name::Alternatives);
    hosts.extend(alternatives.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_string));
    let timeout = go::Duration::parse(&value(Name::Timeout))?.to_std();
    Ok(Outcome::Run(Options {
        hosts,
        prefix: slashed(&value(Name::Prefix)),
        credentials: credentials(&value(Name::User))?,
        timeout: Some(timeout).filter(|timeout| !timeout.is_zero()),
    }))
}

/// The flags as they came, each with its text. Positional arguments are ignored, as in the reference.
fn given(arguments: &[String]) -> Result<Vec<(&'static Flag, String)>, Error> {
    let mut given = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            break;
        }
        if !argument.starts_with('-') || argument == "-" {
            continue;
        }
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (argument.as_str(), None),
        };
        let flag = FLAGS.iter().find(|flag| flag.short == name || flag.long == name);
        let flag = flag.ok_or_else(|| Error::Undefined(name.to_string()))?;
        let value = match (value, flag.name) {
            (Some(value), _) => value,
            (None, Name::Help | Name::Version | Name::Insecure) => "true".to_string(),
            (None, _) => arguments.next().ok_or(Error::NeedsValue(flag.long))?.clone(),
        };
        given.push((flag, value));
    }
    Ok(given)
}

fn flag_of(name: Name) -> &'static Flag {
    FLAGS.iter().find(|flag| flag.name == name).expect("every name is in the table")
}

fn default_of(name: Name) -> &'static str {
    flag_of(name).default
}

fn parse_bool(text: &str) -> Result<bool, Error> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::Bool(text.to_string())),
    }
}

/// Scheme, host and port of `http://host:port` or `//host`.
fn of_url(url: &str) -> Result<(String, String, u16), Error> {
    let (scheme, rest) = match url.split_once(':') {
        Some((scheme, rest)) if !scheme.contains('/') && !scheme.is_empty() => (scheme, rest),
        _ => (default_of(Name::Scheme), url),
    };
    if !matches!(scheme, "http" | "https") {
        return Err(Error::HostScheme(scheme.to_string()));
    }
    let authority = rest.strip_prefix("//").unwrap_or("");
    let authority = authority.split(['/', '?', '#']).next().unwrap_or("");
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let is_bare_ipv6 = authority.starts_with('[') && authority.ends_with(']');
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !is_bare_ipv6 => (host, port),
        _ => (authority, ""),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(Error::NoHost);
    }
    let port = if port.is_empty() { default_of(Name::Port) } else { port };
    let number: i64 = port.parse().map_err(|_| Error::Port(port.to_string()))?;
    let number = u64::try_from(number).map_err(|_| Error::PortRange(port.to_string()))?;
    Ok((scheme.to_string(), host.to_string(), port_in_range(number, port)?))
}

fn port_in_range(number: u64, text: &str) -> Result<u16, Error> {
    u16::try_from(number).map_err(|_| Error::PortRange(text.to_string()))
}

fn host_port(host: &str, port: u16) -> String {
    let is_ipv6 = host.contains(':') && !host.starts_with('[');
    if is_ipv6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The reference breaks on a prefix without both slashes; we put them there.
fn slashed(prefix: &str) -> String {
    match prefix.trim_matches('/') {
        "" => "/".to_string(),
        inner => format!("/{inner}/"),
    }
}

/// A password may hold colons: the first one counts.
fn credentials(text: &str) -> Result<Option<Credentials>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let (user, password) = text.split_once(':').ok_or(Error::Credentials)?;
    Ok(Some(Credentials { user: user.to_string(), password: password.to_string() }))
}

fn help() -> String {
    let mut text = "Options:\n".to_string();
    for Flag { short, long, default, help, .. } in FLAGS {
        let default = if default.is_empty() { String::new() } else { format!("[={default}]") };
        text.push_str(&format!("\n  {short}, {long}{default}\n      {help}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Outcome, parse};

    #[test]
    fn arguments_are_read() {
        check("", None, "127.0.0.1:4001 / none 30s");
        check("-H localhost -p 21241", None, "localhost:21241 / none 30s");
        check("--host=localhost --port 80", None, "localhost:80 / none 30s");
        check("-H=a -H b ignored -t 1m", None, "b:4001 / none 60s");
        check("-H ::1", None, "[::1]:4001 / none 30s");
        check("-P foo -t 0", None, "127.0.0.1:4001 /foo/ none none");
        check("-P /x/", None, "127.0.0.1:4001 /x/ none 30s");
        check("-a h2:1,,h3:2", None, "127.0.0.1:4001,h2:1,h3:2 / none 30s");
        check("-u bob:sec:ret", None, "127.0.0.1:4001 / bob sec:ret 30s");
        check("-u bob:", None, "127.0.0.1:4001 / bob  30s");
        check("--insecure=false -s http", None, "127.0.0.1:4001 / none 30s");

        check("", Some("http://h:5001"), "h:5001 / none 30s");
        check("", Some("//h"), "h:4001 / none 30s");
        check("", Some("http://[::1]/x"), "[::1]:4001 / none 30s");
        check("", Some("http://[::1]:7"), "[::1]:7 / none 30s");
        check("-p 1", Some("http://h:5001"), "127.0.0.1:1 / none 30s");

        check("-u bob", None, "ERR! credentials must be in the form username:password");
        check("--bogus", None, "ERR! undefined option --bogus");
        check("-p", None, "ERR! option --port needs a value");
        check("-p abc", None, "ERR! `abc' couldn't converted to an uint");
        check("-p 65536", None, "port number 65536 is outside of valid range [0, 65535]");
        check("-t abc", None, r#"ERR! time: invalid duration "abc""#);
        check("-i", None, "ERR! not supported yet: -i");
        check("-i=maybe", None, "ERR! `maybe' couldn't converted to a bool");
        check("--ca-cert x", None, "ERR! not supported yet: -c");
        check("-s https", None, "ERR! not supported yet: -s https");
        check("-s ftp", None, "ERR! unsupported protocol ftp");
        check("", Some("ftp://h"), "unsupported protocol ftp");
        check("", Some("localhost:4001"), "unsupported protocol localhost");
        check("", Some(""), "RQLITE_HOST does not contain a hostname");
        check("", Some("http://h:70000"), "port number 70000 is outside of valid range [0, 65535]");
        check("", Some("http://h:x"), r#"port 'x' is not a valid number: strconv.Atoi: parsing "x": invalid syntax"#);

        #[track_caller]
        fn check(arguments: &str, rqlite_host: Option<&str>, want: &str) {
            let list: Vec<String> = arguments.split_whitespace().map(str::to_string).collect();
            let got = match parse(&list, rqlite_host) {
                Err(error) => error.to_string(),
                Ok(Outcome::Print(text)) => text,
                Ok(Outcome::Run(options)) => {
                    let credentials =
                        options.credentials.map_or("none".into(), |it| format!("{} {}", it.user, it.password));
                    let timeout = options.timeout.map_or("none".into(), |it| format!("{}s", it.as_secs()));
                    format!("{} {} {credentials} {timeout}", options.hosts.join(","), options.prefix)
                }
            };
            assert_eq!(got, want, "{arguments} {rqlite_host:?}");
        }
    }

    #[test]
    fn help_and_version() {
        let print = |argument: &str| match parse(&[argument.to_string()], None) {
            Ok(Outcome::Print(text)) => text,
            other => panic!("{other:?}"),
        };
        insta::assert_snapshot!(print("--help"));
        insta::assert_snapshot!(print("-v"), @"Version 10, commit unknown, built on unknown");
    }

    #[test]
    fn passwords_are_not_printed() {
        let Ok(Outcome::Run(options)) = parse(&["-u=bob:secret".to_string()], None) else { panic!() };
        assert_eq!(format!("{:?}", options.credentials), "Some(bob:***)");
    }
}
