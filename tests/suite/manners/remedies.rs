//! Errors of the setup say what to do where that is nearly always right.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::errors::assert_error;
use crate::harness::{Bundle, Directory, HostState, Outcome, only_rt, trials, wait_gone};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        an_executable_is_refused_by_the_file_that_is_in_the_way,
        a_program_in_path_that_cannot_be_executed_is_named,
        an_executable_on_a_noexec_mount_is_refused_by_the_mount,
        a_file_below_a_mount_is_not_looked_up_in_the_root,
        an_exec_process_names_the_file_that_is_in_the_way,
        a_missing_interpreter_is_named_by_start_and_exec,
        a_bind_source_names_what_is_missing,
        a_readonly_mount_is_named_by_what_it_keeps_from_being_made,
        the_last_mount_above_a_path_is_the_one_that_counts,
        a_mount_point_names_the_file_in_its_place,
        an_unknown_mount_option_is_explained,
        a_cpu_that_the_parent_cgroup_lacks_is_explained,
        a_disk_that_does_not_exist_is_explained,
        a_root_that_the_user_namespace_cannot_search_is_named,
        a_file_that_the_caller_may_not_use_is_named,
        a_pid_file_names_the_directory_that_is_missing,
        a_caller_who_cannot_lower_the_oom_score_is_told,
    ]
}

fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A bundle with the program /closed/app, in a directory that only root may search.
fn with_closed_directory() -> Bundle {
    let bundle = Bundle::new().executable("closed/app", "#!/bin/sh\n");
    chmod(bundle.rootfs().join("closed"), 0o700);
    bundle.user(1000, 1000).capabilities(&[])
}

const CLOSED: &str = "/closed has mode 0700, owner 0:0; uid 1000 needs the x bit";

fn an_executable_is_refused_by_the_file_that_is_in_the_way() {
    let bundle = with_closed_directory().args(&["/closed/app"]);
    assert_error(
        &bundle,
        &format!("process.args[0]: exec: \"/closed/app\": permission denied (EACCES; {CLOSED})"),
    );
    let bundle = Bundle::new().args(&["/opt/app/bin/server"]);
    assert_error(
        &bundle,
        "process.args[0]: exec: \"/opt/app/bin/server\": no such file or directory (ENOENT; there is no /opt)",
    );
    let bundle = Bundle::new()
        .symlink("bin/app", "/nowhere")
        .args(&["/bin/app"]);
    assert_error(
        &bundle,
        "process.args[0]: exec: \"/bin/app\": no such file or directory (ENOENT; /bin/app is a link to /nowhere, which is missing)",
    );
}

fn a_program_in_path_that_cannot_be_executed_is_named() {
    let path = json!(["PATH=/sbin:/bin"]);
    let bundle = Bundle::new().file("bin/app", "x").args(&["app"]);
    assert_error(
        &bundle.set("/process/env", path),
        "process.args[0]: exec: \"app\": executable file not found in $PATH \
         (/bin/app has mode 0644, owner 0:0; uid 0 needs the x bit)",
    );
    let bundle = Bundle::new().args(&["app"]).set("/process/env", json!([]));
    assert_error(
        &bundle,
        "process.args[0]: exec: \"app\": executable file not found in $PATH \
         (process.env has no PATH, so /bin and /usr/bin were searched)",
    );
}

fn volume() -> Directory {
    let volume = Directory::new();
    fs::write(volume.join("app"), "#!/bin/sh\n").unwrap();
    chmod(volume.join("app"), 0o755);
    volume
}

fn an_executable_on_a_noexec_mount_is_refused_by_the_mount() {
    let volume = volume();
    let bundle = Bundle::new().folder("mnt").args(&["/mnt/app"]);
    assert_error(
        &bundle.bind(volume.path(), "/mnt", &["bind", "noexec"]),
        "process.args[0]: exec: \"/mnt/app\": permission denied (EACCES; mounts[7] on /mnt has the option noexec)",
    );
}

