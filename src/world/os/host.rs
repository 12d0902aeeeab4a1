//! The machine and the process, asked of the operating system.

use std::collections::BTreeMap;
use std::net::IpAddr;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags as Flags;

use crate::world::host::{Facts, Host, Interface};

pub struct Machine;

impl Host for Machine {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn facts(&self) -> Facts {
        Facts {
            executable: std::env::current_exe().map_or_else(|_| String::new(), |path| path.display().to_string()),
            arguments: std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect(),
            hostname: nix::unistd::gethostname().map_or_else(|_| String::new(), |name| name.to_string_lossy().into()),
            pid: std::process::id(),
            parent_pid: std::os::unix::process::parent_id(),
            page_size: nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(0) as usize,
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            threads: std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count),
            in_kubernetes: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some_and(|host| !host.is_empty()),
            interfaces: interfaces(),
        }
    }
}

/// The system tells an address a line; a line without one still tells that the interface is there.
fn interfaces() -> Vec<Interface> {
    let mut interfaces: BTreeMap<String, Interface> = BTreeMap::new();
    for line in getifaddrs().into_iter().flatten() {
        let interface = interfaces.entry(line.interface_name.clone()).or_insert_with(|| Interface {
            name: line.interface_name.clone(),
            flags: flags(line.flags),
            ..Interface::default()
        });
        if let Some(hardware) = line.address.as_ref().and_then(|address| address.as_link_addr()?.addr())
            && hardware != [0; 6]
        {
            interface.hardware_address = hardware.map(|byte| format!("{byte:02x}")).join(":");
        }
        interface.addresses.extend(address(&line));
    }
    interfaces.into_values().collect()
}

fn address(line: &InterfaceAddress) -> Option<String> {
    let ip = |storage: &nix::sys::socket::SockaddrStorage| -> Option<IpAddr> {
        let v4 = storage.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    let bits = match ip(line.netmask.as_ref()?)? {
        IpAddr::V4(mask) => mask.to_bits().count_ones(),
        IpAddr::V6(mask) => mask.to_bits().count_ones(),
    };
    Some(format!("{}/{bits}", ip(line.address.as_ref()?)?))
}

/// Source: Go `net.Flags.String`.
fn flags(flags: Flags) -> String {
    let names = [
        (Flags::IFF_UP, "up"),
        (Flags::IFF_BROADCAST, "broadcast"),
        (Flags::IFF_LOOPBACK, "loopback"),
        (Flags::IFF_POINTOPOINT, "pointtopoint"),
        (Flags::IFF_MULTICAST, "multicast"),
        (Flags::IFF_RUNNING, "running"),
    ];
    let set: Vec<_> = names.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| name).collect();
    if set.is_empty() { "0".into() } else { set.join("|") }
}
