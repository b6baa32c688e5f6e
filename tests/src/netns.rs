//! A network of namespaces on one machine: hosts with addresses and names of their own, joined by a bridge that can be
//! cut, in one direction or both, and made slow and lossy.
//!
//! Needs root, `ip` of iproute2 and `nft`. Loss is `nft`'s, delay is `tc`'s: by netem, or where the kernel has none by a
//! narrow pipe.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// One end of a cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// Where the clients are.
    Clients,
    /// A server, numbered from 0.
    Server(usize),
}

/// How bad the network is for what servers send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// Packets of a hundred that are lost.
    pub loss_percent: u32,
    /// How late packets come, in milliseconds, by half as much more or less; without netem, at most.
    pub delay_ms: u32,
}

/// Namespaces that go with this value.
#[derive(Debug)]
pub struct Network {
    // Unlike that of any other network on this machine.
    tag: String,
    addresses: Vec<Ipv4Addr>,
    // (from, to): nothing passes.
    cuts: BTreeSet<(Host, Host)>,
    weather: Weather,
}

impl Network {
    /// Why there can be no such network here, if there can be none.
    #[must_use]
    pub fn unavailable() -> Option<String> {
        match Self::build(1) {
            Ok(mut network) => network.set_rules().err().map(|error| format!("{error:#}")),
            Err(error) => Some(format!("{error:#}")),
        }
    }

