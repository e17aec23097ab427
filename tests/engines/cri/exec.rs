//! ExecSync, Exec, Attach and PortForward.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{ExecResult, Pod, client};
use crate::command;
use crate::containerd::{Containerd, Test};

pub(super) const TESTS: &[Test] = &[
    ("exec_sync", sync),
    ("exec_sync_large", sync_large),
    ("exec_sync_timeout", sync_timeout),
    ("exec_sync_no_program", sync_no_program),
    ("exec_sync_confinement", sync_confinement),
    ("exec_sync_stopped", sync_stopped),
    ("exec_sync_many", sync_many),
    ("exec", exec),
    ("exec_stdin", exec_stdin),
    ("exec_tty", exec_tty),
    ("exec_no_program", exec_no_program),
    ("attach", attach),
    ("port_forward", port_forward),
];

fn sync(daemon: &Containerd) {
    let pod = Pod::new(daemon, "exec_sync");
    let container = pod.idle(json!({}));
    let ran = container
        .exec(&["sh", "-c", "echo out; echo err >&2; exit 42"], 10)
        .unwrap();
    let (stdout, stderr) = ("out\n".to_owned(), "err\n".to_owned());
    assert_eq!(
        ran,
        ExecResult {
            status: 42,
            stdout,
            stderr
        }
    );
    assert_eq!(
        container
            .exec(&["sh", "-c", "kill -KILL $$"], 0)
            .unwrap()
            .status,
        137
    );
}

fn sync_large(daemon: &Containerd) {
    let pod = Pod::new(daemon, "exec_sync_large");
    let ran = pod
        .idle(json!({}))
        .exec(&["head", "-c", "1000000", "/dev/zero"], 20)
        .unwrap();
    assert_eq!((ran.status, ran.stdout.len()), (0, 1_000_000));
}

fn sync_timeout(daemon: &Containerd) {
    let pod = Pod::new(daemon, "exec_sync_timeout");
    let container = pod.idle(json!({}));
    let since = Instant::now();
    let error = container.exec(&["sleep", "773"], 1).unwrap_err();
    assert!(
        error.contains("DEADLINE_EXCEEDED") || error.contains("timeout"),
        "{error}"
    );
    assert!(since.elapsed() < Duration::from_secs(20));
    command::wait_until("the process is killed", 10, || {
        !container.sh("ps").contains("sleep 773")
    });
}

fn sync_no_program(daemon: &Containerd) {
    let pod = Pod::new(daemon, "exec_sync_no_program");
    let container = pod.idle(json!({}));
    let error = container.exec(&["/no/such/program"], 10).unwrap_err();
    assert!(error.contains("no such file or directory"), "{error}");
    let error = container.exec(&["nosuchprogram"], 10).unwrap_err();
    assert!(
        error.contains("executable file not found in $PATH"),
        "{error}"
    );
}

/// The process has the user, the capabilities, the seccomp filter and the cgroup of the container.
fn sync_confinement(daemon: &Containerd) {
    let context = json!({
        "run_as_user": { "value": 1000 },
        "run_as_group": { "value": 1000 },
        "supplemental_groups": [3000],
        "no_new_privs": true,
        "seccomp": { "profile_type": "RuntimeDefault" },
        "capabilities": { "drop_capabilities": ["ALL"] },
    });
    let pod = Pod::new(daemon, "exec_sync_confinement");
    let container = pod.idle(json!({ "linux": { "security_context": context } }));
    let lines = "^Uid|^Gid|^Groups|^Cap|^NoNewPrivs|^Seccomp:";
    let [first, own] =
        ["1", "self"].map(|p| container.sh(&format!("grep -E '{lines}' /proc/{p}/status")));
    assert_eq!(first, own);
    let [first, own] = ["1", "self"].map(|p| container.sh(&format!("cat /proc/{p}/cgroup")));
    assert_eq!(first, own);
}

fn sync_stopped(daemon: &Containerd) {
    let pod = Pod::new(daemon, "exec_sync_stopped");
    let container = pod.run("one", json!({ "command": ["true"] }));
    container.wait();
    let error = container.exec(&["true"], 10).unwrap_err();
    assert!(error.contains("CONTAINER_EXITED"), "{error}");
}

