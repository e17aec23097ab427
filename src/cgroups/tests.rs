//! Plans for hosts that are described here, not probed.

mod kernel;
mod systemd;

use std::path::Path;

use oci_spec::runtime::LinuxResources;

use anyhow::Result;

use super::planned::Requirement;
use super::*;
use crate::host::{self, CgroupLayout, Hierarchy, Host, Kernel};

pub(super) fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

fn host(cgroups: CgroupLayout) -> Host {
    Host {
        cgroups,
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

fn v1(controllers: &[&str]) -> Host {
    let hierarchies = controllers
        .iter()
        .map(|names| Hierarchy {
            controllers: names.split(',').map(str::to_owned).collect(),
            mount: format!("/cg/{names}").into(),
            own: "/user".into(),
        })
        .collect();
    host(CgroupLayout::V1 {
        hierarchies,
        unified: None,
    })
}

fn v2(mount: &str, own: &str) -> Host {
    host(CgroupLayout::V2 {
        mount: mount.into(),
        own: own.into(),
    })
}

fn plan(path: &str, resources: &str, host: &Host) -> Result<Cgroups> {
    plan_in_mode(path, resources, CgroupMode::ByPrivileges, host)
}

fn plan_in_mode(path: &str, resources: &str, mode: CgroupMode, host: &Host) -> Result<Cgroups> {
    let linux = format!(r#"{{"cgroupsPath": "{path}", "resources": {resources}}}"#);
    let linux = serde_json::from_str(&linux).unwrap();
    Cgroups::plan("web", Some(&linux), mode, host)
}

#[test]
fn the_paths_have_a_key_for_each_controller() {
    let v1 = v1(&["cpu,cpuacct", "devices", "name=systemd"]);
    let paths = Cgroups::plan("web", None, CgroupMode::ByPrivileges, &v1)
        .unwrap()
        .paths();
    let expected = [
        ("cpu", "/cg/cpu,cpuacct/web"),
        ("cpuacct", "/cg/cpu,cpuacct/web"),
        ("devices", "/cg/devices/web"),
        ("name=systemd", "/cg/name=systemd/web"),
    ];
    assert_eq!(
        paths,
        expected
            .map(|(key, path)| (key.to_owned(), path.into()))
            .into()
    );
    let relative = plan("a", "{}", &v1).unwrap().paths();
    assert_eq!(relative["devices"], Path::new("/cg/devices/user/a"));
}

#[test]
fn on_v2_a_relative_path_is_a_sibling_of_the_callers_cgroup() {
    let at = |own| plan("a", "{}", &v2("/cg", own)).unwrap().paths()[""].clone();
    assert_eq!(at("/user.slice/me"), Path::new("/cg/user.slice/a"));
    assert_eq!(at("/"), Path::new("/cg/a"));
}

#[test]
fn on_v1_a_limit_without_its_controller_is_refused() {
    let v1 = v1(&["cpu", "devices"]);
    assert_eq!(
        plan("", r#"{"memory": {"limit": 5000}}"#, &v1)
            .unwrap_err()
            .to_string(),
        "linux.resources.memory.limit: this host has no memory controller (cgroup v1: /proc/self/cgroup)"
    );
    plan("", r#"{"memory": {"limit": 0}}"#, &v1).unwrap();
}

#[test]
fn device_rules_need_the_devices_controller_unless_all_is_allowed() {
    let v1 = v1(&["cpu"]);
    plan("", "{}", &v1).unwrap_err();
    let all = r#"{"devices": [{"allow": true, "access": "rwm"}]}"#;
    // The devices that are always allowed are allowed already.
    plan("", all, &v1).unwrap();
}

#[test]
fn the_mode_overrides_the_privileges_of_the_caller() {
    let (root, mut user) = (v1(&["cpu", "devices"]), v1(&["cpu", "devices"]));
    user.caller.uid = 1000;
    let requirement = |mode, host| plan_in_mode("", "{}", mode, host).unwrap().requirement;
    for (host, by_privileges) in [
        (&root, Requirement::Required),
        (&user, Requirement::IfAllowed),
    ] {
        assert_eq!(requirement(CgroupMode::ByPrivileges, host), by_privileges);
        assert_eq!(
            requirement(CgroupMode::Required, host),
            Requirement::Required
        );
        assert_eq!(
            requirement(CgroupMode::IfAllowed, host),
            Requirement::IfAllowed
        );
    }
}

#[test]
fn limits_are_refused_without_cgroups() {
    for host in [v1(&["memory", "devices"]), v2("/cg", "/me")] {
        let plan = |resources| plan_in_mode("/a", resources, CgroupMode::Disabled, &host);
        for resources in [
            "{}",
            r#"{"devices": [{"allow": false, "access": "rwm"}], "pids": {"limit": -1}}"#,
        ] {
            let cgroups = plan(resources).unwrap();
            assert!(cgroups.paths().is_empty() && cgroups.missing().is_empty());
        }
        let refused = plan(r#"{"pids": {"limit": 5}}"#).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "linux.resources.pids.limit: the container has no cgroup (--cgroup-manager disabled)"
        );
    }
}
