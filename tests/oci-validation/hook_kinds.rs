//! config.md, "POSIX-platform Hooks": where each kind of hook is executed, and its properties. hooks.rs has the order.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::common::{Known, assert_error_with_its_args, expect_known, sleeper};
use crate::harness::{Bundle, namespace_of, test};
use crate::runner::Test;

/// A kind of hook.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    /// Whether it is executed in the container namespace.
    inside: bool,
    /// Whether its path resolves there.
    path_inside: bool,
    /// The status of the state that it gets.
    status: &'static str,
}

const KINDS: [Kind; 6] = [
    Kind {
        name: "prestart",
        inside: false,
        path_inside: false,
        status: "creating",
    },
    Kind {
        name: "createRuntime",
        inside: false,
        path_inside: false,
        status: "creating",
    },
    Kind {
        name: "createContainer",
        inside: true,
        path_inside: false,
        status: "creating",
    },
    Kind {
        name: "startContainer",
        inside: true,
        path_inside: true,
        status: "created",
    },
    Kind {
        name: "poststart",
        inside: false,
        path_inside: false,
        status: "running",
    },
    Kind {
        name: "poststop",
        inside: false,
        path_inside: false,
        status: "stopped",
    },
];
/// What a test does for one of them.
type Check = fn(Kind);

pub(crate) fn tests() -> Vec<Test> {
    let checks: [(&str, Check); 10] = [
        ("is_executed_in_its_namespace", is_executed_in_its_namespace),
        (
            "path_resolves_in_its_namespace",
            path_resolves_in_its_namespace,
        ),
        ("gets_the_state", gets_the_state),
        (
            "are_called_in_the_listed_order",
            are_called_in_the_listed_order,
        ),
        (
            "has_its_arguments_and_environment",
            has_its_arguments_and_environment,
        ),
        (
            "with_a_relative_path_is_an_error",
            with_a_relative_path_is_an_error,
        ),
        ("without_a_path_is_an_error", without_a_path_is_an_error),
        (
            "with_a_timeout_of_zero_is_an_error",
            with_a_timeout_of_zero_is_an_error,
        ),
        (
            "with_a_negative_timeout_is_an_error",
            with_a_negative_timeout_is_an_error,
        ),
        ("that_takes_too_long_fails", that_takes_too_long_fails),
    ];
    let of_kind = |kind: Kind| {
        checks.map(|(name, check)| {
            let full = format!("{}::{name}", kind.name);
            test(format!("hooks::{full}"), move || {
                for known in [name, &full] {
                    expect_known(known, RUNC, CRUN);
                }
                check(kind);
            })
        })
    };
    KINDS.into_iter().flat_map(of_kind).collect()
}

/// What runc does not do.
const RUNC: Known = &[
    (
        "createContainer::with_a_relative_path_is_an_error",
        "finds the program",
    ),
    (
        "startContainer::with_a_relative_path_is_an_error",
        "finds the program",
    ),
    (
        "startContainer::that_takes_too_long_fails",
        "its start reports nothing",
    ),
    ("poststart::gets_the_state", "its create calls it"),
    ("poststop::with_a_relative_path_is_an_error", AT_DELETE),
    ("poststop::without_a_path_is_an_error", AT_DELETE),
    ("poststop::with_a_timeout_of_zero_is_an_error", AT_DELETE),
    ("poststop::with_a_negative_timeout_is_an_error", AT_DELETE),
];

/// What crun does not do, for every kind of hook or for one.
const CRUN: Known = &[
    ("with_a_timeout_of_zero_is_an_error", "takes it for none"),
    ("prestart::gets_the_state", "says that it is created"),
    ("createRuntime::gets_the_state", "says that it is created"),
    ("createContainer::gets_the_state", "says that it is created"),
    (
        "startContainer::gets_the_state",
        "says that the bundle is /",
    ),
    (
        "startContainer::with_a_relative_path_is_an_error",
        "finds the program",
    ),
    (
        "startContainer::that_takes_too_long_fails",
        "its start reports nothing",
    ),
    (
        "poststart::with_a_relative_path_is_an_error",
        "its start reports nothing",
    ),
    (
        "poststart::that_takes_too_long_fails",
        "its start reports nothing",
    ),
    ("poststop::with_a_relative_path_is_an_error", AT_DELETE),
    ("poststop::with_a_negative_timeout_is_an_error", AT_DELETE),
];

