//! Single commands: ps, exec, pause, run, delete. Each line says what is wrong, the status of the
//! container if that matters, and what to do where that is nearly always right. The beginnings
//! are runc's texts, which engines match.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{
    Bundle, Container, Directory, Outcome, Runtime, needs, only_rt, signal, trials, wait_until,
};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        ps_options_without_a_selection_mean_all_processes,
        ps_options_that_select_are_about_the_container,
        ps_of_an_empty_container_prints_the_header,
        ps_works_with_busybox,
        a_user_of_exec_is_a_number,
        an_exec_without_a_program_says_what_to_give,
        a_container_that_is_being_created_names_its_status,
        a_created_container_names_its_status,
        a_running_container_names_its_status,
        a_paused_container_names_its_status,
        a_stopped_container_names_its_status,
        an_id_in_use_names_the_container,
        a_missing_container_suggests_the_nearest,
        an_id_that_is_not_valid_says_why,
        a_bundle_that_is_missing_suggests_the_nearest,
        a_root_without_access_names_who_owns_it,
        a_root_that_is_not_safe_says_what_to_do,
        a_terminal_that_the_caller_lacks_has_a_remedy,
    ]
}

/// `rt VERB ID ARGUMENTS..` fails with this text after the id.
#[track_caller]
fn assert_says(bundle: &Bundle, verb: &str, arguments: &[&str], text: &str) {
    let mut call = vec![verb, bundle.id()];
    call.extend(arguments);
    assert_line(&bundle.runtime().call(&call).run(), bundle, verb, text);
}

/// The command has failed with `rt VERB: ID: TEXT`. `{id}` in the text stands for the id.
#[track_caller]
fn assert_line(outcome: &Outcome, bundle: &Bundle, verb: &str, text: &str) {
    let id = bundle.id();
    let line = format!("rt {verb}: {id}: {}\n", text.replace("{id}", id));
    assert_eq!((&*outcome.stderr, &*outcome.stdout), (&*line, ""));
    assert_eq!(outcome.code(), if verb == "exec" { 255 } else { 1 });
}

fn sleeper() -> Bundle {
    only_rt("the texts are rt's");
    Bundle::new().args(&["/probe", "sleep"])
}

/// A container whose first process is called `two words`, and has a child `sleep`.
fn two_words() -> (Bundle, Container) {
    only_rt("runc passes the options to ps as they are");
    needs("ps", "procps");
    let bundle = Bundle::new().executable("two words", "#!/bin/sh\nsleep 1000 &\nwait\n");
    let bundle = bundle.args(&["/two words"]);
    let container = bundle.run_detached();
    let pid = container.pid();
    let children = format!("/proc/{pid}/task/{pid}/children");
    wait_until("the child executes sleep", || {
        let child = fs::read_to_string(&children).unwrap();
        let name = fs::read_to_string(format!("/proc/{}/comm", child.trim()));
        name.is_ok_and(|name| name == "sleep\n")
    });
    (bundle, container)
}

/// The lines of `ps ID OPTIONS`, with sorted rows and without spaces around them.
#[track_caller]
fn ps(bundle: &Bundle, options: &[&str]) -> Vec<String> {
    let mut call = vec!["ps", bundle.id()];
    call.extend(options);
    sorted(&bundle.runtime().call(&call).run().assert_ok().stdout)
}

fn sorted(output: &str) -> Vec<String> {
    let mut lines: Vec<String> = output.lines().map(|line| line.trim().to_owned()).collect();
    lines.sort();
    lines
}

fn ps_options_without_a_selection_mean_all_processes() {
    let (bundle, container) = two_words();
    let pid = container.pid();
    for options in [
        &["-o", "comm"] as &[&str],
        &["o", "comm"],
        &["-eo", "comm"],
        &["axo", "comm"],
        &["-o comm"],
        &["--format", "comm"],
    ] {
        let lines = ps(&bundle, options);
        assert_eq!(lines, ["COMMAND", "sleep", "two words"], "{options:?}");
    }
    assert_eq!(ps(&bundle, &["-o", "comm="]), ["sleep", "two words"]);
    assert_eq!(ps(&bundle, &["h", "-o", "comm"]), ["sleep", "two words"]);
    let first = format!("two words {pid}");
    for options in [["-o", "comm,pid"], ["-eo", "comm,pid"], ["axo", "comm,pid"]] {
        let lines = ps(&bundle, &options);
        let words = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(
            lines.iter().map(words).any(|line| line == first),
            "{lines:?}"
        );
    }
    // The README's example.
    let lines = ps(&bundle, &["-o", "pid,comm"]);
    assert!(lines.contains(&format!("{pid} two words")), "{lines:?}");
    assert_eq!(lines.len(), 3);
    // Neither process runs on a CPU.
    assert_eq!(ps(&bundle, &["r", "-o", "comm"]), ["COMMAND"]);
}

