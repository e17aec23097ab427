//! A user namespace, new or joined, beside every other kind: shared, new, joined.
//!
//! What is joined belongs to the user namespace that is joined with it (a pod made by one
//! user), or to the machine's (a pod made by root, of which the container has its own users).

use libtest_mimic::Trial;
use serde_json::json;

use super::{COUNT, FIRST, map, mappings};
use crate::harness::{
    Bundle, Holder, Kind, Traces, differs, namespace_of, only_rt, owner_of_namespace, trials,
};

pub(super) fn tests() -> Vec<Trial> {
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

/// Kinds as config.json and as /proc/PID/ns call them.
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
enum Way {
    New,
    Joined,
    Shared,
}

/// To whom the namespaces that can be joined belong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    /// To the user namespace of the same holder.
    Holder,
    Machine,
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
        Owner::Machine => [&OTHERS[..], &["unshare", "--user"]].concat(),
    };
    Holder::with_maps(&flags, &maps, &maps)
}

/// One configuration: a way for the user namespace, and for each kind.
struct Combination<'a> {
    holder: &'a Holder,
    owner: Owner,
    user: Way,
    ways: [Way; KINDS.len()],
}

impl Combination<'_> {
    fn way(&self, kind: &str) -> Way {
        let index = KINDS.iter().position(|(name, _)| *name == kind);
        self.ways[index.unwrap()]
    }

    /// Whether the container's user namespace owns its pid namespace: only then it mounts /proc.
    fn has_own_proc(&self) -> bool {
        match self.way("pid") {
            Way::New => true,
            Way::Joined => self.user == Way::Joined && self.owner == Owner::Holder,
            Way::Shared => false,
        }
    }

    fn bundle(&self) -> Bundle {
        let mut bundle = ["/dev/mqueue", "/sys", "/sys/fs/cgroup"]
            .iter()
            .fold(Bundle::new(), |bundle, place| bundle.without_mount(place))
            .remove("/hostname")
            .remove("/linux/maskedPaths");
        if self.way("mount") != Way::New {
            bundle = bundle
                .set("/mounts", json!([]))
                .remove("/linux/readonlyPaths")
                .remove("/root/readonly");
        } else if !self.has_own_proc() {
            let proc = json!({ "destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"] });
            bundle = bundle.set("/mounts/0", proc).remove("/linux/readonlyPaths");
        }
        for ((kind, link), way) in KINDS.into_iter().zip(self.ways) {
            bundle = match way {
                Way::New => bundle.namespace(kind, None),
                Way::Joined => bundle.namespace(kind, Some(&self.holder.path(link))),
                Way::Shared => bundle.without_namespace(kind),
            };
        }
        match self.user {
            Way::New => map(bundle, &[(0, FIRST, COUNT)]),
            Way::Joined => {
                let bundle = bundle.namespace("user", Some(&self.holder.path("user")));
                let entries = mappings(&[(0, FIRST, COUNT)]);
                // The old runc asks for them.
                bundle
                    .set("/linux/uidMappings", entries.clone())
                    .set("/linux/gidMappings", entries)
            }
            Way::Shared => bundle,
        }
    }

    /// Runs, sees each namespace from outside and, where there is a /proc, from inside.
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
        for ((kind, link), way) in KINDS.into_iter().zip(self.ways) {
            self.compare(kind, link, way, &namespace_of(&pid.to_string(), link));
        }
        container.end();
        if self.way("mount") != Way::New {
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
        for ((kind, link), way) in KINDS.into_iter().zip(self.ways) {
            // A namespace that this one does not own is named all the same.
            self.compare(kind, link, way, &seen.namespace(link));
        }
    }

    #[track_caller]
    fn compare(&self, kind: &str, link: &str, way: Way, inside: &str) {
        let (host, joined) = (namespace_of("self", link), self.holder.namespace(link));
        let right = match way {
            Way::New => !inside.is_empty() && inside != host && inside != joined,
            Way::Joined => inside == joined,
            Way::Shared => inside == host,
        };
        assert!(
            right,
            "{kind} is {inside}, not {way:?}; machine {host}, holder {joined}\n{self}"
        );
    }
}

impl std::fmt::Display for Combination<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "  user {:?} of {:?};", self.user, self.owner)?;
        for ((kind, _), way) in KINDS.into_iter().zip(self.ways) {
            write!(f, " {kind} {way:?}")?;
        }
        Ok(())
    }
}

/// Pid, network, ipc, uts and mount new as in the template; cgroup and time shared.
const BASE: [Way; KINDS.len()] = [
    Way::New,
    Way::New,
    Way::New,
    Way::New,
    Way::Shared,
    Way::Shared,
    Way::New,
];

/// Debian's enter the user namespace first, and may then not enter what is the machine's.
fn is_beyond_others(owner: Owner, user: Way) -> bool {
    Kind::under_test() != Kind::Rt && owner == Owner::Machine && user == Way::Joined
}

/// One kind in its three ways, beside a new and a joined user namespace.
fn one(kind: &str) {
    let index = KINDS.iter().position(|(name, _)| *name == kind).unwrap();
    for owner in [Owner::Holder, Owner::Machine] {
        let holder = holder(owner);
        for user in [Way::New, Way::Joined] {
            for way in [Way::New, Way::Joined, Way::Shared] {
                if is_beyond_others(owner, user) {
                    continue;
                }
                let mut ways = BASE;
                ways[index] = way;
                Combination {
                    holder: &holder,
                    owner,
                    user,
                    ways,
                }
                .check();
            }
        }
    }
}

