//! A host for containers with a network, and a neighbour of it.

use serde_json::{Value, json};

use crate::harness::{Bundle, Container, Holder, Outcome, Runtime, needs, only_rt};

/// What a container needs to answer and to ask.
const CAPABILITIES: [&str; 3] = ["CAP_NET_RAW", "CAP_NET_BIND_SERVICE", "CAP_KILL"];

/// A network namespace and a mount namespace in which /run is empty. Everything in them ends
/// with this value.
pub(super) struct Host {
    holder: Holder,
    runtime: Runtime,
}

impl Host {
    pub(super) fn new() -> Self {
        only_rt("the annotations rt.network.* are its own");
        needs("ip", "iproute2");
        let holder = Holder::new(&["--net", "--mount"]);
        let runtime = Runtime::new().within(&holder, &["net", "mnt"]);
        let host = Self { holder, runtime };
        host.sh("mount -t tmpfs -o mode=755 none /run && ip link set lo up");
        host
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The process that holds the namespaces.
    pub(super) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// A bundle with these annotations, `rt.network.` before each key, whose process sleeps.
    pub(super) fn bundle(&self, annotations: &[(&str, &str)]) -> Bundle {
        let bundle = Bundle::with_runtime(&self.runtime)
            .capabilities(&CAPABILITIES)
            .args(&["/probe", "sleep"]);
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

    /// Whether an address answers to the host.
    pub(super) fn reaches(&self, address: &str) -> bool {
        let script = format!("busybox ping -c 1 -W 5 {address}");
        self.try_sh(&script).code() == 0
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
