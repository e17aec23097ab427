//! A host for containers with a network, and a neighbour of it.

use std::ops::Deref;

use serde_json::{Value, json};

use crate::harness::{Bundle, Container, Holder, Outcome, Runtime, needs, only_rt};

/// What a container needs to answer and to ask.
const CAPABILITIES: [&str; 3] = ["CAP_NET_RAW", "CAP_NET_BIND_SERVICE", "CAP_KILL"];

/// The content of /etc/resolv.conf and /etc/hosts in the image.
pub(super) const IMAGE: &str = "# of the image\n";

/// A network namespace and a mount namespace in which /run is empty. Everything in them ends
/// with this value.
pub(crate) struct Host {
    holder: Holder,
    runtime: Runtime,
}

impl Host {
    pub(crate) fn new() -> Self {
        only_rt("the annotations rt.network.* are its own");
        needs("ip", "iproute2");
        let holder = Holder::new(&["--net", "--mount"]);
        let runtime = Runtime::new().within(&holder, &["net", "mnt"]);
        let host = Self { holder, runtime };
        host.sh("mount -t tmpfs -o mode=755 none /run && ip link set lo up");
        host
    }

    /// The same, for containers with NAT. It does not forward packets yet.
    pub(super) fn with_nft() -> Self {
        needs("nft", "nftables");
        let host = Self::new();
        // A new network namespace can have the settings of the first.
        host.sh("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0");
        host
    }

    /// Lets the host forward packets.
    pub(super) fn forward(&self) {
        self.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    }

    pub(super) fn pid(&self) -> i32 {
        self.holder.pid()
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The process that holds the namespaces.
    pub(super) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// A bundle with these annotations, `rt.network.` before each key, whose process sleeps.
    pub(crate) fn bundle(&self, annotations: &[(&str, &str)]) -> Bundle {
        let bundle = Bundle::with_runtime(&self.runtime)
            .capabilities(&CAPABILITIES)
            .args(&["/probe", "sleep"]);
        // As in any image: the mount points of the container's own files.
        let bundle = (bundle.file("etc/resolv.conf", IMAGE)).file("etc/hosts", IMAGE);
        let bundle = ["ip", "ping", "nc"]
            .into_iter()
            .fold(bundle, |bundle, applet| {
                bundle.symlink(&format!("bin/{applet}"), "busybox")
            });
        annotate(bundle, annotations)
    }

    /// The bridge `br0` with a subnet of each family.
    pub(super) fn on_bridge(&self) -> Bundle {
        self.bundle(&[("bridge", "br0"), ("subnet", "10.88.0.0/24,fd00:88::/64")])
    }

    /// The same with more annotations.
    pub(super) fn on_bridge_with(&self, annotations: &[(&str, &str)]) -> Bundle {
        annotate(self.on_bridge(), annotations)
    }

    /// A running container on the bridge `br0`.
    pub(super) fn run_on_bridge(&self, annotations: &[(&str, &str)]) -> Kept {
        Kept::run(self.on_bridge_with(annotations))
    }

    /// Runs a script of the host in the network namespace of another process.
    #[track_caller]
    pub(super) fn sh_in(&self, pid: i32, script: &str) -> String {
        let net = format!("--net=/proc/{pid}/ns/net");
        let command = vec!["nsenter", &net, "sh", "-ec", script];
        self.runtime.call_as_is(command).run().assert_ok().stdout
    }

    /// Runs a script on the host and returns what it printed.
    #[track_caller]
    pub(super) fn sh(&self, script: &str) -> String {
        self.try_sh(script).assert_ok().stdout
    }

    pub(super) fn try_sh(&self, script: &str) -> Outcome {
        self.runtime.call_as_is(vec!["sh", "-c", script]).run()
    }

    /// The names of all links except `lo`.
    pub(super) fn links(&self) -> Vec<String> {
        let links = self.sh("ip -json link show");
        let links: Vec<Value> = serde_json::from_str(&links).unwrap();
        let names = links.iter().filter_map(|link| link["ifname"].as_str());
        names
            .filter(|name| *name != "lo")
            .map(str::to_owned)
            .collect()
    }

    /// What is recorded about a bridge.
    pub(super) fn record(&self, bridge: &str) -> Value {
        let text = self.sh(&format!("cat /run/rt/network/{bridge}/leases.json"));
        serde_json::from_str(&text).unwrap()
    }

    /// Links, records and rules of containers.
    pub(super) fn leftovers(&self) -> String {
        let files = self.sh("find /run/rt -mindepth 1 2>/dev/null || true");
        let tables = self.sh("nft list tables 2>/dev/null || true");
        let links = self.links().join("\n");
        [files.trim(), tables.trim(), &links]
            .join("\n")
            .trim()
            .to_owned()
    }

    /// Asserts that no link, record or rule is left.
    #[track_caller]
    pub(super) fn assert_clean(&self) {
        assert_eq!(self.leftovers(), "", "left behind");
    }

    /// The same beside links of the test.
    #[track_caller]
    pub(super) fn assert_clean_except(&self, links: &[&str]) {
        assert_eq!(self.leftovers(), links.join("\n"), "left behind");
    }

    /// Whether an address answers to the host.
    pub(super) fn reaches(&self, address: &str) -> bool {
        let script = format!("busybox ping -c 1 -W 5 {address}");
        self.try_sh(&script).code() == 0
    }
}

/// A container with its bundle. It ends with this value.
pub(super) struct Kept {
    container: Container,
    _bundle: Bundle,
}

impl Kept {
    pub(super) fn run(bundle: Bundle) -> Self {
        Self {
            container: bundle.run_detached(),
            _bundle: bundle,
        }
    }

    pub(super) fn create(bundle: Bundle) -> Self {
        Self {
            container: bundle.create(),
            _bundle: bundle,
        }
    }
}

impl Deref for Kept {
    type Target = Container;

    fn deref(&self) -> &Container {
        &self.container
    }
}

/// Adds annotations, `rt.network.` before each key.
pub(super) fn annotate(bundle: Bundle, annotations: &[(&str, &str)]) -> Bundle {
    annotations.iter().fold(bundle, |bundle, (key, value)| {
        bundle.set(&format!("/annotations/rt.network.{key}"), json!(value))
    })
}

/// The value of an annotation of a container's state, `rt.network.` before the key.
pub(super) fn annotation(container: &Container, key: &str) -> String {
    let state = container.state();
    let value = &state["annotations"][format!("rt.network.{key}")];
    value
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {state}"))
        .to_owned()
}

/// The addresses that a container was given, without their prefix lengths.
pub(super) fn addresses(container: &Container) -> Vec<String> {
    let addresses = annotation(container, "address");
    let bare = addresses
        .split(',')
        .filter_map(|address| address.split('/').next());
    bare.map(str::to_owned).collect()
}

/// Whether an address answers to a running container.
pub(super) fn container_reaches(container: &Container, address: &str) -> bool {
    let ping = ["ping", "-c", "1", "-W", "5", address];
    container.call("exec", &ping).code() == 0
}