    /// Makes a namespace for each server and one for clients.
    ///
    /// # Errors
    /// When that is not permitted, or the tools are missing.
    pub fn build(servers: usize) -> anyhow::Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let network = Self {
            tag: format!("zabd-{}-{number}", std::process::id()),
            addresses: (0..servers).map(|server| ip(server, 0)).collect(),
            cuts: BTreeSet::new(),
            weather: Weather::default(),
        };
        let hub = network.namespace(Host::Clients);
        ip_command(&["netns", "add", &hub])?;
        ip_command(&["-n", &hub, "link", "set", "lo", "up"])?;
        ip_command(&["-n", &hub, "link", "add", "hub", "type", "bridge"])?;
        ip_command(&["-n", &hub, "addr", "add", CLIENTS, "dev", "hub"])?;
        ip_command(&["-n", &hub, "link", "set", "hub", "up"])?;
        for server in 0..servers {
            let namespace = network.namespace(Host::Server(server));
            let port = format!("port{server}");
            ip_command(&["netns", "add", &namespace])?;
            ip_command(&[
                "-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", CARD, "netns",
                &namespace,
            ])?;
            ip_command(&["-n", &hub, "link", "set", &port, "master", "hub", "up"])?;
            ip_command(&["-n", &namespace, "link", "set", "lo", "up"])?;
            ip_command(&["-n", &namespace, "link", "set", CARD, "up"])?;
            network.give_address(server, "add")?;
        }
        network.write_names()?;
        Ok(network)
    }

    /// Takes this thread, and the threads and processes that it starts from now on, to where the clients are.
    ///
    /// # Errors
    /// When that is not permitted.
    pub fn enter(&self) -> anyhow::Result<()> {
        let path = Path::new("/run/netns").join(self.namespace(Host::Clients));
        let namespace = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .context("enter the clients' namespace")
    }

    /// The name of a namespace, as `ip netns exec` takes it.
    #[must_use]
    pub fn namespace(&self, host: Host) -> String {
        match host {
            Host::Clients => format!("{}-c", self.tag),
            Host::Server(server) => format!("{}-{server}", self.tag),
        }
    }

    /// The name of a server, which is that of its address now in every namespace.
    #[must_use]
    pub fn name(server: usize) -> String {
        format!("server-{}.zabd.test", server + 1)
    }

    /// The address of a server now.
    #[must_use]
    pub fn address(&self, server: usize) -> Ipv4Addr {
        self.addresses[server]
    }

    /// Gives a server, which must not run, another address under its old name.
    ///
    /// # Errors
    /// When a command fails.
    pub fn change_address(&mut self, server: usize) -> anyhow::Result<Ipv4Addr> {
        self.give_address(server, "del")?;
        let old = self.addresses[server];
        let generation = u8::from(old == ip(server, 0));
        self.addresses[server] = ip(server, generation);
        self.give_address(server, "add")?;
        self.write_names()?;
        self.set_rules()?;
        Ok(self.addresses[server])
    }

    /// Lets nothing through from one host to another; what is on its way is lost too.
    ///
    /// # Errors
    /// When a command fails.
    pub fn cut(&mut self, from: &[Host], to: &[Host]) -> anyhow::Result<()> {
        for from in from {
            self.cuts.extend(to.iter().map(|to| (*from, *to)));
        }
        self.set_rules()
    }

    /// Joins everything that was cut.
    ///
    /// # Errors
    /// When a command fails.
    pub fn join(&mut self) -> anyhow::Result<()> {
        self.cuts.clear();
        self.set_rules()
    }

    /// Makes the network between all hosts better or worse. Says by what means.
    ///
    /// # Errors
    /// When a command fails.
    pub fn set_weather(&mut self, weather: Weather) -> anyhow::Result<&'static str> {
        self.weather = weather;
        self.set_rules()?;
        let mut means = "fair";
        for server in 0..self.addresses.len() {
            // There is none to remove at first.
            drop(self.tc(server, &["del", "dev", CARD, "root"]));
            if weather.delay_ms > 0 {
                means = self.delay(server, weather.delay_ms)?;
            }
        }
        Ok(means)
    }

    fn delay(&self, server: usize, delay_ms: u32) -> anyhow::Result<&'static str> {
        let add = ["add", "dev", CARD, "root"];
        let (delay, jitter) = (format!("{delay_ms}ms"), format!("{}ms", delay_ms / 2));
        let netem = [&add[..], &["netem", "delay", &delay, &jitter]].concat();
        if self.tc(server, &netem).is_ok() {
            return Ok("loss by nft, delay by netem");
        }
        // Packets wait for those before them, at most for so long.
        let narrow = ["tbf", "rate", "4mbit", "burst", "4kb", "latency", &delay];
        self.tc(server, &[&add[..], &narrow].concat())?;
        Ok("loss by nft, delay by a narrow pipe (this kernel has no netem)")
    }

    fn tc(&self, server: usize, arguments: &[&str]) -> anyhow::Result<Output> {
        let namespace = self.namespace(Host::Server(server));
        let base = ["-n", &namespace, "qdisc"];
        run(Command::new("tc").args(base).args(arguments), "")
    }

    fn give_address(&self, server: usize, action: &str) -> anyhow::Result<()> {
        let namespace = self.namespace(Host::Server(server));
        let address = format!("{}/16", self.addresses[server]);
        ip_command(&["-n", &namespace, "addr", action, &address, "dev", CARD])
    }

    /// `ip netns exec` puts these files in the place of `/etc/hosts`. They are written where they are: a new file of the
    /// same name would not be seen by processes that run.
    fn write_names(&self) -> anyhow::Result<()> {
        let mut text = "127.0.0.1 localhost\n".to_owned();
        for (server, address) in self.addresses.iter().enumerate() {
            writeln!(text, "{address} {}", Self::name(server))?;
        }
        for host in self.hosts() {
            let directory = Path::new("/etc/netns").join(self.namespace(host));
            fs::create_dir_all(&directory)
                .and_then(|()| fs::write(directory.join("hosts"), &text))
                .with_context(|| format!("write {}/hosts", directory.display()))?;
        }
        Ok(())
    }

    fn set_rules(&mut self) -> anyhow::Result<()> {
        for host in self.hosts() {
            let mut rules = "flush ruleset\ntable inet hurt {\nchain input {\n\
                             type filter hook input priority 0; policy accept;\n"
                .to_owned();
            for (from, _) in self.cuts.iter().filter(|(_, to)| *to == host) {
                let address = match from {
                    Host::Clients => CLIENTS.trim_end_matches("/16").to_owned(),
                    Host::Server(server) => self.address(*server).to_string(),
                };
                writeln!(rules, "ip saddr {address} drop")?;
            }
            if self.weather.loss_percent > 0 {
                let percent = self.weather.loss_percent;
                writeln!(
                    rules,
                    "ip saddr 10.77.0.0/16 numgen random mod 100 < {percent} drop"
                )?;
            }
            rules.push_str("}\n}\n");
            let namespace = self.namespace(host);
            let arguments = ["netns", "exec", &namespace, "nft", "-f", "-"];
            run(Command::new("ip").args(arguments), &rules)?;
        }
        Ok(())
    }

    fn hosts(&self) -> Vec<Host> {
        let servers = (0..self.addresses.len()).map(Host::Server);
        servers.chain([Host::Clients]).collect()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in self.hosts() {
            let namespace = self.namespace(host);
            // Not all of them are there, if they could not be made.
            if Path::new("/run/netns").join(&namespace).exists()
                && let Err(error) = ip_command(&["netns", "del", &namespace])
            {
                eprintln!("{error:#}");
            }
            let names = Path::new("/etc/netns").join(&namespace);
            if names.exists() && fs::remove_dir_all(&names).is_err() {
                eprintln!("{} stays", names.display());
            }
        }
    }
}

/// The address of the clients.
const CLIENTS: &str = "10.77.255.254/16";
/// The network device in each server's namespace.
const CARD: &str = "eth0";

/// The address that a server has at first, or the other one.
fn ip(server: usize, generation: u8) -> Ipv4Addr {
    let last = u8::try_from(server + 1).expect("few servers");
    Ipv4Addr::new(10, 77, generation, last)
}

fn ip_command(arguments: &[&str]) -> anyhow::Result<()> {
    run(Command::new("ip").args(arguments), "").map(drop)
}

/// Runs a command that is to succeed.
///
/// # Errors
/// When it does not, with what it said.
pub fn run(command: &mut Command, input: &str) -> anyhow::Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    let mut stdin = child.stdin.take().context("its input")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}
