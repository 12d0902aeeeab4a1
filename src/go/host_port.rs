//! `host:port` as Go splits it.

/// Splits on the last colon; an IPv6 host stands in brackets. Host and port may be empty, the port need not be a number.
///
/// Errors: `None` where Go's function fails.
/// Source: Go `net.SplitHostPort`.
pub fn split_host_port(address: &str) -> Option<(&str, &str)> {
    let (host, port) = address.rsplit_once(':')?;

    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };

    let stray = |text: &str| text.contains(['[', ']']);
    if stray(host) || stray(port) { None } else { Some((host, port)) }
}

#[cfg(test)]
mod tests {
    use super::split_host_port;

    #[test]
    fn addresses_are_split_as_go_does() {
        check("localhost:4001", Some(("localhost", "4001")));
        check(":4001", Some(("", "4001")));
        check("host:", Some(("host", "")));
        check("[::1]:4001", Some(("::1", "4001")));
        check("host:name", Some(("host", "name")));
        check("host", None);
        check("", None);
        check("::1:4001", None);
        check("[::1]", None);
        check("[::1]x:1", None);
        check("a]:1", None);
        check("http://nonsense", Some(("http", "//nonsense")));

        #[track_caller]
        fn check(address: &str, want: Option<(&str, &str)>) {
            assert_eq!(split_host_port(address), want, "{address}");
        }
    }
}