/// What the root has at the path is not what the container sees there.
fn a_file_below_a_mount_is_not_looked_up_in_the_root() {
    let volume = volume();
    chmod(volume.join("app"), 0o644);
    let bundle = Bundle::new().file("mnt/app", "x").symlink("way", "/mnt");
    chmod(bundle.rootfs().join("mnt"), 0o600);
    let bundle = bundle.bind(volume.path(), "/mnt", &["bind"]);
    for path in ["/mnt/app", "/way/app"] {
        let line = format!("process.args[0]: exec: \"{path}\": permission denied (EACCES)");
        let bundle = Bundle::new().with_config(bundle.config().clone());
        let bundle = bundle.file("mnt/app", "x").symlink("way", "/mnt");
        assert_error(&bundle.args(&[path]), &line);
    }
}

/// An exec process sees the mounts of the container, and so does the hint.
fn an_exec_process_names_the_file_that_is_in_the_way() {
    only_rt("the texts are those of rt");
    let volume = volume();
    let bundle = with_closed_directory()
        .folder("mnt")
        .bind(volume.path(), "/mnt", &["bind", "noexec"])
        .file("bin/data", "x")
        .args(&["/probe", "sleep"]);
    let before = HostState::of(&bundle);
    let container = bundle.run_detached();
    let exec = |args: &[&str]| {
        let args = [&["exec"], args].concat();
        let outcome = bundle.runtime().call(&args).run().assert_code(255);
        let line = outcome.one_line();
        let start = format!("rt exec: {}: ", container.id());
        line.strip_prefix(&start).unwrap().to_owned()
    };
    let id = container.id();
    assert_eq!(
        exec(&[id, "/closed/app"]),
        format!("process.args[0]: exec: \"/closed/app\": permission denied (EACCES; {CLOSED})")
    );
    assert_eq!(
        exec(&["--user", "0:0", id, "/bin/data"]),
        "process.args[0]: exec: \"/bin/data\": permission denied \
         (EACCES; /bin/data has mode 0644, owner 0:0; uid 0 needs the x bit)"
    );
    assert_eq!(
        exec(&[id, "/mnt/app"]),
        "process.args[0]: exec: \"/mnt/app\": permission denied (EACCES; /mnt/app is on a mount with noexec)"
    );
    assert_eq!(
        exec(&[id, "/opt/app"]),
        "process.args[0]: exec: \"/opt/app\": no such file or directory (ENOENT; there is no /opt)"
    );
    assert_eq!(
        exec(&["--cwd", "/srv/data", id, "/bin/true"]),
        "process.cwd: enter \"/srv/data\": no such file or directory (ENOENT; there is no /srv)"
    );
    container.end();
    before.assert_unchanged(&bundle);
}

/// runc's text comes first, because engines and users look for it.
fn a_missing_interpreter_is_named_by_start_and_exec() {
    only_rt("other runtimes print the errno only");
    let reason = "exec /bin/app: no such file or directory \
                  (its interpreter /bin/sh\\r is not in the root; the lines of the script end with CR LF)\n";
    let bundle = Bundle::new().executable("bin/app", "#!/bin/sh\r\necho\r\n");
    let before = HostState::of(&bundle);
    let bundle = bundle.args(&["/bin/app"]);
    let container = bundle.create();
    let pid = container.pid();
    container.start().assert_ok();
    container.wait_stopped();
    wait_gone(pid);
    assert_eq!(container.stderr(), reason);
    container.delete().assert_ok();
    let bundle = bundle.args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let exec = bundle.runtime().call(&["exec", container.id(), "/bin/app"]);
    assert_eq!(exec.run().stderr, reason);
    container.end();
    before.assert_unchanged(&bundle);
}

fn a_bind_source_names_what_is_missing() {
    let volume = volume();
    let at = volume.path().display();
    std::os::unix::fs::symlink("/nowhere", volume.join("link")).unwrap();
    for (source, reason) in [
        (
            "data",
            "not found (ENOENT; create it on the host)".to_owned(),
        ),
        (
            "data/db",
            format!("not found (ENOENT; there is no {at}/data)"),
        ),
        (
            "link",
            format!("not found (ENOENT; {at}/link is a link to /nowhere, which is missing)"),
        ),
        (
            "app/x",
            format!("not a directory (ENOTDIR; {at}/app is not a directory)"),
        ),
    ] {
        let bundle = Bundle::new().bind(&volume.join(source), "/tmp", &["rbind"]);
        let line = format!("mounts[7]: bind {at}/{source} on /tmp: open the source: {reason}");
        assert_error(&bundle, &line);
    }
}