/// Many concurrent calls, like the probes of many containers.
fn sync_many(daemon: &Containerd) {
    let pod = Pod::new(daemon, "exec_sync_many");
    let container = pod.idle(json!({}));
    std::thread::scope(|scope| {
        for i in 0..10 {
            let container = &container;
            scope.spawn(move || {
                for j in 0..3 {
                    assert_eq!(container.sh(&format!("echo {i}.{j}")), format!("{i}.{j}"));
                }
            });
        }
    });
}

/// The exit status from the error channel (3) of the stream.
fn status(output: &Value) -> String {
    let ended: Value = serde_json::from_str(output["3"].as_str().unwrap()).unwrap();
    match ended["status"].as_str() {
        Some("Success") => "0".to_owned(),
        _ => ended["details"]["causes"][0]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    }
}

fn exec(daemon: &Containerd) {
    let pod = Pod::new(daemon, "exec");
    let container = pod.idle(json!({}));
    let script = "echo out; echo err >&2; exit 11";
    let request = json!({ "cmd": ["sh", "-c", script], "stdout": true, "stderr": true });
    let output = container.stream("Exec", request, &json!([]));
    assert_eq!(
        (&output["1"], &output["2"]),
        (&json!("out\n"), &json!("err\n"))
    );
    assert_eq!(status(&output), "11");
    let request = json!({ "cmd": ["true"], "stdout": true });
    assert_eq!(status(&container.stream("Exec", request, &json!([]))), "0");
}

fn exec_stdin(daemon: &Containerd) {
    let pod = Pod::new(daemon, "exec_stdin");
    let container = pod.idle(json!({}));
    let script = "read a; echo got $a; read b; echo got $b";
    let request = json!({ "cmd": ["sh", "-c", script], "stdin": true, "stdout": true });
    let steps = json!([{ "send": "one\n" }, { "expect": "got one" }, { "send": "two\n" }]);
    let output = container.stream("Exec", request, &steps);
    assert_eq!(output["1"], "got one\ngot two\n");
}

fn exec_tty(daemon: &Containerd) {
    let pod = Pod::new(daemon, "exec_tty");
    let container = pod.idle(json!({}));
    let request = json!({ "cmd": ["sh"], "stdin": true, "stdout": true, "tty": true });
    let steps = json!([
        { "send": "tty\n" },
        { "expect": "/dev/pts/0" },
        { "resize": [101, 43] },
        { "send": "until [ \"$(stty size)\" = '43 101' ]; do sleep 0.1; done; exit 12\n" },
    ]);
    assert_eq!(status(&container.stream("Exec", request, &steps)), "12");
}

fn exec_no_program(daemon: &Containerd) {
    let pod = Pod::new(daemon, "exec_no_program");
    let container = pod.idle(json!({}));
    let request = json!({ "cmd": ["/no/such/program"], "stdout": true });
    let output = container.stream("Exec", request, &json!([]));
    assert!(
        output["3"]
            .as_str()
            .unwrap()
            .contains("no such file or directory"),
        "{output}"
    );
}

fn attach(daemon: &Containerd) {
    let pod = Pod::new(daemon, "attach");
    let script = "while read line; do echo output $line; done";
    let container = pod.run(
        "one",
        json!({ "stdin": true, "command": ["sh", "-c", script] }),
    );
    let request = json!({ "stdin": true, "stdout": true, "stderr": true });
    for word in ["first", "second"] {
        let line = format!("{word}\n");
        let steps =
            json!([{ "send": line }, { "expect": format!("output {word}") }, { "leave": true }]);
        container.stream("Attach", request.clone(), &steps);
        assert_eq!(container.state(), "CONTAINER_RUNNING");
    }
}

fn port_forward(daemon: &Containerd) {
    let pod = Pod::new(daemon, "port_forward");
    let script = "nc -l -p 7000 -e sh -c 'read line; echo back $line'";
    let container = pod.run("one", json!({ "command": ["sh", "-c", script] }));
    command::wait_until("the server listens", 10, || {
        container
            .sh("cat /proc/net/tcp /proc/net/tcp6")
            .contains(":1B58 ")
    });
    let answer = pod.call("PortForward", json!({ "port": [7000] }));
    let url = format!("{}?port=7000", answer["url"].as_str().unwrap());
    let steps = json!([{ "send": "there\n" }, { "expect": "back there" }, { "leave": true }]);
    let output = client(daemon).stream(&url, &steps, 2).unwrap();
    assert_eq!(output["0"], "back there\n");
}
