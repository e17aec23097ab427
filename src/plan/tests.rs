//! Golden plans: each plans `tests/plans/NAME.json` for a described host, and compares the
//! printed plan with `tests/plans/NAME.plan`.
//!
//! A changed decision is a changed text file. `RT_BLESS=1` rewrites the files.

use std::path::{Path, PathBuf};

use anyhow::Result;

use nix::errno::Errno;

use super::{Plan, Settings};
use crate::bundle;
use crate::cgroups::CgroupMode;
use crate::host::{self, CgroupLayout, Hierarchy, Host, Kernel};
use crate::process::{Caller, Passed};
use crate::step::{Failure, Step};

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
    }
}

/// A host with cgroup v1, and a v2 hierarchy without controllers.
fn hybrid() -> Host {
    let hierarchies = [
        "cpu,cpuacct",
        "cpuset",
        "memory",
        "devices",
        "pids",
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

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans")
}

fn decide(config: &str, host: &Host) -> Result<Plan> {
    // The bundle is read from a temporary directory, and then given a fixed path.
    let (process, thread) = (std::process::id(), std::thread::current().id());
    let directory_copy = std::env::temp_dir().join(format!("rt-plan-{process}-{thread:?}"));
    std::fs::create_dir_all(&directory_copy)?;
    std::fs::copy(directory().join(config), directory_copy.join("config.json"))?;
    let bundle = bundle::open(&directory_copy);
    std::fs::remove_dir_all(&directory_copy)?;
    let mut bundle = bundle?;
    bundle.directory = "/bundle".into();
    let settings = Settings {
        id: "web",
        no_pivot: false,
        new_keyring: true,
        streams: crate::process::StdioOwnership::Transferred,
        passed: if config.starts_with("full") {
            Passed {
                activated: 1,
                preserved: 2,
                holes: &[],
            }
        } else {
            Passed::default()
        },
        cgroups: CgroupMode::ByPrivileges,
        notify: config
            .starts_with("full")
            .then(|| "/run/rt/web/notify".into()),
        caller: Caller {
            grantable: caps::all(),
            ..Caller::default()
        },
        apparmor: true,
    };
    Plan::new(&bundle, &settings, host)
}

#[allow(
    clippy::disallowed_methods,
    reason = "these tests are rewritten by an environment variable; the program reads none here"
)]
fn golden(name: &str, config: &str, host: &Host) {
    let printed = match decide(config, host) {
        Ok(plan) => format!("{plan:#?}\n"),
        Err(error) => format!("refused: {error:#}\n"),
    };
    let file = directory().join(name).with_extension("plan");
    if std::env::var_os("RT_BLESS").is_some() {
        std::fs::write(&file, &printed).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        printed == expected,
        "{} differs; RT_BLESS=1 writes it, git diff shows it. Decided now:\n{printed}",
        file.display()
    );
}

#[test]
fn template_on_version_2() {
    golden("template-v2", "template.json", &modern());
}

#[test]
fn template_on_version_1() {
    golden("template-v1", "template.json", &hybrid());
}

#[test]
fn template_on_an_old_kernel() {
    golden("template-old", "template.json", &old());
}

#[test]
fn every_field_on_version_2() {
    golden("full-v2", "full.json", &modern());
}

#[test]
fn every_field_on_version_1() {
    golden("full-v1", "full.json", &hybrid());
}

#[test]
fn recursive_options_on_an_old_kernel_are_refused() {
    golden("full-old", "full.json", &old());
}

#[test]
fn a_container_in_the_namespaces_of_the_host() {
    golden("shared", "shared.json", &modern());
}

#[test]
fn mounts_in_the_mount_namespace_of_the_host_are_refused() {
    golden("shared-mounts", "shared-mounts.json", &modern());
}

/// A failure must never be reported by the name of its step alone.
#[test]
fn every_step_has_a_description() {
    let plan = decide("full.json", &modern()).unwrap();
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
