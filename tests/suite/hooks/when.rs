//! When each kind of hook is called, in which namespaces, and with which state.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::runner::Test;
use serde_json::{Value, json};

use super::{
    CREATE_CONTAINER, CREATE_RUNTIME, POSTSTART, POSTSTOP, PRESTART, START_CONTAINER, add, note,
    noted, notes, probing, read, script, seen,
};
use crate::harness::{
    Bundle, Holder, Kind, cgroup_of, cgroup_top, differs, namespace_of, needs_strace, only_rt,
    trials, wait_gone,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        hooks_are_called_in_the_order_of_the_lifecycle,
        runtime_hooks_get_the_status_creating,
        runtime_hooks_see_the_finished_root_below_root_path,
        a_runtime_hook_may_mount_into_the_container,
        create_container_hooks_run_in_the_containers_namespaces,
        create_container_hooks_start_in_the_root_with_its_mounts,
        create_container_hooks_get_the_pid_in_the_container,
        hooks_run_after_a_user_namespace_is_set_up,
        start_container_hooks_run_inside_before_the_program,
        start_container_hooks_write_to_the_output_of_the_container,
        poststart_hooks_run_after_the_program_and_before_start_returns,
        poststop_hooks_run_after_the_container_is_deleted,
        without_hooks_before_pivot_root_no_message_is_exchanged_for_them,
    ]
}

const BEFORE_THE_PROGRAM: &str = "config.md: \"The poststart hooks MUST be called after the \
    user-specified process is executed but before the start operation returns\"; it calls them \
    in create";

/// The namespaces that a container of the template does not share with the host.
const OWN: [&str; 5] = ["pid", "net", "ipc", "uts", "mnt"];

fn hooks_are_called_in_the_order_of_the_lifecycle() {
    let kinds = [PRESTART, CREATE_RUNTIME, CREATE_CONTAINER, POSTSTOP];
    let mut bundle = Bundle::new().args(&["/probe", "sleep"]);
    // Added in reverse: the order of calling is not that of the file.
    for kind in kinds.into_iter().rev() {
        for number in [1, 2] {
            let hook = note(&bundle, &format!("{kind}-{number}"));
            bundle = add(bundle, kind, hook);
        }
    }
    let expected: Vec<String> = kinds
        .iter()
        .flat_map(|kind| [format!("{kind}-1"), format!("{kind}-2")])
        .collect();
    let container = bundle.create();
    assert_eq!(noted(&bundle), expected[..6]);
    container.start().assert_ok();
    container.kill("KILL").assert_ok();
    container.wait_stopped();
    assert_eq!(noted(&bundle), expected[..6]);
    container.delete().assert_ok();
    assert_eq!(noted(&bundle), expected);
}

/// runtime.md, "State": `creating`: "the container is being created"; "For hooks executed in the
/// runtime namespace, it is the pid as seen by the runtime."
fn runtime_hooks_get_the_status_creating() {
    for kind in [PRESTART, CREATE_RUNTIME] {
        let bundle = probing(kind).set("/annotations", json!({"a.b": "c d", "e": ""}));
        let container = bundle.create();
        let seen = seen(&bundle, kind);
        let expected = json!({
            "ociVersion": match Kind::under_test() {
                Kind::Rt => json!("1.3.0"),
                _ => bundle.config().get("/ociVersion").clone(),
            },
            "id": bundle.id(),
            "status": "creating",
            "pid": container.pid(),
            "bundle": bundle.path(),
            "annotations": {"a.b": "c d", "e": ""},
        });
        assert_eq!(seen.state, expected, "{kind}");
        for namespace in OWN {
            let of_host = namespace_of("self", namespace);
            assert_eq!(seen.report.namespace(namespace), of_host, "{kind}");
        }
        assert_eq!(seen.report["cwd"], bundle.path().to_str().unwrap());
        container.end();
    }
}

/// A script that sets `pid` to that of the state on standard input.
const READ_PID: &str = r#"pid=$(sed 's/.*"pid":\([0-9]*\).*/\1/')"#;