fn ps_options_that_select_are_about_the_container() {
    let (bundle, container) = two_words();
    let first = container.pid().to_string();
    for options in [
        &["-u", "0", "-o", "comm,pid"] as &[&str],
        &["-p", &first, "-o", "comm,pid"],
        &["--pid", &first, "-o", "comm,pid"],
        // Also the process 1 of the host, which is not the container's.
        &["-p", &format!("1,{first}"), "-o", "comm,pid"],
        &["-u", "0", "-C", "sleep", "-o", "comm,pid"],
    ] {
        let lines = ps(&bundle, options);
        let found = lines
            .iter()
            .any(|line| line.starts_with("two words") && line.ends_with(&first));
        assert!(found && lines.len() <= 3, "{options:?}: {lines:?}");
    }
    assert_eq!(ps(&bundle, &["-p", "1", "-o", "pid"]), ["PID"]);
    assert_eq!(ps(&bundle, &["-C", "no such name", "-o", "pid"]), ["PID"]);
    let missing = "couldn't find PID field in ps output; add the column pid";
    assert_says(&bundle, "ps", &["-C", "sleep", "-o", "comm"], missing);
}

fn ps_of_an_empty_container_prints_the_header() {
    needs("ps", "procps");
    let bundle = sleeper();
    let container = bundle.run_detached();
    signal(container.pid(), Signal::SIGKILL);
    container.wait_stopped();
    assert_eq!(ps(&bundle, &["-o", "pid,comm"]), ["PID COMMAND"]);
    let empty: [&str; 0] = [];
    assert_eq!(ps(&bundle, &["-o", "pid="]), empty);
}

fn ps_works_with_busybox() {
    needs("ps", "procps");
    let (bundle, container) = two_words();
    let mount = "mount --bind /bin/busybox /usr/bin/ps && exec \"$@\"";
    let busybox = ["unshare", "-m", "sh", "-c", mount, "sh"];
    let call = |options: &[&str]| {
        let mut call = vec!["ps", bundle.id()];
        call.extend(options);
        bundle.runtime().call_through(&busybox, &call).run()
    };
    let output = call(&[]).assert_ok().stdout;
    assert!(output.starts_with("PID   USER     COMMAND\n"), "{output}");
    assert_eq!(output.lines().count(), 3, "{output}");
    let output = call(&["-o", "pid,comm"]).assert_ok().stdout;
    let first = format!("{} two words", container.pid());
    assert!(sorted(&output).contains(&first), "{output}");
    let text = "/usr/bin/ps: exit status: 1: /usr/bin/ps: invalid option -- 'L'";
    assert_line(&call(&["-L"]), &bundle, "ps", text);
}

fn a_user_of_exec_is_a_number() {
    let bundle = sleeper();
    let _container = bundle.run_detached();
    let refused = |flag: &str, value: &str, text: &str| {
        let call = ["exec", flag, value, bundle.id(), "/bin/id"];
        let outcome = bundle.runtime().call(&call).run();
        assert_line(&outcome, &bundle, "exec", &format!("{flag}: {text}"));
    };
    for (user, text) in [
        (
            "root",
            "\"root\" is a name; want a number, UID or UID:GID: --user 0",
        ),
        (
            "web",
            "\"web\" is a name; want a number, UID or UID:GID: --user 1000",
        ),
        (
            "0:wheel",
            "\"wheel\" is a name; want a number, UID or UID:GID: --user 0:1000",
        ),
        (
            "-1",
            "\"-1\" is negative; want a number, UID or UID:GID: --user 1000",
        ),
        (
            "4294967295",
            "\"4294967295\" is too large; want a number, UID or UID:GID: --user 1000",
        ),
        (
            "1e3",
            "\"1e3\" is not a number; want a number, UID or UID:GID: --user 1000",
        ),
    ] {
        refused("--user", user, text);
    }
    let text = "\"wheel\" is a name; want a number: --additional-gids 1000";
    refused("--additional-gids", "wheel", text);
}