const AT_DELETE: &str = "notices it when the container is deleted";

/// The environment in which a shell of the host finds its programs.
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// A file that hooks of this kind can write, as they see it and as the test sees it.
fn file_of(bundle: &Bundle, kind: Kind) -> (PathBuf, PathBuf) {
    if kind.path_inside {
        return ("/from-hook".into(), bundle.rootfs().join("from-hook"));
    }
    let path = bundle.path().join("from-hook");
    (path.clone(), path)
}

/// A container whose hooks of this kind run scripts, in which `$out` is the file of `file_of`.
fn with_scripts(kind: Kind, scripts: &[&str]) -> (Bundle, PathBuf) {
    let mut bundle = sleeper().writable();
    let (inner, outer) = file_of(&bundle, kind);
    for script in scripts {
        // A hook reads its input to the end: some runtimes take an early end for a failure.
        let script = format!("out={}; {script}; cat > /dev/null", inner.display());
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": [PATH]});
        bundle = bundle.set(&format!("/hooks/{}/-", kind.name), hook);
    }
    (bundle, outer)
}

/// Takes a container through its whole life.
#[track_caller]
fn live(bundle: &Bundle) -> Life {
    let container = bundle.create();
    let pid = container.pid();
    let namespace = |name: &str| namespace_of(&pid.to_string(), name);
    let life = Life {
        pid,
        namespaces: ["mnt", "net", "pid"].map(namespace),
    };
    container.start().assert_ok();
    container.kill("KILL").assert_ok();
    crate::harness::wait_gone(pid);
    container.wait_stopped();
    container.delete().assert_ok();
    life
}

/// What is known of a container that is gone.
struct Life {
    pid: i32,
    namespaces: [String; 3],
}

#[track_caller]
fn read(file: &PathBuf) -> String {
    fs::read_to_string(file).unwrap_or_else(|e| panic!("the hook has written nothing: {e}"))
}

/// "The prestart hooks MUST be executed in the runtime namespace", "The createContainer hooks MUST be executed in the
/// container namespace" and so on.
fn is_executed_in_its_namespace(kind: Kind) {
    let script =
        "cat > /dev/null; for name in mnt net; do readlink /proc/self/ns/$name; done > $out";
    let (bundle, file) = with_scripts(kind, &[script]);
    let life = live(&bundle);
    let seen: Vec<String> = read(&file).lines().map(str::to_owned).collect();
    if kind.inside {
        assert_eq!(seen, life.namespaces[..2]);
    } else {
        assert_eq!(seen[1], namespace_of("self", "net"));
        assert_ne!(seen[0], life.namespaces[0]);
    }
}

/// "The prestart hooks' path MUST resolve in the runtime namespace", "The startContainer hooks' path MUST resolve in the
/// container namespace" and so on.
fn path_resolves_in_its_namespace(kind: Kind) {
    let bundle = sleeper().writable();
    let (inner, outer) = file_of(&bundle, kind);
    let script = |word: &str| {
        format!(
            "#!/bin/sh\necho {word} > {}; cat > /dev/null\n",
            inner.display()
        )
    };
    // Each of the two has a file of this name, with its own content.
    let bundle = bundle.executable("opt/conformance-hook", &script("container"));
    let on_host = bundle.path().join("host");
    fs::create_dir(&on_host).unwrap();
    fs::copy(
        bundle.rootfs().join("opt/conformance-hook"),
        on_host.join("conformance-hook"),
    )
    .unwrap();
    fs::write(on_host.join("conformance-hook"), script("runtime")).unwrap();
    let place = if kind.path_inside {
        "/opt".into()
    } else {
        on_host
    };
    let path = place.join("conformance-hook");
    let bundle = bundle.set(&format!("/hooks/{}", kind.name), json!([{"path": path}]));
    live(&bundle);
    let expected = if kind.path_inside {
        "container\n"
    } else {
        "runtime\n"
    };
    assert_eq!(read(&outer), expected);
}

