//! A user namespace, new or joined, beside each other kind of namespace: shared, new or
//! joined.
//!
//! The joined namespaces are owned by the user namespace that is joined with them (a pod of
//! a rootless user) or by the host's (a pod of root with a container that has its own users).

use crate::runner::Test;
use serde_json::json;

use super::{COUNT, FIRST, map, mappings};
use crate::harness::{
    Bundle, Holder, HostState, Kind, differs, is_the_matrix, namespace_of, only_rt,
    owner_of_namespace, trials,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_pid_namespace_works_beside_a_user_namespace,
        a_network_namespace_works_beside_a_user_namespace,
        an_ipc_namespace_works_beside_a_user_namespace,
        a_uts_namespace_works_beside_a_user_namespace,
        a_cgroup_namespace_works_beside_a_user_namespace,
        a_time_namespace_works_beside_a_user_namespace,
        a_mount_namespace_works_beside_a_user_namespace,
        all_namespaces_can_be_new,
        all_namespaces_can_be_joined,
        a_new_user_namespace_works_with_all_others_joined,
        a_joined_user_namespace_works_with_all_others_new,
        a_joined_user_namespace_works_with_all_others_shared,
        new_namespaces_belong_to_the_containers_user_namespace,
        every_combination_of_two_kinds_works_beside_a_user_namespace,
        a_joined_pid_namespace_shows_its_processes_in_a_new_proc,
        the_end_of_init_ends_all_processes_of_a_new_pid_namespace,
    ]
}

/// The names of the kinds in config.json and in /proc/PID/ns.
const KINDS: [(&str, &str); 7] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
    ("time", "time"),
    ("mount", "mnt"),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    New,
    Joined,
    Shared,
}

/// Which user namespace owns the namespaces to be joined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    /// That of the same holder.
    Holder,
    /// That of the host.
    Host,
}

const OTHERS: [&str; 8] = [
    "--pid",
    "--fork",
    "--net",
    "--ipc",
    "--uts",
    "--cgroup",
    "--time",
    "--mount-proc",
];

fn holder(owner: Owner) -> Holder {
    let maps = format!("0 {FIRST} {COUNT}");
    let flags = match owner {
        Owner::Holder => [&["--user"], &OTHERS[..]].concat(),
        Owner::Host => [&OTHERS[..], &["unshare", "--user"]].concat(),
    };
    Holder::with_maps(&flags, &maps, &maps)
}

/// A configuration: the mode of the user namespace and of each other kind.
struct Combination<'a> {
    holder: &'a Holder,
    owner: Owner,
    user: Mode,
    modes: [Mode; KINDS.len()],
}

impl Combination<'_> {
    fn mode(&self, kind: &str) -> Mode {
        let index = KINDS.iter().position(|(name, _)| *name == kind);
        self.modes[index.unwrap()]
    }

    /// Whether the container's user namespace owns its pid namespace. Without that, procfs
    /// cannot be mounted.
    fn has_own_proc(&self) -> bool {
        match self.mode("pid") {
            Mode::New => true,
            Mode::Joined => self.user == Mode::Joined && self.owner == Owner::Holder,
            Mode::Shared => false,
        }
    }

    fn bundle(&self) -> Bundle {
        let mut bundle = ["/dev/mqueue", "/sys", "/sys/fs/cgroup"]
            .iter()
            .fold(Bundle::new(), |bundle, place| bundle.without_mount(place))
            .remove("/hostname")
            .remove("/linux/maskedPaths");
        if self.mode("mount") != Mode::New {
            bundle = bundle
                .set("/mounts", json!([]))
                .remove("/linux/readonlyPaths")
                .remove("/root/readonly");
        } else if !self.has_own_proc() {
            let proc = json!({ "destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"] });
            bundle = bundle.set("/mounts/0", proc).remove("/linux/readonlyPaths");
        }
        for ((kind, link), mode) in KINDS.into_iter().zip(self.modes) {
            bundle = match mode {
                Mode::New => bundle.namespace(kind, None),
                Mode::Joined => bundle.namespace(kind, Some(&self.holder.path(link))),
                Mode::Shared => bundle.without_namespace(kind),
            };
        }
        match self.user {
            Mode::New => map(bundle, &[(0, FIRST, COUNT)]),
            Mode::Joined => {
                let bundle = bundle.namespace("user", Some(&self.holder.path("user")));
                let entries = mappings(&[(0, FIRST, COUNT)]);
                // The old runc requires them.
                bundle
                    .set("/linux/uidMappings", entries.clone())
                    .set("/linux/gidMappings", entries)
            }
            Mode::Shared => bundle,
        }
    }

    /// Runs the container and checks its namespaces on the host and, if it has a /proc, in the
    /// container.
    #[track_caller]
    fn check(&self) {
        let bundle = self.bundle().args(&["/probe", "sleep"]);
        let outcome = bundle.call("run", &["--detach"]).run();
        assert_eq!(outcome.code(), 0, "{self}\n{outcome}");
        let container = bundle.container();
        let pid = container.pid();
        self.compare(
            "user",
            "user",
            self.user,
            &namespace_of(&pid.to_string(), "user"),
        );
        for ((kind, link), mode) in KINDS.into_iter().zip(self.modes) {
            self.compare(kind, link, mode, &namespace_of(&pid.to_string(), link));
        }
        container.end();
        if self.mode("mount") != Mode::New {
            return;
        }
        let outcome = bundle.probe_call(&[], &[]).run();
        assert_eq!(outcome.code(), 0, "{self}\n{outcome}");
        let seen = crate::harness::Report::parse(&outcome.stdout);
        assert_eq!(
            (&seen["uid"], &seen["gid"]),
            (&json!(0), &json!(0)),
            "{self}"
        );
        assert_eq!(
            super::numbers(&seen["uid_map"]),
            [(0, FIRST, COUNT)],
            "{self}"
        );
        for ((kind, link), mode) in KINDS.into_iter().zip(self.modes) {
            // This works for namespaces that the container's user namespace does not own too.
            self.compare(kind, link, mode, &seen.namespace(link));
        }
    }

    #[track_caller]
    fn compare(&self, kind: &str, link: &str, mode: Mode, actual: &str) {
        let (host, joined) = (namespace_of("self", link), self.holder.namespace(link));
        let matches = match mode {
            Mode::New => !actual.is_empty() && actual != host && actual != joined,
            Mode::Joined => actual == joined,
            Mode::Shared => actual == host,
        };
        assert!(
            matches,
            "{kind} is {actual}, not {mode:?}; host {host}, holder {joined}\n{self}"
        );
    }
}

