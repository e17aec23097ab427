//! Networks between containers, and published ports.

use std::fs;

use serde_json::{Value, json};

use super::{Test, tests};
use crate::command::{self, wait_until};
use crate::dockerd::Dockerd;
use crate::environment::Runtime;
use crate::image;

pub(super) fn all() -> Vec<Test> {
    tests![
        network_none,
        network_host,
        network_bridge,
        network_user_defined,
        network_connect,
        publish,
        publish_on_a_random_port,
        published_port_of_rt_beside_dockerd,
        network_container,
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
    let output = docker.sh(
        "--network none",
        "ls /sys/class/net; ip -o addr show lo | grep -c 127.0.0.1",
    );
    assert_eq!(output, "lo\n1");
}

fn network_host(docker: &Dockerd) {
    let namespace = "readlink /proc/self/ns/net";
    assert_eq!(
        docker.sh("--network host", namespace),
        docker.host.sh(namespace)
    );
    assert!(docker.sh("--network host", LINKS).contains("docker0"));
}

fn network_bridge(docker: &Dockerd) {
    let server = docker.run_detached("network_bridge", "", SERVES);
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

fn network_user_defined(docker: &Dockerd) {
    docker.docker(&["network", "create", "users"]).ok();
    let server = docker.run_detached("server", "--network users --network-alias page", SERVES);
    let fetch = "for i in 1 2 3 4 5; do wget -q -O - http://NAME/ && break; sleep 0.3; done";
    for name in ["server", "page"] {
        assert_eq!(
            docker.sh("--network users", &fetch.replace("NAME", name)),
            "page"
        );
    }
    // A container outside the network cannot resolve the name.
    docker.run("", &["getent", "hosts", "server"]).fails(2);
    drop(server);
    docker.docker(&["network", "rm", "users"]).ok();
}

/// `network connect` and `disconnect` on a running container.
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
    let _server = docker.run_detached("publish", "-p 127.0.0.1:8081:80", SERVES);
    wait_until("the page is served", 20, || {
        let mut curl = docker.host.command("curl");
        command::run(curl.args(["-s", "-m", "5", "http://127.0.0.1:8081/"])).stdout == "page\n"
    });
}

fn publish_on_a_random_port(docker: &Dockerd) {
    let container = docker.run_detached("publish_any", "-p 8053:53/udp -p 80", SERVES);
    let ports = container.call("port", &[]).ok();
    assert!(ports.contains("53/udp -> 0.0.0.0:8053"), "{ports}");
    let port = ports
        .lines()
        .find_map(|line| line.strip_prefix("80/tcp -> 0.0.0.0:"));
    let address = format!("http://127.0.0.1:{}/", port.unwrap());
    wait_until("the page is served", 20, || {
        let mut curl = docker.host.command("curl");
        command::run(curl.args(["-s", "-m", "5", &address])).stdout == "page\n"
    });
}

/// A container of `rt` itself, where dockerd has the policy DROP for what it does not know.
fn published_port_of_rt_beside_dockerd(docker: &Dockerd) {
    let bundle = docker.path("beside");
    image::busybox(&bundle.join("rootfs"));
    let rt = |args: &[&str]| {
        let mut rt = docker.host.command(Runtime::Rt.path().to_str().unwrap());
        command::run(rt.args(args))
    };
    let path = bundle.to_str().unwrap();
    rt(&["spec", "--bundle", path]).ok();
    let config = bundle.join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(SERVES);
    spec["root"]["readonly"] = json!(false);
    spec["annotations"] = json!({
        "rt.network.bridge": "beside0",
        "rt.network.subnet": "10.88.0.0/24",
        "rt.network.masquerade": "true",
        "rt.network.publish": "8099:80",
    });
    fs::write(&config, spec.to_string()).unwrap();
    docker.host.sh("iptables -P FORWARD DROP");
    rt(&["run", "--detach", "--bundle", path, "beside"]).ok();
    let rules = docker.host.sh("iptables -S DOCKER-USER");
    assert!(rules.contains("-i beside0"), "{rules}");
    let from_docker =
        "for i in 1 2 3 4 5; do wget -q -O - http://172.17.0.1:8099/ && break; sleep 0.3; done";
    assert_eq!(docker.sh("", from_docker), "page");
    let curl = "curl -s -m 5 --retry 5 --retry-connrefused http://127.0.0.1:8099/";
    assert_eq!(docker.host.sh(curl), "page");
    rt(&["delete", "--force", "beside"]).ok();
    let rules = docker.host.sh("iptables -S DOCKER-USER");
    assert!(!rules.contains("beside0"), "{rules}");
}

fn network_container(docker: &Dockerd) {
    let container = docker.sleeper("network_container", "");
    let namespace = "readlink /proc/self/ns/net";
    assert_eq!(
        docker.sh("--network container:network_container", namespace),
        container.sh(namespace)
    );
}

fn dns_options(docker: &Dockerd) {
    let output = docker.sh(
        "--dns 192.0.2.1 --dns-search example.org",
        "cat /etc/resolv.conf",
    );
    assert!(
        output.contains("nameserver 192.0.2.1") && output.contains("search example.org"),
        "{output}"
    );
}

fn mac_address(docker: &Dockerd) {
    let output = docker.sh(
        "--mac-address 02:42:c0:a8:00:07",
        "cat /sys/class/net/eth0/address",
    );
    assert_eq!(output, "02:42:c0:a8:00:07");
}
