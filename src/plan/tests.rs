//! Golden plans: each plans a file of `tests/plans` for a described host, and compares the text
//! of the decisions with `tests/plans/NAME.plan`.
//!
//! A changed decision is a changed line. Plans that resemble another one are kept as their
//! difference to it. `RT_BLESS=1 cargo test --lib plan::` rewrites the files.

mod changes;
mod difference;

use std::path::{Path, PathBuf};

use anyhow::Result;
use nix::errno::Errno;
use serde_json::Value;

use super::{Plan, Settings};
use crate::bundle;
use crate::cgroups::CgroupMode;
use crate::host::{self, CgroupLayout, Hierarchy, Host, Kernel};
use crate::process::{Caller, Passed, StdioOwnership};
use crate::step::{Failure, Step};
use difference::difference;

/// A host with cgroup v2 only, on a kernel with all optional features.
fn modern() -> Host {
    Host {
        cgroups: CgroupLayout::V2 {
            mount: "/sys/fs/cgroup".into(),
            own: "/user.slice/session.scope".into(),
        },
        kernel: Kernel {
            mount_setattr: true,
            may_mount: true,
        },
        caller: host::Caller {
            uid: 0,
            gid: 0,
            initial_user_namespace: true,
        },
        read_text: |_| None,
    }
}

/// A host with cgroup v1, and a v2 hierarchy without controllers.
fn hybrid() -> Host {
    let hierarchies = [
        "cpu,cpuacct",
        "cpuset",
        "memory",
        "devices",
        "blkio",
        "pids",
        "hugetlb",
        "rdma",
        "name=systemd",
    ];
    Host {
        cgroups: CgroupLayout::V1 {
            hierarchies: hierarchies
                .into_iter()
                .map(|controllers| Hierarchy {
                    controllers: controllers.split(',').map(str::to_owned).collect(),
                    mount: Path::new("/sys/fs/cgroup")
                        .join(controllers.trim_start_matches("name=")),
                    own: "/caller".into(),
                })
                .collect(),
            unified: Some(Hierarchy {
                controllers: vec![String::new()],
                mount: "/sys/fs/cgroup/unified".into(),
                own: "/caller".into(),
            }),
        },
        ..modern()
    }
}

/// A host with Linux 5.10.
fn old() -> Host {
    Host {
        kernel: Kernel {
            mount_setattr: false,
            may_mount: true,
        },
        ..modern()
    }
}

/// A caller with uid 1000 and without capabilities.
fn unprivileged() -> Host {
    Host {
        kernel: Kernel {
            mount_setattr: true,
            may_mount: false,
        },
        caller: host::Caller {
            uid: 1000,
            gid: 1000,
            initial_user_namespace: true,
        },
        ..modern()
    }
}

/// A configuration of `tests/plans`, planned for a host.
#[derive(Clone, Copy)]
struct Case {
    config: &'static str,
    host: fn() -> Host,
}

const FULL: Case = case("full", modern);
const TEMPLATE: Case = case("template", modern);
const ROOTLESS: Case = case("rootless", unprivileged);

const fn case(config: &'static str, host: fn() -> Host) -> Case {
    Case { config, host }
}

impl Case {
    fn config(self) -> Value {
        let text = std::fs::read(directory().join(self.config).with_extension("json"));
        serde_json::from_slice(&text.unwrap()).unwrap()
    }

    fn plan(self) -> Result<Plan> {
        self.plan_with(&self.config())
    }

    /// Plans another configuration in place of the file's.
    fn plan_with(self, config: &Value) -> Result<Plan> {
        // The bundle is read from a temporary directory, and then given a fixed path.
        let (process, thread) = (std::process::id(), std::thread::current().id());
        let copy = std::env::temp_dir().join(format!("rt-plan-{process}-{thread:?}"));
        std::fs::create_dir_all(&copy)?;
        std::fs::write(copy.join("config.json"), config.to_string())?;
        let bundle = bundle::open(&copy);
        std::fs::remove_dir_all(&copy)?;
        let mut bundle = bundle?;
        bundle.directory = "/bundle".into();
        let host = (self.host)();
        Plan::new(&bundle, &self.settings(&host), &host)
    }

