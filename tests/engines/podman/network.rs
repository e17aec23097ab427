//! Networks: netavark's bridges as root, slirp4netns rootless.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::RunAs::{Both, Root, User};
use super::{IMAGE, Podman, Test};
use crate::command::wait_until;

pub(super) const TESTS: &[Test] = &[
    ("network_none", Both, none),
    ("network_host", Both, host),
    ("network_bridge", Root, bridge),
    ("network_custom", Both, custom),
    ("network_connect", Both, connect),
    ("network_names", Both, names),
    ("network_by_path", Root, by_path),
    ("slirp4netns", User, slirp4netns),
    ("publish", Both, publish),
    ("publish_restarted", Both, publish_restarted),
];

fn none(p: &Podman) {
    let output = p.sh(
        &["--network", "none"],
        "ip -o link | cut -d : -f 2; ip route | wc -l",
    );
    assert!(
        output.starts_with("lo\n") && output.ends_with("\n0") || !output.contains("eth0"),
        "{output}"
    );
    assert!(
        p.sh(&["--network", "none"], "ip address show lo")
            .contains("UP,LOWER_UP")
    );
}

fn host(p: &Podman) {
    let c = p.start("network_host", &["--network", "host"], "sleep 1000");
    let netns_of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_eq!(netns_of(&c.pid().to_string()), netns_of("self"));
}

fn bridge(p: &Podman) {
    let c = p.start("bridge", &["--network", "bridge"], "sleep 1000");
    let address = c.inspect("{{.NetworkSettings.IPAddress}}");
    assert!(c.sh(&[], "ip -4 -o address show eth0").contains(&address));
    p.sh(
        &["--network", "bridge"],
        &format!("ping -c 1 -W 5 {address}"),
    );
}

/// A network. Dropping it removes it.
struct Network<'a> {
    podman: &'a Podman,
    name: String,
}

impl<'a> Network<'a> {
    fn new(podman: &'a Podman, name: &str, number: u8) -> Network<'a> {
        podman.name_server.get_or_init(|| keep_name_server(podman));
        let name = podman.network(name);
        create(podman, &name, number);
        Network { podman, name }
    }
}

fn create(p: &Podman, name: &str, number: u8) {
    p.ok(&["network", "create", "--subnet", &p.subnet(number), name]);
}

/// Starts a container that keeps the name server running until the store is dropped. netavark starts the name server
/// with the first container on such a network and ends it with the last. When containers start or end concurrently,
/// netavark 1.4 can leave one of them without a name server.
fn keep_name_server(p: &Podman) {
    let network = p.network("kept");
    // An earlier attempt that failed may have left the network.
    p.call(&["network", "rm", "-f", "-t0", &network]);
    create(p, &network, 9);
    let run = ["run", "-d", "--name", "kept", "--network", &network, IMAGE];
    p.ok(&[&run[..], &["sleep", "100000"]].concat());
    let name_server_answers = || {
        p.call(&["exec", "kept", "busybox", "nslookup", "kept"])
            .status
            == 0
    };
    wait_until("the name server", 20, name_server_answers);
}

impl Drop for Network<'_> {
    fn drop(&mut self) {
        self.podman
            .call(&["network", "rm", "-f", "-t0", &self.name]);
    }
}

fn custom(p: &Podman) {
    let network = Network::new(p, "own", 1);
    let start = p.subnet(1).replace(".0/24", ".");
    let address = format!("{start}77");
    let output = p.sh(
        &["--network", &network.name, "--ip", &address],
        "ip -4 -o address show eth0",
    );
    assert!(output.contains(&format!("{address}/24")), "{output}");
    let options = [
        "--network",
        &network.name,
        "--mac-address",
        "92:d0:c6:0a:29:33",
    ];
    assert!(
        p.sh(&options, "cat /sys/class/net/eth0/address")
            .contains("92:d0:c6:0a:29:33")
    );
}

fn connect(p: &Podman) {
    let (first, second) = (
        Network::new(p, "connect1", 2),
        Network::new(p, "connect2", 3),
    );
    let c = p.start("connect", &["--network", &first.name], "sleep 1000");
    assert_ne!(c.exec(&[], "ip link show eth1").status, 0);
    p.ok(&["network", "connect", &second.name, &c.name]);
    let start = p.subnet(3).replace(".0/24", ".");
    assert!(c.sh(&[], "ip -4 -o address show eth1").contains(&start));
    p.ok(&["network", "disconnect", &second.name, &c.name]);
    assert_ne!(c.exec(&[], "ip link show eth1").status, 0);
    drop(c);
}

fn names(p: &Podman) {
    let network = Network::new(p, "names", 4);
    let c = p.start("named_host", &["--network", &network.name], "sleep 1000");
    let script =
        "for i in 1 2 3 4 5; do ping -c 1 -W 5 named_host && exit 0; sleep 0.5; done; exit 1";
    p.sh(&["--network", &network.name], script);
    drop(c);
}

fn by_path(p: &Podman) {
    let c = p.start("by_path", &[], "sleep 1000");
    let place = format!("ns:/proc/{}/ns/net", c.pid());
    let output = p.sh(&["--network", &place], "readlink /proc/self/ns/net");
    assert_eq!(output, c.sh(&[], "readlink /proc/self/ns/net"));
}

fn slirp4netns(p: &Podman) {
    let output = p.sh(
        &["--network", "slirp4netns"],
        "ip -4 -o address show tap0; ip route",
    );
    assert!(
        output.contains("10.0.2.100/24") && output.contains("default via 10.0.2.2"),
        "{output}"
    );
}

/// The answer of an HTTP server on a port of the host.
pub(super) fn page(port: u16) -> String {
    let mut output = String::new();
    wait_until("an answer over the port", 30, || {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
            return false;
        };
        let _ = stream.set_read_timeout(Some(std::time::Duration::from_secs(5)));
        let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
        output.clear();
        let _ = stream.read_to_string(&mut output);
        output.starts_with("HTTP/1.")
    });
    output
}

/// The network mode in which the tests publish ports.
fn publish_network(p: &Podman) -> &'static str {
    match p.user() {
        Some(_) => "slirp4netns",
        None => "bridge",
    }
}

const SERVER: &str =
    "echo hello from $(hostname) >/var/www/index.html; exec httpd -f -p 80 -h /var/www";

fn publish(p: &Podman) {
    let port = p.port(1);
    let option = format!("127.0.0.1:{port}:80");
    let options = [
        "--network",
        publish_network(p),
        "-p",
        &option,
        "--hostname",
        "served",
    ];
    let c = p.start("publish", &options, SERVER);
    let output = page(port);
    assert!(output.contains("hello from served"), "{output}");
    assert_eq!(
        p.ok(&["port", &c.name]),
        format!("80/tcp -> 127.0.0.1:{port}")
    );
    p.ok(&["rm", "-f", "-t0", &c.name]);
    wait_until("the port closed", 10, || {
        TcpStream::connect(("127.0.0.1", port)).is_err()
    });
}

fn publish_restarted(p: &Podman) {
    let port = p.port(2);
    let option = format!("127.0.0.1:{port}:80");
    let c = p.start(
        "publish_restarted",
        &["--network", publish_network(p), "-p", &option],
        SERVER,
    );
    page(port);
    p.ok(&["restart", "-t", "0", &c.name]);
    let output = page(port);
    assert!(output.contains("hello from"), "{output}");
}