fn tmpfs(destination: &str) -> Value {
    json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs" })
}

fn a_readonly_mount_is_named_by_what_it_keeps_from_being_made() {
    let volume = volume();
    let bundle = || {
        let bundle = Bundle::new().writable().folder("mnt");
        bundle.bind(volume.path(), "/mnt", &["bind", "ro"])
    };
    let readonly = "read-only file system (EROFS; mounts[7] on /mnt is read-only)";
    assert_error(
        &bundle().mount(tmpfs("/mnt/a/b")),
        &format!("mounts[8]: mount tmpfs on /mnt/a/b: make the mount point: {readonly}"),
    );
    only_rt("other runtimes have other rules for these files");
    let device = json!([{"path": "/mnt/null", "type": "c", "major": 1, "minor": 3}]);
    assert_error(
        &bundle().set("/linux/devices", device),
        &format!("linux.devices[0]: make /mnt/null: {readonly}"),
    );
    assert_error(
        &bundle().set("/process/cwd", json!("/mnt/work")),
        &format!("process.cwd: enter \"/mnt/work\": {readonly}"),
    );
}

/// A later mount hides an earlier one, and a bind mount is as read-only as its source.
fn the_last_mount_above_a_path_is_the_one_that_counts() {
    let (readonly, writable) = (volume(), Directory::new());
    let bundle = Bundle::new()
        .writable()
        .folder("mnt")
        .bind(writable.path(), "/mnt", &["bind"])
        .mount(tmpfs("/mnt/sub"))
        .bind(readonly.path(), "/mnt", &["bind", "ro"])
        .mount(tmpfs("/mnt/sub/x"));
    assert_error(
        &bundle,
        "mounts[10]: mount tmpfs on /mnt/sub/x: make the mount point: \
         read-only file system (EROFS; mounts[9] on /mnt is read-only)",
    );
}

fn a_mount_point_names_the_file_in_its_place() {
    let bundle = Bundle::new().file("srv", "x").mount(tmpfs("/srv/data"));
    assert_error(
        &bundle,
        "mounts[7]: mount tmpfs on /srv/data: make the mount point: \
         not a directory (ENOTDIR; /srv is not a directory)",
    );
}

fn an_unknown_mount_option_is_explained() {
    let mut mount = tmpfs("/tmp");
    mount["options"] = json!(["sice=1m"]);
    assert_error(
        &Bundle::new().mount(mount),
        "mounts[7].options: mount tmpfs on /tmp with \"sice=1m\": invalid argument \
         (EINVAL; does this kernel's file system have the option, and take its value?)",
    );
}

/// `run` fails, and the line ends with `end`.
#[track_caller]
fn assert_end(bundle: &Bundle, start: &str, end: &str) {
    let before = HostState::of(bundle);
    let outcome = bundle.run().assert_code(1);
    before.assert_unchanged(bundle);
    let line = outcome.one_line();
    let start = format!("rt run: {}: {start}", bundle.id());
    assert!(line.starts_with(&start) && line.ends_with(end), "{outcome}");
}

fn a_cpu_that_the_parent_cgroup_lacks_is_explained() {
    only_rt("the texts are those of rt");
    let cpus = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    let bundle = Bundle::new().set("/linux/resources/cpu", json!({"cpus": "4000"}));
    assert_end(
        &bundle,
        "linux.resources.cpu.cpus: write \"4000\" to cpuset.cpus: ",
        &format!("; the parent cgroup has cpus {})", cpus.trim()),
    );
}

