//! `docker exec`.

use super::{Test, tests};
use crate::command::{self, wait_until};
use crate::dockerd::{Container, Dockerd};

pub(super) fn all() -> Vec<Test> {
    tests![
        exec,
        exec_exit_code,
        exec_not_found,
        exec_not_executable,
        exec_env,
        exec_user,
        exec_work_directory,
        exec_detached,
        exec_tty,
        exec_stdin,
        exec_capabilities,
        exec_privileged,
        exec_joins_the_cgroups,
        exec_joins_the_namespaces,
        exec_has_the_seccomp_filter,
        exec_killed_by_a_signal,
        exec_concurrently,
        exec_in_a_paused_container,
        exec_in_a_stopped_container,
    ]
}

/// `docker exec OPTIONS NAME COMMAND`.
fn exec(docker: &Dockerd) {
    let container = docker.sleeper("exec", "");
    let output = container.call("exec", &["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
    assert_eq!(
        container.sh("cat /proc/1/cmdline | tr '\\0' ' '"),
        "sleep 1000"
    );
}

fn exec_exit_code(docker: &Dockerd) {
    let container = docker.sleeper("exec_exit_code", "");
    for status in [0, 3, 255] {
        container
            .call("exec", &["sh", "-c", &format!("exit {status}")])
            .fails(status);
    }
}

fn exec_not_found(docker: &Dockerd) {
    let container = docker.sleeper("exec_not_found", "");
    // Docker 20.10 chooses 126 or 127 by the text of the runtime's error.
    let output = container.call("exec", &["no-such-program"]);
    assert!([126, 127].contains(&output.status), "{output:?}");
    let text = output.stdout + &output.stderr;
    assert!(text.contains("no-such-program"), "{text}");
    assert!(text.contains("not found"), "{text}");
}

fn exec_not_executable(docker: &Dockerd) {
    let container = docker.sleeper("exec_not_executable", "");
    let output = container.call("exec", &["/etc/passwd"]).fails(126);
    assert!(output.contains("/etc/passwd"), "{output}");
    assert!(output.contains("permission denied"), "{output}");
}

fn exec_env(docker: &Dockerd) {
    let container = docker.sleeper("exec_env", "-e FIRST=1 -e SECOND=2");
    let output = container.call("exec -e SECOND=two", &["sh", "-c", "echo $FIRST,$SECOND"]);
    assert_eq!(output.ok(), "1,two");
}

fn exec_user(docker: &Dockerd) {
    let container = docker.sleeper("exec_user", "");
    let output = container.call("exec -u user", &["id"]).ok();
    assert_eq!(
        output,
        "uid=1000(user) gid=1000(user) groups=1000(user),2000(extra)"
    );
    assert_eq!(
        container
            .call("exec -u 7:8", &["sh", "-c", "id -u; id -G"])
            .ok(),
        "7\n8"
    );
    assert_eq!(container.sh("id -u"), "0");
}

fn exec_work_directory(docker: &Dockerd) {
    let container = docker.sleeper("exec_work_directory", "-w /home");
    assert_eq!(container.sh("pwd"), "/home");
    assert_eq!(
        container
            .call("exec -w /home/user", &["sh", "-c", "pwd"])
            .ok(),
        "/home/user"
    );
    let output = container.call("exec -w /nowhere", &["sh", "-c", "pwd"]);
    assert_ne!(output.status, 0);
    assert!((output.stdout + &output.stderr).contains("/nowhere"));
}

fn exec_detached(docker: &Dockerd) {
    let container = docker.sleeper("exec_detached", "");
    let script =
        "echo $$ > /tmp/began; while [ ! -e /tmp/end ]; do sleep 0.05; done; touch /tmp/ended";
    assert_eq!(container.call("exec -d", &["sh", "-c", script]).ok(), "");
    wait_until("the exec process has started", 20, || {
        container.call("exec", &["cat", "/tmp/began"]).status == 0
    });
    assert_eq!(container.call("exec", &["cat", "/tmp/ended"]).status, 1);
    container.sh("touch /tmp/end");
    wait_until("the exec process has ended", 20, || {
        container.call("exec", &["cat", "/tmp/ended"]).status == 0
    });
}

fn exec_tty(docker: &Dockerd) {
    let container = docker.sleeper("exec_tty", "");
    assert_eq!(container.call("exec -t", &["tty"]).ok(), "/dev/pts/0");
    assert_eq!(container.call("exec", &["tty"]).fails(1), "not a tty\n");
    let output = docker.on_terminal(
        "exec -it exec_tty",
        "for i in $(seq 100); do [ \"$(stty size)\" = \"33 99\" ] && break; sleep 0.05; done; stty size; exit 5",
    );
    assert!(output.fails(5).trim().ends_with("33 99"));
}

fn exec_stdin(docker: &Dockerd) {
    let _container = docker.sleeper("exec_stdin", "");
    let mut client = docker.client();
    client.args(["exec", "-i", "exec_stdin", "wc", "-c"]);
    assert_eq!(
        command::run_with(&mut client, &[b'x'; 200_000]).ok(),
        "200000"
    );
}

const EFFECTIVE: &str = "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | tr -d '\\t\\n'";

fn exec_capabilities(docker: &Dockerd) {
    let container = docker.sleeper("exec_capabilities", "--cap-drop ALL --cap-add CHOWN");
    let output = container.sh(EFFECTIVE);
    assert!(output.contains("CapEff:0000000000000001"), "{output}");
    assert!(output.contains("CapBnd:0000000000000001"), "{output}");
    let output = container
        .call("exec -u user", &["sh", "-c", EFFECTIVE])
        .ok();
    assert!(
        output.contains("CapPrm:0000000000000000CapEff:0000000000000000"),
        "{output}"
    );
}

fn exec_privileged(docker: &Dockerd) {
    let container = docker.sleeper("exec_privileged", "");
    let output = container
        .call("exec --privileged", &["sh", "-c", EFFECTIVE])
        .ok();
    assert!(
        output.contains("CapEff:0000003f") || output.contains("CapEff:000001f"),
        "{output}"
    );
}

fn exec_joins_the_cgroups(docker: &Dockerd) {
    let container = docker.sleeper("exec_joins_the_cgroups", "");
    let compared = "cat /proc/1/cgroup > /tmp/1; cmp -s /tmp/1 /proc/self/cgroup; grep -c . /proc/self/cgroup; \
         sort /tmp/1 > /tmp/a; sort /proc/self/cgroup > /tmp/b; [ \"$(cat /tmp/a)\" = \"$(cat /tmp/b)\" ] && echo same";
    let output = container.sh(compared);
    assert!(output.ends_with("same"), "{output}");
    assert_ne!(output.lines().next(), Some("0"));
}

fn exec_joins_the_namespaces(docker: &Dockerd) {
    let container = docker.sleeper("exec_joins_the_namespaces", "");
    let links = "for n in mnt net pid ipc uts cgroup user; do readlink /proc/$P/ns/$n; done";
    let links_of = |pid: &str| container.sh(&format!("P={pid}; {links}"));
    let own = links_of("self");
    assert_eq!(own, links_of("1"));
    assert_eq!(own.lines().count(), 7);
}

fn exec_has_the_seccomp_filter(docker: &Dockerd) {
    let container = docker.sleeper("exec_has_the_seccomp_filter", "");
    assert_eq!(
        container.sh("grep Seccomp: /proc/self/status | tr -d '\\t'"),
        "Seccomp:2"
    );
    let output = container.call("exec", &["unshare", "-m", "true"]);
    assert!(output.stderr.contains("ermitted"), "{output:?}");
}

fn exec_killed_by_a_signal(docker: &Dockerd) {
    let container = docker.sleeper("exec_killed_by_a_signal", "");
    container
        .call("exec", &["sh", "-c", "kill -TERM $$; sleep 5"])
        .fails(143);
    container
        .call("exec", &["sh", "-c", "kill -KILL $$; sleep 5"])
        .fails(137);
}

/// Ten concurrent calls in one container.
fn exec_concurrently(docker: &Dockerd) {
    let container = docker.sleeper("exec_concurrently", "");
    let container: &Container<'_> = &container;
    std::thread::scope(|scope| {
        let each = |number: u32| scope.spawn(move || container.sh(&format!("echo {number}")));
        let all: Vec<_> = (0..10).map(each).collect();
        for (number, one) in all.into_iter().enumerate() {
            assert_eq!(one.join().unwrap(), number.to_string());
        }
    });
}

fn exec_in_a_paused_container(docker: &Dockerd) {
    let container = docker.sleeper("exec_in_a_paused_container", "");
    container.call("pause", &[]).ok();
    let output = container.call("exec", &["true"]).fails(1);
    assert!(output.contains("is paused"), "{output}");
    container.call("unpause", &[]).ok();
    assert_eq!(container.sh("echo awake"), "awake");
}

fn exec_in_a_stopped_container(docker: &Dockerd) {
    let container = docker.run_detached("exec_in_a_stopped_container", "", &["true"]);
    container.wait();
    let output = container.call("exec", &["true"]).fails(1);
    assert!(output.contains("is not running"), "{output}");
}