impl std::fmt::Display for Combination<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "  user {:?} of {:?};", self.user, self.owner)?;
        for ((kind, _), mode) in KINDS.into_iter().zip(self.modes) {
            write!(f, " {kind} {mode:?}")?;
        }
        Ok(())
    }
}

/// As in the template: pid, network, ipc, uts and mount are new; cgroup and time are shared.
const BASE: [Mode; KINDS.len()] = [
    Mode::New,
    Mode::New,
    Mode::New,
    Mode::New,
    Mode::Shared,
    Mode::Shared,
    Mode::New,
];

/// Debian's runc and crun enter the user namespace first, and then may not enter namespaces
/// that the host owns.
fn is_unsupported_by_others(owner: Owner, user: Mode) -> bool {
    Kind::under_test() != Kind::Rt && owner == Owner::Host && user == Mode::Joined
}

/// Checks a kind in its three modes, beside a new and a joined user namespace.
fn check_kind(kind: &str) {
    let index = KINDS.iter().position(|(name, _)| *name == kind).unwrap();
    for owner in [Owner::Holder, Owner::Host] {
        let holder = holder(owner);
        for user in [Mode::New, Mode::Joined] {
            for mode in [Mode::New, Mode::Joined, Mode::Shared] {
                if is_unsupported_by_others(owner, user) {
                    continue;
                }
                let mut modes = BASE;
                modes[index] = mode;
                Combination {
                    holder: &holder,
                    owner,
                    user,
                    modes,
                }
                .check();
            }
        }
    }
}

fn a_pid_namespace_works_beside_a_user_namespace() {
    check_kind("pid");
}

fn a_network_namespace_works_beside_a_user_namespace() {
    check_kind("network");
}

fn an_ipc_namespace_works_beside_a_user_namespace() {
    check_kind("ipc");
}

fn a_uts_namespace_works_beside_a_user_namespace() {
    check_kind("uts");
}

fn a_cgroup_namespace_works_beside_a_user_namespace() {
    check_kind("cgroup");
}

fn a_time_namespace_works_beside_a_user_namespace() {
    differs(Kind::Runc, "the old one does not support time namespaces");
    check_kind("time");
}

/// The runtime uses chroot(2) if the mount namespace is not new.
fn a_mount_namespace_works_beside_a_user_namespace() {
    only_rt("Debian's change the mount namespace that they join");
    check_kind("mount");
}

fn check_all(user: Mode, others: Mode) {
    for owner in [Owner::Holder, Owner::Host] {
        if is_unsupported_by_others(owner, user) {
            continue;
        }
        let holder = holder(owner);
        let mut modes = [others; KINDS.len()];
        // The probe needs a new mount namespace. `all_namespaces_can_be_joined` has none.
        modes[KINDS.len() - 1] = Mode::New;
        if Kind::under_test() == Kind::Runc {
            modes[KINDS.len() - 2] = Mode::Shared;
        }
        let combination = Combination {
            holder: &holder,
            owner,
            user,
            modes,
        };
        let before = HostState::of(&combination.bundle());
        combination.check();
        before.assert_unchanged(&combination.bundle());
        if Kind::under_test() == Kind::Rt {
            let modes = [others; KINDS.len()];
            Combination {
                holder: &holder,
                owner,
                user,
                modes,
            }
            .check();
        }
    }
}

