//! The machine and the process: what /status tells an operator, and what an operator says in the environment.

/// Tells the facts as they are now.
pub trait Host: Send + Sync {
    /// As of now.
    fn facts(&self) -> Facts;
    /// A variable of the process's environment.
    fn env(&self, name: &str) -> Option<String>;
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub executable: String,
    /// The command line, with the program.
    pub arguments: Vec<String>,
    pub hostname: String,
    pub pid: u32,
    pub parent_pid: u32,
    pub page_size: usize,
    pub cpus: usize,
    /// Threads of this process.
    pub threads: usize,
    pub in_kubernetes: bool,
    /// By name, sorted.
    pub interfaces: Vec<Interface>,
}

/// A network interface.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    pub name: String,
    /// As Go writes them: `up|loopback|running`.
    pub flags: String,
    /// `02:00:00:00:00:01`, or nothing.
    pub hardware_address: String,
    /// `127.0.0.1/8`
    pub addresses: Vec<String>,
}
