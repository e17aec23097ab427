//! Golden plans: `tests/plans/NAME.json` decided for a machine that is only
//! described, printed, and compared with `tests/plans/NAME.plan`.
//!
//! A changed decision is a changed text file. `RT_BLESS=1` writes the files anew.

use std::path::{Path, PathBuf};

use anyhow::Result;

use nix::errno::Errno;

use super::{Plan, Settings};
use crate::bundle;
use crate::cgroups::CgroupMode;
use crate::host::{self, CgroupLayout, Hierarchy, Host, Kernel};
use crate::process::{Caller, Passed};
use crate::step::{Failure, Step};

/// A machine with version 2 alone, on a kernel that has everything.
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

/// Version 1 beside a version 2 without controllers.
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

/// Linux 5.10.
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
    // The bundle is read where it would be, and then stands in one fixed place.
    let (process, thread) = (std::process::id(), std::thread::current().id());
    let place = std::env::temp_dir().join(format!("rt-plan-{process}-{thread:?}"));
    std::fs::create_dir_all(&place)?;
    std::fs::copy(directory().join(config), place.join("config.json"))?;
    let bundle = bundle::open(&place);
    std::fs::remove_dir_all(&place)?;
    let mut bundle = bundle?;
    bundle.directory = "/bundle".into();
    let settings = Settings {
        id: "web",
        no_pivot: false,
        new_keyring: true,
        streams: crate::process::Streams::Left,
        passed: match config.starts_with("full") {
            true => Passed {
                activated: 1,
                preserved: 2,
                holes: &[],
            },
            false => Passed::default(),
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
    reason = "the one switch of these tests; nothing of it is in the program"
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
fn a_container_of_the_machine_s_namespaces() {
    golden("shared", "shared.json", &modern());
}

#[test]
fn mounts_of_the_machine_s_namespace_are_refused() {
    golden("shared-mounts", "shared-mounts.json", &modern());
}

/// Whoever adds a step gives it words: a failure must never read as a number.
#[test]
fn every_step_has_words() {
    let plan = decide("full.json", &modern()).unwrap();
    // What a full plan has none of: one thing excludes the other.
    let silent: Vec<Step> = Step::ALL
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
    let guests = [Step::JoinCgroup, Step::JoinContainer];
    assert_eq!(
        silent,
        [&[Step::Wait], &guests[..], &[Step::Start]].concat()
    );
}