/// "before the pivot_root or any equivalent operation has been executed", after the mounts: what
/// NVIDIA's hooks rely on, which enter the mount namespace and work below root.path.
fn runtime_hooks_see_the_finished_root_below_root_path() {
    for kind in [PRESTART, CREATE_RUNTIME] {
        let bundle = Bundle::new().args(&["/probe", "sleep"]).folder("mnt");
        let source = bundle.path().join("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("file"), "from the bind mount").unwrap();
        let bundle = bundle.bind(&source, "/mnt", &["bind"]);
        let (root, out) = (bundle.rootfs(), notes(&bundle));
        let look = format!(
            "{READ_PID}; exec > {out}; \
             nsenter -m -t $pid awk '{{ print \"mounted\", $5 }}' /proc/self/mountinfo; \
             nsenter -m -t $pid cat {root}/mnt/file; echo; \
             cat /proc/$pid/root{root}/mnt/file; echo; \
             stat -c '%t:%T' /proc/$pid/root{root}/dev/null; \
             readlink {root}/dev/stdout || echo none",
            out = out.display(),
            root = root.display(),
        );
        let bundle = add(bundle, kind, script(&look));
        let container = bundle.create();
        let lines = noted(&bundle);
        for place in ["", "/proc", "/dev", "/dev/pts", "/mnt"] {
            let line = format!("mounted {}{place}", root.display());
            assert!(lines.contains(&line), "{line} in {lines:#?}");
        }
        let rest = &lines[lines.len() - 4..];
        // The last one: the mount is not visible on the host itself.
        let expected = ["from the bind mount", "from the bind mount", "1:3", "none"];
        assert_eq!(rest, expected, "{kind}");
        container.end();
    }
}

/// A mount that such a hook creates below root.path is visible to the program.
fn a_runtime_hook_may_mount_into_the_container() {
    let bundle = Bundle::new()
        .folder("mnt")
        .sh("cat /mnt/file")
        .file("mnt/file", "the image's own\n");
    let source = bundle.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "the hook's\n").unwrap();
    let mount = format!(
        "{READ_PID}; nsenter -m -t $pid mount --bind {} {}/mnt",
        source.display(),
        bundle.rootfs().display()
    );
    let bundle = add(bundle, CREATE_RUNTIME, script(&mount));
    assert_eq!(bundle.run().assert_ok().stdout, "the hook's\n");
}

/// "The createContainer hooks MUST be executed in the container namespace", and their path
/// "MUST resolve in the runtime namespace".
fn create_container_hooks_run_in_the_containers_namespaces() {
    let bundle = probing(CREATE_CONTAINER);
    let container = bundle.create();
    let seen = seen(&bundle, CREATE_CONTAINER);
    for namespace in OWN {
        let containers = namespace_of(&container.pid().to_string(), namespace);
        assert_eq!(seen.report.namespace(namespace), containers, "{namespace}");
    }
    assert_eq!(seen.state["status"], "creating");
    assert_eq!(seen.state["id"], bundle.id());
    assert_eq!(seen.state["bundle"], bundle.path().to_str().unwrap());
    let own = cgroup_of(container.pid(), "pids");
    let place = own.strip_prefix(cgroup_top("pids")).unwrap_or(&own);
    let cgroups = seen.report["cgroups"].to_string();
    // In the container's cgroup, so that its limits apply to its hooks.
    assert!(
        cgroups.contains(place.to_str().unwrap()) || cgroups.contains("pids:/\""),
        "{} in {cgroups}",
        place.display()
    );
}