fn a_disk_that_does_not_exist_is_explained() {
    only_rt("the texts are those of rt");
    let rate = json!([{"major": 250, "minor": 77, "rate": 1000}]);
    let field = "/linux/resources/blockIO/throttleReadBpsDevice";
    assert_end(
        &Bundle::new().set(field, rate),
        "linux.resources.blockIO.throttleReadBpsDevice[0]: write \"250:77 ",
        "no such device (ENODEV; no disk has these numbers; a partition has no limits of its own)",
    );
}

fn a_root_that_the_user_namespace_cannot_search_is_named() {
    only_rt("other runtimes fail in other steps");
    let ids = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let bundle = Bundle::new()
        .namespace("user", None)
        .set("/linux/uidMappings", ids.clone())
        .set("/linux/gidMappings", ids);
    chmod(bundle.rootfs(), 0o700);
    assert_error(
        &bundle,
        "mounts[0]: mount proc on /proc: make the mount point: permission denied \
         (EACCES; the container's root directory has mode 0700, owner 0:0; \
         the container's root, uid 100000 on the host, needs the x bit)",
    );
}

const USER: [&str; 6] = [
    "setpriv",
    "--reuid=4001",
    "--regid=4001",
    "--clear-groups",
    "--inh-caps=-all",
    "--",
];

#[track_caller]
fn assert_line(outcome: &Outcome, bundle: &Bundle, line: &str) {
    let line = line.replace("BUNDLE", bundle.path().to_str().unwrap());
    assert_eq!(outcome.one_line(), line, "{outcome}");
}

fn a_file_that_the_caller_may_not_use_is_named() {
    only_rt("the texts are those of rt");
    let bundle = Bundle::new();
    bundle.write();
    let id = bundle.id();
    let call = |verb: &str| bundle.call_as_written(&USER, verb, &[]).run();
    let config = bundle.path().join("config.json");
    chmod(&config, 0o600);
    assert_line(
        &call("create"),
        &bundle,
        &format!(
            "rt create: {id}: BUNDLE/config.json: permission denied \
             (EACCES; BUNDLE/config.json has mode 0600, owner 0:0; uid 4001 needs the r bit)"
        ),
    );
    chmod(bundle.path(), 0o700);
    assert_line(
        &call("run"),
        &bundle,
        &format!(
            "rt run: {id}: BUNDLE/config.json: permission denied \
             (EACCES; BUNDLE has mode 0700, owner 0:0; uid 4001 needs the x bit)"
        ),
    );
    chmod(bundle.path(), 0o755);
    let log = bundle.path().join("log");
    let args = ["--log", log.to_str().unwrap(), "list"];
    assert_line(
        &bundle.runtime().call_through(&USER, &args).run(),
        &bundle,
        "rt: --log BUNDLE/log: permission denied \
         (EACCES; BUNDLE has mode 0755, owner 0:0; uid 4001 needs the w bit)",
    );
}

fn a_pid_file_names_the_directory_that_is_missing() {
    only_rt("the texts are those of rt");
    let bundle = Bundle::new().args(&["/bin/true"]);
    let path = bundle.path().join("run/web.pid");
    let before = HostState::of(&bundle);
    let outcome = bundle.call("create", &["--pid-file", path.to_str().unwrap()]);
    let outcome = outcome.run().assert_code(1);
    before.assert_unchanged(&bundle);
    let id = bundle.id();
    assert_line(
        &outcome,
        &bundle,
        &format!(
            "rt create: {id}: pid file BUNDLE/run/web.pid: not found (ENOENT; there is no BUNDLE/run)"
        ),
    );
}

fn a_caller_who_cannot_lower_the_oom_score_is_told() {
    only_rt("runc ignores it");
    let bundle = Bundle::new().set("/process/oomScoreAdj", json!(-900));
    let dropped = ["setpriv", "--bounding-set=-sys_resource", "--"];
    let before = HostState::of(&bundle);
    let outcome = bundle.call_through(&dropped, "run", &[]).run();
    before.assert_unchanged(&bundle);
    assert_line(
        &outcome.assert_code(1),
        &bundle,
        &format!(
            "rt run: {}: process.oomScoreAdj: set -900: permission denied \
             (EACCES; a score below the caller's needs CAP_SYS_RESOURCE)",
            bundle.id()
        ),
    );
}