/// "The state of the container MUST be passed to hooks over stdin".
fn gets_the_state(kind: Kind) {
    let (bundle, file) = with_scripts(kind, &["cat > $out"]);
    let bundle = bundle.set("/annotations", json!({"org.example.key": "value"}));
    let life = live(&bundle);
    let state: Value = serde_json::from_str(&read(&file)).unwrap();
    assert_eq!(state["id"], bundle.id());
    assert_eq!(state["bundle"], bundle.path().to_str().unwrap());
    assert_eq!(state["annotations"]["org.example.key"], "value");
    assert_eq!(state["status"], kind.status);
    assert!(state["ociVersion"].is_string());
    if kind.name == "startContainer" {
        // "For hooks executed in the container namespace, it is the pid as seen by the container."
        assert_eq!(state["pid"], 1);
    } else if !kind.inside && kind.name != "poststop" {
        assert_eq!(state["pid"], life.pid);
    }
}

/// "Hooks MUST be called in the listed order."
fn are_called_in_the_listed_order(kind: Kind) {
    let scripts = ["echo 1 >> $out", "echo 2 >> $out", "echo 3 >> $out"];
    let (bundle, file) = with_scripts(kind, &scripts);
    live(&bundle);
    assert_eq!(read(&file), "1\n2\n3\n");
}

/// "args … with the same semantics as execv's argv", "env … with the same semantics as environ".
fn has_its_arguments_and_environment(kind: Kind) {
    let bundle = sleeper().writable();
    let (inner, outer) = file_of(&bundle, kind);
    let script = "echo \"$0 $1 $WORD $HOME\" > $OUT; cat > /dev/null";
    let out = format!("OUT={}", inner.display());
    let hook = json!({
        "path": "/bin/sh", "args": ["sh", "-c", script, "zero", "one two"], "env": ["WORD=three", "PATH=/usr/bin:/bin", out],
    });
    let bundle = bundle.set(&format!("/hooks/{}", kind.name), json!([hook]));
    live(&bundle);
    assert_eq!(read(&outer), "zero one two three \n");
}

fn with_hook(kind: Kind, hook: Value) -> Bundle {
    // It writes nothing: a poststart hook is called when it has been executed.
    let bundle = Bundle::new().args(&["/bin/true"]);
    bundle.set(&format!("/hooks/{}", kind.name), json!([hook]))
}

/// "This specification extends the IEEE standard in that path MUST be absolute."
fn with_a_relative_path_is_an_error(kind: Kind) {
    assert_error_with_its_args(&with_hook(kind, json!({"path": "bin/true"})));
}

/// "path (string, REQUIRED)".
fn without_a_path_is_an_error(kind: Kind) {
    assert_error_with_its_args(&with_hook(kind, json!({"args": ["true"]})));
}

/// "If set, timeout MUST be greater than zero."
fn with_a_timeout_of_zero_is_an_error(kind: Kind) {
    assert_error_with_its_args(&with_hook(kind, json!({"path": "/bin/cat", "timeout": 0})));
}

fn with_a_negative_timeout_is_an_error(kind: Kind) {
    assert_error_with_its_args(&with_hook(kind, json!({"path": "/bin/cat", "timeout": -1})));
}

/// "timeout (int, OPTIONAL) is the number of seconds before aborting the hook."
fn that_takes_too_long_fails(kind: Kind) {
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "exec sleep 1000"], "env": [PATH], "timeout": 1});
    let bundle = sleeper().set(&format!("/hooks/{}", kind.name), json!([hook]));
    let outcome = bundle.call("create", &[]).run();
    let outcome = match kind.name {
        "startContainer" | "poststart" => bundle.container().start(),
        "poststop" => bundle.container().delete_force(),
        _ => outcome,
    };
    // "If any poststop hook fails, the runtime MUST log a warning".
    let is_error = outcome.code() != 0;
    assert_eq!(is_error, kind.name != "poststop", "{outcome}");
    assert_ne!(outcome.stderr, "", "neither an error nor a warning");
}
