//! nginx from Debian's package, unmodified.

use super::RunAs::Root;
use super::{Podman, Test};
use crate::command::wait_until;
use crate::image;

pub(super) const TESTS: &[Test] = &[("nginx", Root, nginx)];

const DEBIAN: &str = "localhost/debian";

/// nginx serves a page, is restarted, updated and reloaded, and stops by its own stop signal.
fn nginx(p: &Podman) {
    let archive = image::debian_archive().unwrap();
    let command = "CMD [\"nginx\", \"-g\", \"daemon off;\"]";
    p.ok(&[
        "import",
        "-q",
        "-c",
        command,
        archive.to_str().unwrap(),
        DEBIAN,
    ]);
    let port = p.port(9);
    let option = format!("127.0.0.1:{port}:80");
    let network = ["--network", "bridge", "-p", &option, "--memory", "128m"];
    let run = [
        &["run", "-d", "--name", "nginx"],
        &network[..],
        &["--stop-signal", "QUIT", DEBIAN],
    ];
    p.ok(&run.concat());
    let c = p.container("nginx");
    let serves = || super::network::page(port).contains("Welcome to nginx!");
    assert!(serves());
    let users = c.sh(&[], "stat -c %U /proc/[0-9]*/exe 2>/dev/null | sort -u");
    assert!(
        users.contains("root") && users.contains("www-data"),
        "{users}"
    );
    p.ok(&["update", "--memory", "256m", "--cpus", "0.5", "nginx"]);
    assert!(serves());
    c.sh(
        &[],
        "echo changed >/var/www/html/index.html; nginx -s reload",
    );
    wait_until("the new page", 20, || {
        super::network::page(port).contains("changed")
    });
    p.ok(&["restart", "-t", "20", "nginx"]);
    assert!(super::network::page(port).contains("changed"));
    p.ok(&["stop", "-t", "20", "nginx"]);
    assert_eq!(c.inspect("{{.State.ExitCode}}"), "0");
}
