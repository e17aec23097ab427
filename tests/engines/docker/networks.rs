//! Networks, between containers and from the machine.

use super::{Drive, drives};
use crate::call::{self, wait_until};
use crate::dockerd::Dockerd;

pub(super) fn all() -> Vec<Drive> {
    drives![
        network_none,
        network_host,
        network_bridge,
        network_of_users,
        network_connect,
        publish,
        publish_on_any_port,
        network_of_another,
        dns_options,
        mac_address,
    ]
}

const SERVES: &[&str] = &[
    "sh",
    "-c",
    "echo page > /var/www/index.html; exec httpd -f -p 80 -h /var/www",
];

const LINKS: &str = "ls /sys/class/net";

fn network_none(docker: &Dockerd) {
    let said = docker.sh(
        "--network none",
        "ls /sys/class/net; ip -o addr show lo | grep -c 127.0.0.1",
    );
    assert_eq!(said, "lo\n1");
}

fn network_host(docker: &Dockerd) {
    let namespace = "readlink /proc/self/ns/net";
    assert_eq!(
        docker.sh("--network host", namespace),
        docker.machine.sh(namespace)
    );
    assert!(docker.sh("--network host", LINKS).contains("docker0"));
}

fn network_bridge(docker: &Dockerd) {
    let server = docker.keep("network_bridge", "", SERVES);
    let address = server.inspect("{{.NetworkSettings.IPAddress}}");
    assert_eq!(docker.sh("", LINKS), "eth0\nlo");
    let fetch = format!("wget -q -O - http://{address}/");
    assert_eq!(
        docker.sh(
            "",
            &format!("for i in 1 2 3 4 5; do {fetch} && break; sleep 0.3; done")
        ),
        "page"
    );
}

fn network_of_users(docker: &Dockerd) {
    docker.docker(&["network", "create", "users"]).ok();
    let server = docker.keep("server", "--network users --network-alias page", SERVES);
    let fetch = "for i in 1 2 3 4 5; do wget -q -O - http://NAME/ && break; sleep 0.3; done";
    for name in ["server", "page"] {
        assert_eq!(
            docker.sh("--network users", &fetch.replace("NAME", name)),
            "page"
        );
    }
    // Who is not in it knows no such name.
    docker.run("", &["getent", "hosts", "server"]).fails(2);
    drop(server);
    docker.docker(&["network", "rm", "users"]).ok();
}

/// A running one gets a second network, and loses it.
fn network_connect(docker: &Dockerd) {
    docker.docker(&["network", "create", "second"]).ok();
    let container = docker.sleeper("network_connect", "");
    docker
        .docker(&["network", "connect", "second", "network_connect"])
        .ok();
    assert_eq!(container.sh(LINKS), "eth0\neth1\nlo");
    docker
        .docker(&["network", "disconnect", "second", "network_connect"])
        .ok();
    assert_eq!(container.sh(LINKS), "eth0\nlo");
    drop(container);
    docker.docker(&["network", "rm", "second"]).ok();
}

fn publish(docker: &Dockerd) {
    let _server = docker.keep("publish", "-p 127.0.0.1:8081:80", SERVES);
    wait_until("the page is served", 20, || {
        let mut curl = docker.machine.command("curl");
        call::run(curl.args(["-s", "-m", "5", "http://127.0.0.1:8081/"])).stdout == "page\n"
    });
}

fn publish_on_any_port(docker: &Dockerd) {
    let container = docker.keep("publish_any", "-p 8053:53/udp -p 80", SERVES);
    let ports = container.call("port", &[]).ok();
    assert!(ports.contains("53/udp -> 0.0.0.0:8053"), "{ports}");
    let port = ports
        .lines()
        .find_map(|line| line.strip_prefix("80/tcp -> 0.0.0.0:"));
    let address = format!("http://127.0.0.1:{}/", port.unwrap());
    wait_until("the page is served", 20, || {
        let mut curl = docker.machine.command("curl");
        call::run(curl.args(["-s", "-m", "5", &address])).stdout == "page\n"
    });
}

fn network_of_another(docker: &Dockerd) {
    let container = docker.sleeper("network_of_another", "");
    let namespace = "readlink /proc/self/ns/net";
    assert_eq!(
        docker.sh("--network container:network_of_another", namespace),
        container.sh(namespace)
    );
}

fn dns_options(docker: &Dockerd) {
    let said = docker.sh(
        "--dns 192.0.2.1 --dns-search example.org",
        "cat /etc/resolv.conf",
    );
    assert!(
        said.contains("nameserver 192.0.2.1") && said.contains("search example.org"),
        "{said}"
    );
}

fn mac_address(docker: &Dockerd) {
    let said = docker.sh(
        "--mac-address 02:42:c0:a8:00:07",
        "cat /sys/class/net/eth0/address",
    );
    assert_eq!(said, "02:42:c0:a8:00:07");
}