fn an_exec_without_a_program_says_what_to_give() {
    let bundle = sleeper();
    let _container = bundle.run_detached();
    let text = "exec args cannot be empty; give a program, such as sh, after the id";
    assert_says(&bundle, "exec", &[], text);
}

fn a_container_that_is_being_created_names_its_status() {
    let hook = json!([{ "path": "/bin/sleep", "args": ["sleep", "1000"] }]);
    let bundle = sleeper().set("/hooks/createRuntime", hook);
    let create = bundle.call("create", &[]).start();
    let state = bundle.runtime().root().join(bundle.id()).join("state.json");
    wait_until("init in the state", || {
        let text = fs::read_to_string(&state).unwrap_or_default();
        text.contains("init_process_pid") && !text.contains("\"init_process_pid\":0,")
    });
    let text = "container with given ID already exists (creating)";
    assert_line(&bundle.call("create", &[]).run(), &bundle, "create", text);
    let text = "cannot exec in a container in the creating state";
    assert_says(&bundle, "exec", &["/bin/id"], text);
    for verb in ["pause", "kill"] {
        assert_says(&bundle, verb, &[], "container not running: creating");
    }
    assert_says(&bundle, "resume", &[], "container not paused: creating");
    let text = "cannot start a container in the creating state";
    assert_says(&bundle, "start", &[], text);
    let text =
        "cannot delete container {id} that is not stopped: creating (--force kills it first)";
    assert_says(&bundle, "delete", &[], text);
    bundle.container().delete_force().assert_ok();
    create.wait().assert_code(1);
}

fn a_created_container_names_its_status() {
    let bundle = sleeper();
    let _container = bundle.create();
    assert_says(&bundle, "resume", &[], "container not paused: created");
}

fn a_running_container_names_its_status() {
    let bundle = sleeper();
    let _container = bundle.run_detached();
    assert_says(&bundle, "resume", &[], "container not paused: running");
    let text = "cannot start an already running container";
    assert_says(&bundle, "start", &[], text);
    let text = "cannot delete container {id} that is not stopped: running (--force kills it first)";
    assert_says(&bundle, "delete", &[], text);
}

fn a_paused_container_names_its_status() {
    let bundle = sleeper();
    let container = bundle.create();
    container.call("pause", &[]).assert_ok();
    let text = "container not running: already paused";
    assert_says(&bundle, "pause", &[], text);
    let text = "cannot start a container in the paused state; resume it with rt resume {id}";
    assert_says(&bundle, "start", &[], text);
    let text = "cannot exec in a paused container (use --ignore-paused to override); resume it with rt resume {id}";
    assert_says(&bundle, "exec", &["/bin/id"], text);
    let text = "cannot delete container {id} that is not stopped: paused (--force kills it first)";
    assert_says(&bundle, "delete", &[], text);
}

fn a_stopped_container_names_its_status() {
    let bundle = sleeper();
    let container = bundle.run_detached();
    signal(container.pid(), Signal::SIGKILL);
    container.wait_stopped();
    assert_says(&bundle, "pause", &[], "container not running: stopped");
    assert_says(&bundle, "resume", &[], "container not paused: stopped");
    let text = "container not running: stopped; remove it with rt delete {id}";
    assert_says(&bundle, "kill", &["TERM"], text);
    let text = "cannot start a container that has stopped; remove it with rt delete {id}";
    assert_says(&bundle, "start", &[], text);
    let text = "cannot exec in a stopped container; remove it with rt delete {id}";
    assert_says(&bundle, "exec", &["/bin/id"], text);
    let update = ["update", "--pids-limit", "9", bundle.id()];
    let outcome = bundle.runtime().call(&update).run();
    assert_line(
        &outcome,
        &bundle,
        "update",
        "container not running: stopped",
    );
}

