//! The container's process: command, user, environment and exit status.

use std::fs;

use super::{Test, tests};
use crate::command;
use crate::dockerd::Dockerd;

pub(super) fn all() -> Vec<Test> {
    tests![
        info,
        run,
        exit_code,
        not_found,
        not_executable,
        directory_as_command,
        killed_by_a_signal,
        work_directory_missing,
        no_such_user,
        user,
        user_by_name,
        user_and_group,
        additional_groups,
        entrypoint,
        work_directory,
        env_file,
        hostname,
        domain_name,
        hosts,
        labels,
        init,
        umask,
    ]
}

fn info(docker: &Dockerd) {
    let format = "{{.DefaultRuntime}} {{json .Runtimes}} {{.CgroupDriver}}";
    let info = docker.docker(&["info", "-f", format]).ok();
    let name = docker.runtime.name();
    assert!(info.starts_with(&format!("{name} ")), "{info}");
    assert!(info.contains(&format!("\"{name}\":{{\"path\"")), "{info}");
    assert!(info.ends_with(" cgroupfs"), "{info}");
}

fn run(docker: &Dockerd) {
    let output = docker.run("", &["echo", "hello"]);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("hello\n", "")
    );
    assert_eq!(
        docker.sh("", "echo $$; set -- /proc/[0-9]*; echo $#"),
        "1\n1"
    );
}

fn exit_code(docker: &Dockerd) {
    for status in [0, 1, 42, 255] {
        docker
            .run("", &["sh", "-c", &format!("exit {status}")])
            .fails(status);
    }
}

fn not_found(docker: &Dockerd) {
    let output = docker.run("", &["no-such-program"]).fails(127);
    assert!(output.contains("no-such-program"), "{output}");
    assert!(output.contains("not found"), "{output}");
}

fn not_executable(docker: &Dockerd) {
    let output = docker.run("", &["/etc/passwd"]).fails(126);
    assert!(output.contains("/etc/passwd"), "{output}");
    assert!(output.contains("permission denied"), "{output}");
}

fn directory_as_command(docker: &Dockerd) {
    let output = docker.run("", &["/etc"]).fails(126);
    assert!(output.contains("/etc"), "{output}");
}

fn killed_by_a_signal(docker: &Dockerd) {
    // The init process of a pid namespace ignores signals that it sends to itself, so run under docker-init.
    docker
        .run("--init", &["sh", "-c", "kill -KILL $$"])
        .fails(137);
    let container = docker.sleeper("signal", "");
    assert_eq!(container.call("kill", &[]).status, 0);
    assert_eq!(container.wait(), "137");
}

/// Docker creates a missing directory, so the test uses a file.
fn work_directory_missing(docker: &Dockerd) {
    let output = docker.run("-w /etc/passwd", &["true"]);
    assert!([125, 126, 127].contains(&output.status), "{output:?}");
    assert!(output.stderr.contains("/etc/passwd"), "{output:?}");
    assert!(
        output.stderr.to_lowercase().contains("not a directory"),
        "{output:?}"
    );
}

fn no_such_user(docker: &Dockerd) {
    let output = docker.run("-u nobody-here", &["true"]);
    assert!([125, 126].contains(&output.status), "{output:?}");
    assert!(output.stderr.contains("nobody-here"), "{output:?}");
}

fn user(docker: &Dockerd) {
    assert_eq!(docker.sh("-u 4242", "id -u; id -g"), "4242\n0");
}

fn user_by_name(docker: &Dockerd) {
    let output = docker.sh("-u user", "id; echo $HOME");
    let wanted = "uid=1000(user) gid=1000(user) groups=1000(user),2000(extra)\n/home/user";
    assert_eq!(output, wanted);
}

fn user_and_group(docker: &Dockerd) {
    assert_eq!(docker.sh("-u 7:8", "id -u; id -g; id -G"), "7\n8\n8");
}

fn additional_groups(docker: &Dockerd) {
    let output = docker.sh("-u 7:8 --group-add extra --group-add 99", "id -G");
    let mut groups: Vec<&str> = output.split(' ').collect();
    groups.sort_unstable();
    assert_eq!(groups, ["2000", "8", "99"]);
}

fn entrypoint(docker: &Dockerd) {
    let output = docker
        .run("--entrypoint /bin/echo", &["from", "entrypoint"])
        .ok();
    assert_eq!(output, "from entrypoint");
}

fn work_directory(docker: &Dockerd) {
    assert_eq!(docker.sh("-w /home/user", "pwd"), "/home/user");
    assert_eq!(docker.sh("-w /made/by/docker", "pwd"), "/made/by/docker");
}

fn env_file(docker: &Dockerd) {
    let file = docker.path("variables");
    fs::write(&file, "FIRST=from file\n# none\nSECOND=2\n").unwrap();
    let options = format!("--env-file {} -e THIRD=3", file.display());
    assert_eq!(
        docker.sh(&options, "echo $FIRST,$SECOND,$THIRD"),
        "from file,2,3"
    );
}

fn hostname(docker: &Dockerd) {
    assert_eq!(
        docker.sh("--hostname elsewhere", "hostname; cat /etc/hostname"),
        "elsewhere\nelsewhere"
    );
    assert_eq!(docker.sh("", "hostname").len(), 12);
}

fn domain_name(docker: &Dockerd) {
    let output = docker.sh(
        "--domainname example.org",
        "cat /proc/sys/kernel/domainname",
    );
    assert_eq!(output, "example.org");
}

fn hosts(docker: &Dockerd) {
    let output = docker.sh(
        "--add-host elsewhere:192.0.2.7",
        "grep elsewhere /etc/hosts",
    );
    assert_eq!(
        output.split_whitespace().collect::<Vec<_>>(),
        ["192.0.2.7", "elsewhere"]
    );
}

fn labels(docker: &Dockerd) {
    let container = docker.sleeper("labels", "--label tier=front --label empty");
    assert_eq!(
        container.inspect("{{.Config.Labels.tier}},{{.Config.Labels.empty}}"),
        "front,"
    );
    let found = docker
        .docker(&["ps", "-q", "--filter", "label=tier=front"])
        .ok();
    assert_eq!(found.lines().count(), 1);
}

/// With `--init` the first process is docker-init, which reaps orphans.
fn init(docker: &Dockerd) {
    let output = docker.sh("--init", &format!("{}; cat /proc/1/comm", command::ORPHAN));
    assert_eq!(output, "docker-init");
    let container = docker.sleeper("init", "--init --stop-timeout 20");
    assert_eq!(container.call("stop", &[]).status, 0);
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "143");
}

fn umask(docker: &Dockerd) {
    assert_eq!(docker.sh("", "umask"), "0022");
}