fn all_namespaces_can_be_new() {
    check_all(Mode::New, Mode::New);
}

fn all_namespaces_can_be_joined() {
    check_all(Mode::Joined, Mode::Joined);
}

fn a_new_user_namespace_works_with_all_others_joined() {
    check_all(Mode::New, Mode::Joined);
}

fn a_joined_user_namespace_works_with_all_others_new() {
    check_all(Mode::Joined, Mode::New);
}

fn a_joined_user_namespace_works_with_all_others_shared() {
    check_all(Mode::Joined, Mode::Shared);
}

/// Root in the container could not configure namespaces that the host owns.
fn new_namespaces_belong_to_the_containers_user_namespace() {
    let holder = holder(Owner::Holder);
    for user in [Mode::New, Mode::Joined] {
        let mut modes = [Mode::New; KINDS.len()];
        if Kind::under_test() == Kind::Runc {
            modes[KINDS.len() - 2] = Mode::Shared;
        }
        let combination = Combination {
            holder: &holder,
            owner: Owner::Holder,
            user,
            modes,
        };
        let bundle = combination.bundle().args(&["/probe", "sleep"]);
        let pid = bundle.run_detached().pid();
        let own = namespace_of(&pid.to_string(), "user");
        for ((kind, link), mode) in KINDS.into_iter().zip(modes) {
            if mode == Mode::New {
                let owner = owner_of_namespace(&format!("/proc/{pid}/ns/{link}"));
                assert_eq!(owner, own, "owner of {kind}; {combination}");
            }
        }
    }
}

/// Two kinds in modes that differ from [`BASE`], beside a new and a joined user namespace. Outside the whole
/// matrix, each two kinds are in one of the five pairs of modes, in turn.
fn every_combination_of_two_kinds_works_beside_a_user_namespace() {
    const PAIRS: [(Mode, Mode); 5] = [
        (Mode::New, Mode::Joined),
        (Mode::Joined, Mode::New),
        (Mode::Joined, Mode::Joined),
        (Mode::Shared, Mode::Joined),
        (Mode::Joined, Mode::Shared),
    ];
    let holder = holder(Owner::Holder);
    let mut turn = PAIRS.iter().cycle();
    let count = if is_the_matrix() { PAIRS.len() } else { 1 };
    // The mount namespace is new; `a_mount_namespace_works_beside_a_user_namespace` has the
    // other modes.
    let last = KINDS.len() - 1;
    for (one, other) in (0..last).flat_map(|a| (a + 1..last).map(move |b| (a, b))) {
        for user in [Mode::New, Mode::Joined] {
            for (mode, other_mode) in turn.by_ref().take(count) {
                if Kind::under_test() == Kind::Runc && KINDS[other].0 == "time" {
                    continue;
                }
                let mut modes = BASE;
                modes[one] = *mode;
                modes[other] = *other_mode;
                Combination {
                    holder: &holder,
                    owner: Owner::Holder,
                    user,
                    modes,
                }
                .check();
            }
        }
    }
}

fn a_joined_pid_namespace_shows_its_processes_in_a_new_proc() {
    let holder = holder(Owner::Holder);
    let mut modes = BASE;
    modes[0] = Mode::Joined;
    let combination = Combination {
        holder: &holder,
        owner: Owner::Holder,
        user: Mode::Joined,
        modes,
    };
    let bundle = combination.bundle().sh("cat /proc/1/comm; echo $$");
    let said = bundle.run().assert_ok().stdout;
    let (first, own) = said.split_once('\n').unwrap();
    assert_eq!(first, "sleep");
    assert!(own.trim().parse::<i32>().unwrap() > 1, "{said}");
}

/// No intermediate process is left over or visible in the container.
fn the_end_of_init_ends_all_processes_of_a_new_pid_namespace() {
    let holder = holder(Owner::Holder);
    for user in [Mode::New, Mode::Joined] {
        let combination = Combination {
            holder: &holder,
            owner: Owner::Holder,
            user,
            modes: BASE,
        };
        let bundle = combination
            .bundle()
            .sh("for p in /proc/[0-9]*; do echo ${p#/proc/}; done; exit 4");
        let before = HostState::of(&bundle);
        assert_eq!(bundle.run().assert_code(4).stdout, "1\n");
        let bundle = bundle.args(&["/probe", "spawn-sleep"]);
        let container = bundle.run_detached();
        container.wait_for("\n");
        let pid = container.pid();
        let child = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        crate::harness::signal(pid, nix::sys::signal::Signal::SIGKILL);
        crate::harness::wait_gone(child.trim().parse().unwrap());
        container.wait_stopped();
        container.delete().assert_ok();
        before.assert_unchanged(&bundle);
    }
}