/// "before the pivot_root operation is executed but after the mount namespace was created and
/// setup"
fn create_container_hooks_start_in_the_root_with_its_mounts() {
    let bundle = probing(CREATE_CONTAINER);
    let container = bundle.create();
    let seen = seen(&bundle, CREATE_CONTAINER);
    let root = bundle.rootfs();
    assert_eq!(seen.report["cwd"], root.to_str().unwrap());
    for place in ["", "/proc", "/dev", "/dev/shm", "/sys"] {
        let place = format!("{}{place}", root.display());
        assert!(seen.report.has_mount(&place), "{place}");
    }
    assert!(
        seen.report.has_mount("/"),
        "the host's mounts are still visible"
    );
    container.end();
}

/// "For hooks executed in the container namespace, it is the pid as seen by the container."
fn create_container_hooks_get_the_pid_in_the_container() {
    let told = |bundle: &Bundle| -> Value { seen(bundle, CREATE_CONTAINER).state["pid"].clone() };

    let own = probing(CREATE_CONTAINER);
    own.create().end();
    assert_eq!(told(&own), 1);

    let shared = probing(CREATE_CONTAINER).without_namespace("pid");
    let container = shared.create();
    assert_eq!(told(&shared), container.pid());
    container.end();

    let holder = Holder::new(&["--pid", "--fork", "--mount-proc"]);
    let joined = probing(CREATE_CONTAINER).namespace("pid", Some(&holder.path("pid")));
    let container = joined.create();
    let status = read(format!("/proc/{}/status", container.pid()).as_ref());
    let numbers = status.lines().find(|line| line.starts_with("NSpid:"));
    let inner = numbers.and_then(|line| line.split_whitespace().next_back());
    assert_eq!(told(&joined).to_string(), inner.unwrap());
    container.end();
}

/// Runtime hooks run outside of the user namespace, as root; container hooks as its root.
fn hooks_run_after_a_user_namespace_is_set_up() {
    let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    for kind in [CREATE_RUNTIME, CREATE_CONTAINER, START_CONTAINER] {
        let bundle = probing(kind)
            .namespace("user", None)
            .set("/linux/uidMappings", mapping.clone())
            .set("/linux/gidMappings", mapping.clone());
        for place in [bundle.path().to_owned(), bundle.rootfs()] {
            fs::set_permissions(place, fs::Permissions::from_mode(0o777)).unwrap();
        }
        let container = bundle.create();
        let pid = container.pid().to_string();
        container.start().assert_ok();
        let seen = seen(&bundle, kind);
        let expected = match kind {
            CREATE_RUNTIME => namespace_of("self", "user"),
            _ => namespace_of(&pid, "user"),
        };
        assert_eq!(seen.report.namespace("user"), expected, "{kind}");
        assert_eq!(seen.report["uid"], 0, "{kind}");
        assert_eq!(seen.state["id"], bundle.id(), "{kind}");
        container.end();
    }
}

/// runtime.md, "Lifecycle", 6 to 8; "The startContainer hooks' path MUST resolve in the container
/// namespace", in which they "MUST be executed".
fn start_container_hooks_run_inside_before_the_program() {
    let bundle =
        probing(START_CONTAINER).sh("test -e /seen-startContainer && echo after; sleep 1000");
    let container = bundle.create();
    assert!(!bundle.rootfs().join("seen-startContainer").exists());
    let pid = container.pid();
    container.start().assert_ok();
    container.wait_for("after");
    let seen = seen(&bundle, START_CONTAINER);
    for namespace in OWN {
        let containers = namespace_of(&pid.to_string(), namespace);
        assert_eq!(seen.report.namespace(namespace), containers, "{namespace}");
    }
    let told = ["status", "pid", "id"].map(|name| seen.state[name].clone());
    assert_eq!(told, [json!("created"), json!(1), json!(bundle.id())]);
    // With the identity and the working directory of the process.
    assert_eq!(seen.report["cwd"], "/");
    let granted = ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"];
    assert_eq!(seen.report.capabilities("bounding"), granted);
    container.end();
}

