//! Standard streams, terminals, logs and events.

use std::process::Command;

use super::{Test, tests};
use crate::command;
use crate::dockerd::{BUSYBOX, CLIENT, Dockerd};

pub(super) fn all() -> Vec<Test> {
    tests![
        attach,
        detached,
        logs,
        tty,
        tty_size,
        stdin,
        much_output,
        diff_commit_export,
        events
    ]
}

fn attach(docker: &Dockerd) {
    let script = "echo ready; read line; echo got $line; exit 7";
    let container = docker.run_detached("attach", "-i", &["sh", "-c", script]);
    container.waits_for_logs("ready");
    // The client stops reading output once its input ends, so keep the input open.
    let mut shell = Command::new("sh");
    shell
        .env("DOCKER", CLIENT)
        .env("DOCKER_HOST", docker.socket_url());
    shell.args(["-c", "(echo a line; sleep 5) | $DOCKER attach attach"]);
    let output = command::run(&mut shell);
    assert_eq!(output.stdout, "got a line\n", "{output:?}");
    output.fails(7);
}

fn detached(docker: &Dockerd) {
    let container = docker.sleeper("detached", "");
    assert_eq!(container.inspect("{{.State.Running}}"), "true");
    let id = container.inspect("{{.Id}}");
    assert!(
        docker
            .docker(&["ps", "-q", "--no-trunc"])
            .ok()
            .contains(&id)
    );
}

fn logs(docker: &Dockerd) {
    let script = "echo one; echo two >&2; sleep 0.2; echo three";
    let container = docker.run_detached("logs", "", &["sh", "-c", script]);
    container.wait();
    let output = container.call("logs", &[]);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("one\nthree\n", "two\n")
    );
    assert_eq!(container.call("logs --tail 1", &[]).ok(), "three");
}

fn tty(docker: &Dockerd) {
    let output = docker.sh(
        "-t",
        "tty; ls -l /dev/console | cut -c1; echo $TERM; test -t 2 && echo all",
    );
    assert_eq!(output, "/dev/pts/0\r\nc\r\nxterm\r\nall");
    assert_eq!(docker.run("", &["tty"]).fails(1), "not a tty\n");
}

/// The container's terminal has the size of the client's.
fn tty_size(docker: &Dockerd) {
    let output = docker.on_terminal(
        &format!("run -it --rm {BUSYBOX}"),
        "for i in $(seq 100); do [ \"$(stty size)\" = \"33 99\" ] && break; sleep 0.05; done; stty size; exit 9",
    );
    assert!(output.fails(9).trim().ends_with("33 99"));
}

fn stdin(docker: &Dockerd) {
    let mut client = docker.client();
    client.args(["run", "--rm", "-i", BUSYBOX, "wc", "-c"]);
    assert_eq!(
        command::run_with(&mut client, &[b'x'; 300_000]).ok(),
        "300000"
    );
    assert_eq!(docker.sh("", "wc -c"), "0");
}

fn much_output(docker: &Dockerd) {
    let output = docker.sh("--log-driver none", "yes 0123456789abcde | head -c 4000000");
    assert_eq!(output.len(), 3_999_999);
}

fn diff_commit_export(docker: &Dockerd) {
    let script = "echo text > /etc/made; rm /etc/group; echo done; exec sleep 1000";
    let container = docker.run_detached("diff", "", &["sh", "-c", script]);
    container.waits_for_logs("done");
    let diff = container.call("diff", &[]).ok();
    let mut diff: Vec<&str> = diff.lines().collect();
    diff.sort_unstable();
    assert_eq!(diff, ["A /etc/made", "C /etc", "D /etc/group"]);
    container.call("commit", &["committed"]).ok();
    let mut client = docker.client();
    client.args([
        "run",
        "--rm",
        "committed",
        "sh",
        "-c",
        "cat /etc/made; ls /etc",
    ]);
    let output = command::run(&mut client).ok();
    assert!(
        output.starts_with("text\n") && !output.contains("group"),
        "{output}"
    );
    let archive = docker.path("exported.tar");
    container
        .call(&format!("export -o {}", archive.display()), &[])
        .ok();
    let mut tar = Command::new("tar");
    assert_eq!(
        command::run(tar.arg("-xOf").arg(&archive).arg("etc/made")).ok(),
        "text"
    );
    docker.docker(&["rmi", "-f", "committed"]).ok();
}

fn events(docker: &Dockerd) {
    let since = docker.host.sh("date +%s");
    let container = docker.run_detached("events", "", &["sh", "-c", "sleep 3; exit 6"]);
    container.call("exec", &["true"]);
    container.wait();
    drop(container);
    let until = docker.host.sh("sleep 1; date +%s");
    let output = docker.docker(&[
        "events",
        "--since",
        &since,
        "--until",
        &until,
        "--filter",
        "container=events",
        "--format",
        "{{.Action}} {{.Actor.Attributes.exitCode}}",
    ]);
    let output = output.ok();
    let mut at = 0;
    for wanted in [
        "create",
        "start",
        "exec_create: true",
        "exec_start: true",
        "exec_die 0",
        "die 6",
        "destroy",
    ] {
        let found = output[at..].find(wanted);
        at += found.unwrap_or_else(|| panic!("no {wanted} in order: {output}"));
    }
}
