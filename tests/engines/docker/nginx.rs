//! nginx from Debian's package, unmodified.

use std::fs;

use super::{Test, tests};
use crate::command::{self, wait_until};
use crate::dockerd::{Container, Dockerd};
use crate::image;

pub(super) fn all() -> Vec<Test> {
    tests![
        nginx_serves,
        nginx_restarted,
        nginx_updated,
        nginx_reloaded,
        nginx_shell
    ]
}

/// The name of the image.
const DEBIAN: &str = "debian";

/// The command of the image.
const CHANGE: &str = "CMD [\"nginx\", \"-g\", \"daemon off;\"]";

pub(super) fn skip_reason() -> Option<String> {
    image::debian_archive().err()
}

/// Imports the image into a daemon, if it could be built.
pub(super) fn load_images(docker: &Dockerd) {
    if let Ok(archive) = image::debian_archive() {
        docker.import(&archive, DEBIAN, CHANGE);
    }
}

/// The page that nginx serves on a port of the host.
fn page(docker: &Dockerd, port: u16) -> String {
    let mut curl = docker.host.command("curl");
    command::run(curl.args(["-s", "-m", "5", &format!("http://127.0.0.1:{port}/")])).stdout
}

fn serves(docker: &Dockerd, port: u16, text: &str) {
    let what = format!("{text:?} on port {port}");
    wait_until(&what, 30, || page(docker, port).contains(text));
}

const WELCOME: &str = "Welcome to nginx!";

fn nginx<'a>(docker: &'a Dockerd, name: &str, port: u16, options: &str) -> Container<'a> {
    let options = format!("-p {port}:80 {options}");
    let container = docker.run_detached_image(DEBIAN, name, &options, &[]);
    serves(docker, port, WELCOME);
    container
}

fn nginx_serves(docker: &Dockerd) {
    let container = nginx(docker, "nginx_serves", 8101, "");
    let users = container.sh("stat -c %U /proc/[0-9]*/exe 2>/dev/null | sort -u | tr '\\n' ' '");
    assert!(
        users.contains("root") && users.contains("www-data"),
        "{users}"
    );
    // Many concurrent requests.
    let script = "for i in $(seq 100); do echo url=http://127.0.0.1:8101/; done | \
                  curl -sZ --parallel-max 20 -K - | grep -c 'Welcome to nginx!</h1>'";
    assert_eq!(docker.host.sh(script), "100");
    let log = container.sh("grep -c ' 200 ' /var/log/nginx/access.log");
    assert!(log.parse::<u32>().unwrap() > 100, "{log}");
    container.call("stop -t 20", &[]).ok();
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0");
}

fn nginx_restarted(docker: &Dockerd) {
    let container = nginx(docker, "nginx_restarted", 8102, "");
    container.sh("echo changed > /var/www/html/index.html");
    container.call("restart", &[]).ok();
    serves(docker, 8102, "changed");
}

fn nginx_updated(docker: &Dockerd) {
    let container = nginx(docker, "nginx_updated", 8103, "-m 256m --cpus 1");
    container
        .call(
            "update -m 64m --memory-swap 64m --cpus 0.5 --pids-limit 50",
            &[],
        )
        .ok();
    let limits = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max 2>/dev/null || \
                  cat memory.max cpu.max pids.max";
    let output = container.sh(limits);
    let args: Vec<&str> = output
        .split_whitespace()
        .filter(|&word| word != "100000")
        .collect();
    assert_eq!(args, ["67108864", "50000", "50"]);
    serves(docker, 8103, WELCOME);
}

/// On SIGHUP nginx reloads its configuration and starts new workers.
fn nginx_reloaded(docker: &Dockerd) {
    let sites = docker.path("sites");
    fs::create_dir_all(&sites).unwrap();
    let site = sites.join("default");
    let write = |text: &str| {
        let text = format!("server {{ listen 80; location / {{ return 200 '{text}'; }} }}\n");
        fs::write(&site, text).unwrap();
    };
    write(WELCOME);
    let options = format!("-v {}:/etc/nginx/sites-enabled:ro", sites.display());
    let container = nginx(docker, "nginx_reloaded", 8104, &options);
    let first = container.inspect("{{.State.Pid}}");
    write("another answer");
    assert!(page(docker, 8104).contains(WELCOME));
    container.call("kill -s HUP", &[]).ok();
    serves(docker, 8104, "another answer");
    assert_eq!(container.inspect("{{.State.Pid}}"), first);
}

/// The Debian system in the container: shell, package manager and users.
fn nginx_shell(docker: &Dockerd) {
    let container = nginx(docker, "nginx_shell", 8105, "");
    let output = container.call(
        "exec -u www-data",
        &[
            "bash",
            "-c",
            "id -un; dpkg -l nginx | grep -c ^ii; perl -e 'print 6*7'",
        ],
    );
    assert_eq!(output.ok(), "www-data\n1\n42");
}