fn an_id_in_use_names_the_container() {
    let bundle = sleeper();
    let container = bundle.create();
    let created = container.state()["created"].as_str().unwrap().to_owned();
    // To the second.
    let created = format!("{}Z", created.split_once('.').unwrap().0);
    let in_use = |what: &str, flag: &str| {
        let text = format!(
            "container with given ID already exists ({what}created {created}); remove it with rt delete {flag}{{id}}"
        );
        for verb in ["create", "run"] {
            assert_line(&bundle.call(verb, &[]).run(), &bundle, verb, &text);
        }
    };
    in_use("", "");
    container.call("pause", &[]).assert_ok();
    in_use("paused, ", "--force ");
    container.call("resume", &[]).assert_ok();
    container.start().assert_ok();
    in_use("running, ", "--force ");
    signal(container.pid(), Signal::SIGKILL);
    container.wait_stopped();
    in_use("stopped, ", "");
    let state = bundle.runtime().root().join(bundle.id()).join("state.json");
    let whole = fs::read(&state).unwrap();
    fs::write(&state, "{").unwrap();
    let text = "container with given ID already exists (its state cannot be read); remove it with rt delete --force {id}";
    assert_line(&bundle.call("create", &[]).run(), &bundle, "create", text);
    fs::write(&state, whole).unwrap();
}

fn a_missing_container_suggests_the_nearest() {
    let bundle = sleeper().with_id("manners-near");
    let bundle = bundle.set("/linux/cgroupsPath", json!("/suite-manners-near"));
    let _container = bundle.create();
    let verbs = [
        "state", "start", "kill", "delete", "pause", "resume", "ps", "exec", "events", "stats",
    ];
    for (typed, suggestion) in [
        ("manners-naer", "; did you mean manners-near?"),
        ("Manners-near", "; did you mean manners-near?"),
        ("another", ""),
    ] {
        for verb in verbs {
            let mut call = vec![verb, typed];
            call.extend(["/bin/id"].iter().filter(|_| verb == "exec"));
            let outcome = bundle.runtime().call(&call).run();
            let line = format!("rt {verb}: {typed}: container does not exist{suggestion}\n");
            assert_eq!(outcome.stderr, line);
        }
    }
    // With --force it is no error.
    let call = bundle
        .runtime()
        .call(&["delete", "--force", "manners-naer"]);
    assert_eq!(call.run().assert_ok().stderr, "");
}

fn an_id_that_is_not_valid_says_why() {
    only_rt("the texts are rt's");
    let runtime = Runtime::new();
    let format = "invalid container ID format";
    let long = "x".repeat(300);
    let shown = &long[..64];
    for (verb, id, text) in [
        (
            "state",
            "",
            "container id cannot be empty; rt list shows the ids".to_owned(),
        ),
        (
            "state",
            "a b",
            format!("a b: {format}: ' ' is not allowed; use letters, digits, _, +, - and ."),
        ),
        ("state", "..", format!("..: {format}: it means a directory")),
        (
            "state",
            &long,
            format!("{shown}...: {format}: 300 characters; at most 255 are allowed"),
        ),
        (
            "run",
            "",
            "container id cannot be empty; give an id, or the directory of a bundle: ./DIR"
                .to_owned(),
        ),
    ] {
        let outcome = runtime.call(&[verb, id]).run().assert_code(1);
        assert_eq!(outcome.stderr, format!("rt {verb}: {text}\n"));
    }
    // The longest id.
    let bundle = sleeper().with_id(&long[..255]);
    let bundle = bundle.set("/linux/cgroupsPath", json!("/suite-manners-long"));
    bundle.create().delete().assert_ok();
}

fn a_bundle_that_is_missing_suggests_the_nearest() {
    only_rt("the texts are rt's");
    let runtime = Runtime::new();
    let home = Directory::new();
    let here = home.path().display();
    for name in ["web", "empty"] {
        fs::create_dir(home.join(name)).unwrap();
    }
    fs::write(home.join("web/config.json"), "{}").unwrap();
    let missing = format!("/config.json: not found (ENOENT); rt spec -b {here}");
    for (arguments, text) in [
        (
            &["wep"] as &[&str],
            format!(
                "wep: no config.json in {here}, and no directory \"wep\": give -b DIR ID; did you mean ./web?"
            ),
        ),
        (
            &["other"],
            format!("other: no config.json in {here}, and no directory \"other\": give -b DIR ID"),
        ),
        (
            &["empty"],
            format!("empty: {here}/empty{missing}/empty writes a template"),
        ),
        (
            &["-b", "empty", "x"],
            format!("x: {here}/empty{missing}/empty writes a template"),
        ),
    ] {
        let call = runtime.call(&[&["run"], arguments].concat());
        let outcome = call.with(|command| command.current_dir(home.path())).run();
        assert_eq!(outcome.assert_code(1).stderr, format!("rt run: {text}\n"));
    }
}