fn start_container_hooks_write_to_the_output_of_the_container() {
    differs(
        Kind::Runc,
        "it keeps what they say for the error; config.md says nothing of standard output",
    );
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo from the hook; pwd"]});
    let bundle = add(Bundle::new(), START_CONTAINER, hook)
        .set("/process/cwd", json!("/tmp"))
        .sh("echo from the program");
    let outcome = bundle.run().assert_ok();
    assert_eq!(outcome.stdout, "from the hook\n/tmp\nfrom the program\n");
}

fn poststart_hooks_run_after_the_program_and_before_start_returns() {
    differs(Kind::Runc, BEFORE_THE_PROGRAM);
    let bundle = probing(POSTSTART);
    let look = format!(
        "{READ_PID}; tr '\\0' ' ' < /proc/$pid/cmdline >> {0}; sleep 0.1; echo >> {0}",
        notes(&bundle).display()
    );
    let bundle = add(bundle, POSTSTART, script(&look));
    let container = bundle.create();
    assert!(!bundle.path().join("seen-poststart").exists());
    let pid = container.pid();
    container.start().assert_ok();
    assert_eq!(noted(&bundle), ["/probe sleep "]);
    let seen = seen(&bundle, POSTSTART);
    let told = ["status", "pid"].map(|name| seen.state[name].clone());
    assert_eq!(told, [json!("running"), json!(pid)]);
    assert_eq!(
        seen.report.namespace("mnt"),
        namespace_of("self", "mnt"),
        "the runtime's namespaces"
    );
    assert_eq!(seen.report["cwd"], bundle.path().to_str().unwrap());
    container.end();
}

/// "The poststop hooks MUST be called after the container is deleted but before the delete
/// operation returns."
fn poststop_hooks_run_after_the_container_is_deleted() {
    let bundle = probing(POSTSTOP);
    let state = bundle.runtime().root().join(bundle.id());
    let container = bundle.create();
    let cgroup = cgroup_of(container.pid(), "memory");
    let look = format!(
        "for left in {} {}; do test -e $left && echo left: $left; done >> {}; \
         echo done >> {}",
        state.display(),
        cgroup.display(),
        notes(&bundle).display(),
        notes(&bundle).display(),
    );
    container.end();
    // A second pass, because the names are known only now.
    let bundle = add(bundle, POSTSTOP, script(&look));
    let container = bundle.create();
    let pid = container.pid();
    container.start().assert_ok();
    container.kill("KILL").assert_ok();
    wait_gone(pid);
    assert_eq!(noted(&bundle), [""; 0]);
    container.delete().assert_ok();
    assert_eq!(noted(&bundle), ["done"]);
    let seen = seen(&bundle, POSTSTOP);
    assert_eq!(seen.state["status"], "stopped");
    assert!(
        seen.state.get("pid").is_none_or(|pid| pid == 0),
        "{}",
        seen.state
    );
    assert_eq!(seen.state["id"], bundle.id());
}

/// The runtime and init exchange the additional message only when there are such hooks.
fn without_hooks_before_pivot_root_no_message_is_exchanged_for_them() {
    only_rt("it counts our own messages");
    needs_strace();
    let messages = |bundle: &Bundle| {
        let file = bundle.path().join("trace");
        let trace = ["strace", "-f", "-e", "trace=sendto,clone,clone3", "-o"];
        let through: Vec<&str> = trace.into_iter().chain([file.to_str().unwrap()]).collect();
        bundle.call_through(&through, "run", &[]).run().assert_ok();
        let text = read(&file);
        let count = |call: &str| text.lines().filter(|line| line.contains(call)).count();
        (count("sendto("), count("clone"))
    };
    let plain = || Bundle::new().args(&["/bin/true"]);
    let bundle = plain();
    let hook = note(&bundle, "poststop");
    // The messages Go, Ready, Go; one child.
    assert_eq!(messages(&bundle), (3, 1));
    assert_eq!(messages(&add(bundle, POSTSTOP, hook)), (3, 2));
    let bundle = plain();
    let hook = note(&bundle, "createRuntime");
    assert_eq!(messages(&add(bundle, CREATE_RUNTIME, hook)), (5, 2));
}