fn a_pid_namespace_works_beside_a_user_namespace() {
    one("pid");
}

fn a_network_namespace_works_beside_a_user_namespace() {
    one("network");
}

fn an_ipc_namespace_works_beside_a_user_namespace() {
    one("ipc");
}

fn a_uts_namespace_works_beside_a_user_namespace() {
    one("uts");
}

fn a_cgroup_namespace_works_beside_a_user_namespace() {
    one("cgroup");
}

fn a_time_namespace_works_beside_a_user_namespace() {
    differs(Kind::Runc, "the old one knows no time namespaces");
    one("time");
}

/// By chroot where it is not the container's own.
fn a_mount_namespace_works_beside_a_user_namespace() {
    only_rt("Debian's change the mount namespace that they join");
    one("mount");
}

fn all(user: Way, others: Way) {
    for owner in [Owner::Holder, Owner::Machine] {
        if is_beyond_others(owner, user) {
            continue;
        }
        let holder = holder(owner);
        let mut ways = [others; KINDS.len()];
        // The probe looks from inside too. `all_namespaces_can_be_joined` is without.
        ways[KINDS.len() - 1] = Way::New;
        if Kind::under_test() == Kind::Runc {
            ways[KINDS.len() - 2] = Way::Shared;
        }
        let combination = Combination {
            holder: &holder,
            owner,
            user,
            ways,
        };
        let before = Traces::of(&combination.bundle());
        combination.check();
        before.assert_unchanged(&combination.bundle());
        if Kind::under_test() == Kind::Rt {
            let ways = [others; KINDS.len()];
            Combination {
                holder: &holder,
                owner,
                user,
                ways,
            }
            .check();
        }
    }
}

fn all_namespaces_can_be_new() {
    all(Way::New, Way::New);
}

fn all_namespaces_can_be_joined() {
    all(Way::Joined, Way::Joined);
}

fn a_new_user_namespace_works_with_all_others_joined() {
    all(Way::New, Way::Joined);
}

fn a_joined_user_namespace_works_with_all_others_new() {
    all(Way::Joined, Way::New);
}

fn a_joined_user_namespace_works_with_all_others_shared() {
    all(Way::Joined, Way::Shared);
}

/// What belongs to the machine could not be set up, or used, by root inside.
fn new_namespaces_belong_to_the_containers_user_namespace() {
    let holder = holder(Owner::Holder);
    for user in [Way::New, Way::Joined] {
        let mut ways = [Way::New; KINDS.len()];
        if Kind::under_test() == Kind::Runc {
            ways[KINDS.len() - 2] = Way::Shared;
        }
        let combination = Combination {
            holder: &holder,
            owner: Owner::Holder,
            user,
            ways,
        };
        let bundle = combination.bundle().args(&["/probe", "sleep"]);
        let pid = bundle.run_detached().pid();
        let own = namespace_of(&pid.to_string(), "user");
        for ((kind, link), way) in KINDS.into_iter().zip(ways) {
            if way == Way::New {
                let owner = owner_of_namespace(&format!("/proc/{pid}/ns/{link}"));
                assert_eq!(owner, own, "who owns {kind}; {combination}");
            }
        }
    }
}

/// Ways for two kinds that are not those of the base; the user namespace new and joined.
fn every_combination_of_two_kinds_works_beside_a_user_namespace() {
    let holder = holder(Owner::Holder);
    // A mount namespace is its own; `a_mount_namespace_works_beside_a_user_namespace` has the others.
    let last = KINDS.len() - 1;
    for (one, other) in (0..last).flat_map(|a| (a + 1..last).map(move |b| (a, b))) {
        for user in [Way::New, Way::Joined] {
            for (way, other_way) in [
                (Way::New, Way::Joined),
                (Way::Joined, Way::New),
                (Way::Joined, Way::Joined),
                (Way::Shared, Way::Joined),
                (Way::Joined, Way::Shared),
            ] {
                if Kind::under_test() == Kind::Runc && KINDS[other].0 == "time" {
                    continue;
                }
                let mut ways = BASE;
                ways[one] = way;
                ways[other] = other_way;
                Combination {
                    holder: &holder,
                    owner: Owner::Holder,
                    user,
                    ways,
                }
                .check();
            }
        }
    }
}

fn a_joined_pid_namespace_shows_its_processes_in_a_new_proc() {
    let holder = holder(Owner::Holder);
    let mut ways = BASE;
    ways[0] = Way::Joined;
    let combination = Combination {
        holder: &holder,
        owner: Owner::Holder,
        user: Way::Joined,
        ways,
    };
    let bundle = combination.bundle().sh("cat /proc/1/comm; echo $$");
    let said = bundle.run().assert_ok().stdout;
    let (first, own) = said.split_once('\n').unwrap();
    assert_eq!(first, "sleep");
    assert!(own.trim().parse::<i32>().unwrap() > 1, "{said}");
}

/// No process of the runtime's making is left over or seen inside, whoever made the clone.
fn the_end_of_init_ends_all_processes_of_a_new_pid_namespace() {
    let holder = holder(Owner::Holder);
    for user in [Way::New, Way::Joined] {
        let combination = Combination {
            holder: &holder,
            owner: Owner::Holder,
            user,
            ways: BASE,
        };
        let bundle = combination
            .bundle()
            .sh("for p in /proc/[0-9]*; do echo ${p#/proc/}; done; exit 4");
        let before = Traces::of(&bundle);
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