/// The runtime of the user 4001, with its containers below `home/rt`.
fn of_user() -> Runtime {
    only_rt("the texts are rt's");
    needs("setpriv", "util-linux");
    let user = [
        "setpriv",
        "--reuid=4001",
        "--regid=4001",
        "--clear-groups",
        "--inh-caps=-all",
    ];
    let variables = [
        "env",
        "-i",
        "PATH=/usr/bin:/bin",
        "USER=lodger",
        "XDG_RUNTIME_DIR=~",
    ];
    Runtime::new().of_caller(4001, &[&user[..], &variables].concat())
}

fn make_root(path: &Path, mode: u32) {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn a_root_without_access_names_who_owns_it() {
    let runtime = of_user();
    let root = runtime.root();
    let remedy = "run rt as root, or set --root or XDG_RUNTIME_DIR to a directory of your own";
    let denied = |action: &str, mode: &str| {
        format!(
            "--root {0}: permission denied (EACCES): user 4001 may not {action} {0} (mode {mode}, owner 0:0); {remedy}\n",
            root.display()
        )
    };
    make_root(&root, 0o700);
    let read = denied("read", "0700");
    let outcome = runtime.call(&["list"]).run().assert_code(1);
    assert_eq!(outcome.stderr, format!("rt list: {read}"));
    let outcome = runtime.call(&["state", "web"]).run().assert_code(1);
    assert_eq!(outcome.stderr, format!("rt state: web: {read}"));
    fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
    let id_map = json!([{ "containerID": 0, "hostID": 4001, "size": 1 }]);
    let bundle = Bundle::with_runtime(&runtime)
        .args(&["/bin/true"])
        .without_namespace("network")
        .namespace("user", None)
        .set("/linux/uidMappings", id_map.clone())
        .set("/linux/gidMappings", id_map)
        .remove("/linux/resources");
    assert_eq!(
        bundle.run().assert_code(1).stderr,
        format!("rt run: {}: {}", bundle.id(), denied("write to", "0755"))
    );
}

fn a_root_that_is_not_safe_says_what_to_do() {
    only_rt("runc accepts it");
    let runtime = Runtime::new();
    let root = runtime.root();
    make_root(&root, 0o777);
    let kept = "containers cannot be kept there";
    let text = format!(
        "--root {0}: users other than its owner can write to it (mode 0777): {kept}; chmod go-w {0}",
        root.display()
    );
    let outcome = runtime.call(&["list"]).run().assert_code(1);
    assert_eq!(outcome.stderr, format!("rt list: {text}\n"));
    fs::set_permissions(&root, Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&root, Some(4711), None).unwrap();
    let text = format!(
        "--root {}: belongs to user 4711, not to the user who runs rt: {kept}; set --root or XDG_RUNTIME_DIR to a directory of your own",
        root.display()
    );
    let outcome = runtime.call(&["list"]).run().assert_code(1);
    assert_eq!(outcome.stderr, format!("rt list: {text}\n"));
}

fn a_terminal_that_the_caller_lacks_has_a_remedy() {
    let text = "process.terminal: standard input is not a terminal, and neither are output and error; \
                call rt in a terminal, give --console-socket, or leave out \"terminal\": true (exec: -t)";
    let bundle = sleeper().set("/process/terminal", json!(true));
    let run = bundle.call_through(&["setsid", "--wait"], "run", &[]);
    assert_line(&run.run(), &bundle, "run", text);
    let bundle = sleeper();
    let _container = bundle.run_detached();
    let exec = ["exec", "-t", bundle.id(), "/bin/true"];
    let exec = bundle.runtime().call_through(&["setsid", "--wait"], &exec);
    assert_line(&exec.run(), &bundle, "exec", text);
}