    fn settings(self, host: &Host) -> Settings<'static> {
        let mut settings = Settings {
            id: "web",
            no_pivot: false,
            new_keyring: true,
            streams: StdioOwnership::Transferred,
            passed: Passed::default(),
            cgroups: CgroupMode::ByPrivileges,
            systemd: None,
            notify: None,
            caller: Caller::default(),
            selinux: true,
            apparmor: true,
        };
        if host.caller.uid == 0 {
            settings.caller.grantable = caps::all();
        }
        if self.config == "full" {
            settings.notify = Some("/run/rt/web/notify".into());
            settings.passed.activated = 1;
            settings.passed.preserved = 2;
        }
        if self.config == "joined" {
            settings.no_pivot = true;
            settings.new_keyring = false;
            settings.streams = StdioOwnership::Kept;
            settings.cgroups = CgroupMode::Disabled;
            settings.caller.ignored_signals = vec![1];
        }
        settings
    }

    /// The decisions, or the reason why there are none.
    fn text(self) -> String {
        match self.plan() {
            Ok(plan) => plan.decisions(),
            Err(error) => format!("refused: {error:#}\n"),
        }
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans")
}

/// Compares the decisions with a file that holds all of them.
#[track_caller]
fn whole(name: &str, case: Case) {
    golden(name, &case.text());
}

/// Compares the decisions with a file that holds the difference to those of `base`.
#[track_caller]
fn compared(name: &str, case: Case, base: Case) {
    let difference = difference(&base.text(), &case.text());
    golden(
        name,
        &format!("compared with {}.plan\n{difference}", base.config),
    );
}

#[allow(
    clippy::disallowed_methods,
    reason = "these tests are rewritten by an environment variable; the program reads none here"
)]
#[track_caller]
fn golden(name: &str, decided: &str) {
    let file = directory().join(name).with_extension("plan");
    if std::env::var_os("RT_BLESS").is_some() {
        std::fs::write(&file, decided).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        decided == expected,
        "other decisions than in {}; RT_BLESS=1 accepts them:\n{}",
        file.display(),
        difference(&expected, decided)
    );
}

#[test]
fn template_on_version_2() {
    whole("template", TEMPLATE);
}

#[test]
fn template_on_version_1() {
    compared("template-v1", case("template", hybrid), TEMPLATE);
}

#[test]
fn template_on_an_old_kernel() {
    compared("template-old", case("template", old), TEMPLATE);
}

#[test]
fn every_field_on_version_2() {
    whole("full", FULL);
}

#[test]
fn every_field_on_version_1() {
    compared("full-v1", case("full", hybrid), FULL);
}

#[test]
fn recursive_options_on_an_old_kernel_are_refused() {
    whole("full-old", case("full", old));
}

#[test]
fn every_annotation() {
    compared("annotated", case("annotated", modern), TEMPLATE);
}

#[test]
fn a_container_of_an_unprivileged_user() {
    whole("rootless", ROOTLESS);
}

#[test]
fn a_container_in_joined_namespaces_without_cgroups() {
    whole("joined", case("joined", modern));
}

#[test]
fn a_container_in_the_namespaces_of_the_host() {
    whole("shared", case("shared", modern));
}

#[test]
fn devices_beside_a_bind_mount_on_dev() {
    whole("bound-dev", case("bound-dev", modern));
}

#[test]
fn mounts_in_the_mount_namespace_of_the_host_are_refused() {
    whole("shared-mounts", case("shared-mounts", modern));
}

/// A failure must never be reported by the name of its step alone.
#[test]
fn every_step_has_a_description() {
    let plan = FULL.plan().unwrap();
    // No single plan uses the steps that remain: init does not take those of exec processes,
    // and the two waits cannot fail on their own.
    let undescribed: Vec<Step> = Step::ALL
        .iter()
        .copied()
        .filter(|step| {
            let failure = Failure {
                step: *step,
                item: 0,
                cause: Errno::EIO.into(),
            };
            plan.explain(failure).to_string().starts_with("init: ")
        })
        .collect();
    let of_exec_processes = [Step::JoinCgroup, Step::JoinContainer];
    assert_eq!(
        undescribed,
        [&[Step::Wait], &of_exec_processes[..], &[Step::Start]].concat()
    );
}
