//! `docker exec`.

use super::{Drive, drives};
use crate::call::{self, wait_until};
use crate::dockerd::{Container, Dockerd};

pub(super) fn all() -> Vec<Drive> {
    drives![
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
        exec_in_its_cgroups,
        exec_in_its_namespaces,
        exec_under_its_seccomp,
        exec_ended_by_a_signal,
        exec_at_once,
        exec_in_a_paused_one,
        exec_in_one_that_ended,
    ]
}

/// `docker exec OPTIONS NAME COMMAND`.
fn exec(docker: &Dockerd) {
    let container = docker.sleeper("exec", "");
    let said = container.call("exec", &["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!(
        (said.stdout.as_str(), said.stderr.as_str()),
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
    // Docker 20.10 says 126 or 127, by the text.
    let said = container.call("exec", &["no-such-program"]);
    assert!([126, 127].contains(&said.status), "{said:?}");
    let text = said.stdout + &said.stderr;
    assert!(text.contains("no-such-program"), "{text}");
    assert!(text.contains("not found"), "{text}");
}

fn exec_not_executable(docker: &Dockerd) {
    let container = docker.sleeper("exec_not_executable", "");
    let said = container.call("exec", &["/etc/passwd"]).fails(126);
    assert!(said.contains("/etc/passwd"), "{said}");
    assert!(said.contains("permission denied"), "{said}");
}

fn exec_env(docker: &Dockerd) {
    let container = docker.sleeper("exec_env", "-e FIRST=1 -e SECOND=2");
    let said = container.call("exec -e SECOND=two", &["sh", "-c", "echo $FIRST,$SECOND"]);
    assert_eq!(said.ok(), "1,two");
}

fn exec_user(docker: &Dockerd) {
    let container = docker.sleeper("exec_user", "");
    let said = container.call("exec -u user", &["id"]).ok();
    assert_eq!(
        said,
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
    let said = container.call("exec -w /nowhere", &["sh", "-c", "pwd"]);
    assert_ne!(said.status, 0);
    assert!((said.stdout + &said.stderr).contains("/nowhere"));
}

fn exec_detached(docker: &Dockerd) {
    let container = docker.sleeper("exec_detached", "");
    let script =
        "echo $$ > /tmp/began; while [ ! -e /tmp/end ]; do sleep 0.05; done; touch /tmp/ended";
    assert_eq!(container.call("exec -d", &["sh", "-c", script]).ok(), "");
    wait_until("it began", 20, || {
        container.call("exec", &["cat", "/tmp/began"]).status == 0
    });
    assert_eq!(container.call("exec", &["cat", "/tmp/ended"]).status, 1);
    container.sh("touch /tmp/end");
    wait_until("it ended", 20, || {
        container.call("exec", &["cat", "/tmp/ended"]).status == 0
    });
}

fn exec_tty(docker: &Dockerd) {
    let container = docker.sleeper("exec_tty", "");
    assert_eq!(container.call("exec -t", &["tty"]).ok(), "/dev/pts/0");
    assert_eq!(container.call("exec", &["tty"]).fails(1), "not a tty\n");
    let said = docker.on_terminal(
        "exec -it exec_tty",
        "for i in $(seq 100); do [ \"$(stty size)\" = \"33 99\" ] && break; sleep 0.05; done; stty size; exit 5",
    );
    assert!(said.fails(5).trim().ends_with("33 99"));
}

fn exec_stdin(docker: &Dockerd) {
    let _container = docker.sleeper("exec_stdin", "");
    let mut client = docker.client();
    client.args(["exec", "-i", "exec_stdin", "wc", "-c"]);
    assert_eq!(call::run_with(&mut client, &[b'x'; 200_000]).ok(), "200000");
}

const EFFECTIVE: &str = "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | tr -d '\\t\\n'";

fn exec_capabilities(docker: &Dockerd) {
    let container = docker.sleeper("exec_capabilities", "--cap-drop ALL --cap-add CHOWN");
    let said = container.sh(EFFECTIVE);
    assert!(said.contains("CapEff:0000000000000001"), "{said}");
    assert!(said.contains("CapBnd:0000000000000001"), "{said}");
    let said = container
        .call("exec -u user", &["sh", "-c", EFFECTIVE])
        .ok();
    assert!(
        said.contains("CapPrm:0000000000000000CapEff:0000000000000000"),
        "{said}"
    );
}

fn exec_privileged(docker: &Dockerd) {
    let container = docker.sleeper("exec_privileged", "");
    let said = container
        .call("exec --privileged", &["sh", "-c", EFFECTIVE])
        .ok();
    assert!(
        said.contains("CapEff:0000003f") || said.contains("CapEff:000001f"),
        "{said}"
    );
}

fn exec_in_its_cgroups(docker: &Dockerd) {
    let container = docker.sleeper("exec_in_its_cgroups", "");
    let compared = "cat /proc/1/cgroup > /tmp/1; cmp -s /tmp/1 /proc/self/cgroup; grep -c . /proc/self/cgroup; \
         sort /tmp/1 > /tmp/a; sort /proc/self/cgroup > /tmp/b; [ \"$(cat /tmp/a)\" = \"$(cat /tmp/b)\" ] && echo same";
    let said = container.sh(compared);
    assert!(said.ends_with("same"), "{said}");
    assert_ne!(said.lines().next(), Some("0"));
}

fn exec_in_its_namespaces(docker: &Dockerd) {
    let container = docker.sleeper("exec_in_its_namespaces", "");
    let links = "for n in mnt net pid ipc uts cgroup user; do readlink /proc/$P/ns/$n; done";
    let of = |pid: &str| container.sh(&format!("P={pid}; {links}"));
    let own = of("self");
    assert_eq!(own, of("1"));
    assert_eq!(own.lines().count(), 7);
}

fn exec_under_its_seccomp(docker: &Dockerd) {
    let container = docker.sleeper("exec_under_its_seccomp", "");
    assert_eq!(
        container.sh("grep Seccomp: /proc/self/status | tr -d '\\t'"),
        "Seccomp:2"
    );
    let said = container.call("exec", &["unshare", "-m", "true"]);
    assert!(said.stderr.contains("ermitted"), "{said:?}");
}

fn exec_ended_by_a_signal(docker: &Dockerd) {
    let container = docker.sleeper("exec_ended_by_a_signal", "");
    container
        .call("exec", &["sh", "-c", "kill -TERM $$; sleep 5"])
        .fails(143);
    container
        .call("exec", &["sh", "-c", "kill -KILL $$; sleep 5"])
        .fails(137);
}

/// Ten of them in one container.
fn exec_at_once(docker: &Dockerd) {
    let container = docker.sleeper("exec_at_once", "");
    let container: &Container<'_> = &container;
    std::thread::scope(|scope| {
        let each = |number: u32| scope.spawn(move || container.sh(&format!("echo {number}")));
        let all: Vec<_> = (0..10).map(each).collect();
        for (number, one) in all.into_iter().enumerate() {
            assert_eq!(one.join().unwrap(), number.to_string());
        }
    });
}

fn exec_in_a_paused_one(docker: &Dockerd) {
    let container = docker.sleeper("exec_in_a_paused_one", "");
    container.call("pause", &[]).ok();
    let said = container.call("exec", &["true"]).fails(1);
    assert!(said.contains("is paused"), "{said}");
    container.call("unpause", &[]).ok();
    assert_eq!(container.sh("echo awake"), "awake");
}

fn exec_in_one_that_ended(docker: &Dockerd) {
    let container = docker.keep("exec_in_one_that_ended", "", &["true"]);
    container.wait();
    let said = container.call("exec", &["true"]).fails(1);
    assert!(said.contains("is not running"), "{said}");
}
