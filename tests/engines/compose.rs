//! Docker Compose: a project of three services.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::command::{self, CommandOutput, wait_until};
use crate::docker::{Test, tests};
use crate::dockerd::Dockerd;

pub(crate) fn all() -> Vec<Test> {
    tests![up_and_down, exec, logs, scale, restart, changed]
}

/// The programs that the tests need besides Docker.
pub(crate) const PROGRAMS: &[&str] = &["docker-compose"];

/// Three services: a web server, a client that resolves the server by its name, and a service that must be healthy
/// before the client starts.
const FILE: &str = r#"
version: "2.4"
services:
  web:
    image: busybox
    command: sh -c "echo page > /var/www/index.html; exec httpd -f -p 80 -h /var/www"
    mem_limit: 64m
    stop_grace_period: 1s
    environment: [WORD=first]
  store:
    image: busybox
    command: sh -c "echo kept > /data/file; exec sleep 1000"
    volumes: ["data:/data"]
    read_only: true
    init: true
    healthcheck: { test: test -e /data/file, interval: 200ms, retries: 50 }
  client:
    image: busybox
    command: sh -c "while sleep 0.2; do wget -q -O - http://web/; done"
    depends_on:
      store: { condition: service_healthy }
    volumes: ["data:/theirs:ro"]
    init: true
    user: "1000"
    hostname: client
volumes: { data: {} }
"#;

/// A project. Dropping it runs `docker-compose down`.
struct Project<'a> {
    docker: &'a Dockerd,
    name: &'static str,
    file: PathBuf,
}

impl Project<'_> {
    #[track_caller]
    fn up<'a>(docker: &'a Dockerd, name: &'static str) -> Project<'a> {
        let file = docker.path(&format!("{name}.yml"));
        fs::write(&file, FILE).unwrap();
        let project = Project { docker, name, file };
        project.call(&["up", "-d"]).ok();
        project
    }

    /// `docker-compose ARGS`.
    fn call(&self, args: &[&str]) -> CommandOutput {
        let mut compose = Command::new("docker-compose");
        compose.env("DOCKER_HOST", self.docker.socket_url());
        compose.env("DOCKER_CONFIG", self.docker.path("client"));
        compose
            .args(["--no-ansi", "-p", self.name, "-f"])
            .arg(&self.file);
        command::run(compose.args(args))
    }

    /// The output of a shell script in a service's container.
    #[track_caller]
    fn sh(&self, service: &str, script: &str) -> String {
        self.call(&["exec", "-T", service, "sh", "-c", script]).ok()
    }

    #[track_caller]
    fn ids(&self, service: &str) -> Vec<String> {
        let output = self.call(&["ps", "-q", service]).ok();
        output.lines().map(str::to_owned).collect()
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        self.call(&["down", "-v", "-t", "1"]);
    }
}

fn up_and_down(docker: &Dockerd) {
    let project = Project::up(docker, "up");
    let output = project.call(&["ps"]).ok();
    assert_eq!(output.matches("Up").count(), 3, "{output}");
    assert!(output.contains("(healthy)"), "{output}");
    project.call(&["down", "-v", "-t", "1"]).ok();
    let left = docker.docker(&[
        "ps",
        "-aq",
        "--filter",
        "label=com.docker.compose.project=up",
    ]);
    assert_eq!(left.ok(), "");
    assert_eq!(
        docker.docker(&["network", "inspect", "up_default"]).status,
        1
    );
    assert_eq!(docker.docker(&["volume", "inspect", "up_data"]).status, 1);
}

fn exec(docker: &Dockerd) {
    let project = Project::up(docker, "exec");
    let limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    assert_eq!(project.sh("web", limit), "67108864");
    assert_eq!(
        project.sh("client", "id -u; hostname; cat /theirs/file"),
        "1000\nclient\nkept"
    );
    assert_eq!(
        project
            .call(&["exec", "-T", "client", "touch", "/theirs/a"])
            .status,
        1
    );
    let output = project.call(&["exec", "-T", "store", "touch", "/etc/a"]);
    assert!(
        output.status == 1 && output.stderr.contains("Read-only"),
        "{output}"
    );
    assert_eq!(
        project
            .call(&["exec", "-T", "web", "sh", "-c", "exit 9"])
            .status,
        9
    );
}

/// The log shows that the client reaches the server by its name.
fn logs(docker: &Dockerd) {
    let project = Project::up(docker, "logs");
    wait_until("pages in the log", 30, || {
        let output = project.call(&["logs", "--no-color", "client"]).ok();
        output
            .lines()
            .filter(|line| line.ends_with("| page"))
            .count()
            > 2
    });
}

fn scale(docker: &Dockerd) {
    let project = Project::up(docker, "scale");
    project.call(&["up", "-d", "--scale", "web=4"]).ok();
    assert_eq!(project.ids("web").len(), 4);
    let names: Vec<String> = (1..=4)
        .map(|index| {
            let index = index.to_string();
            project
                .call(&["exec", "-T", "--index", &index, "web", "hostname"])
                .ok()
        })
        .collect();
    let mut different = names.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), 4, "{names:?}");
    project.call(&["up", "-d", "--scale", "web=1"]).ok();
    assert_eq!(project.ids("web").len(), 1);
}

fn restart(docker: &Dockerd) {
    let project = Project::up(docker, "restart");
    project.sh("web", "echo changed > /tmp/file");
    let pid = || {
        docker
            .docker(&["inspect", "-f", "{{.State.Pid}}", &project.ids("web")[0]])
            .ok()
    };
    let before = pid();
    project.call(&["restart", "-t", "1", "web"]).ok();
    assert_ne!(pid(), before);
    assert_eq!(project.sh("web", "cat /tmp/file"), "changed");
    project.call(&["pause", "web"]).ok();
    let state = || {
        docker
            .docker(&["inspect", "-f", "{{.State.Status}}", &project.ids("web")[0]])
            .ok()
    };
    assert_eq!(state(), "paused");
    project.call(&["unpause", "web"]).ok();
    project.call(&["kill", "-s", "KILL", "web"]).ok();
    wait_until("the process is killed", 10, || state() == "exited");
}

/// `up` recreates the containers of the services that have changed, and no others.
fn changed(docker: &Dockerd) {
    let project = Project::up(docker, "changed");
    let (web, store) = (project.ids("web"), project.ids("store"));
    fs::write(&project.file, FILE.replace("WORD=first", "WORD=second")).unwrap();
    project.call(&["up", "-d"]).ok();
    assert_ne!(project.ids("web"), web);
    assert_eq!(project.ids("store"), store);
    assert_eq!(project.sh("web", "echo $WORD"), "second");
}
