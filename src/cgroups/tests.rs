//! Plans, without a machine.

mod kernel;

use std::path::Path;

use oci_spec::runtime::LinuxResources;

use anyhow::Result;

use super::planned::Need;
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
    }
}

fn v1(trees: &[&str]) -> Host {
    let hierarchies = trees
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
    plan_wish(path, resources, CgroupMode::ByPrivileges, host)
}

fn plan_wish(path: &str, resources: &str, wish: CgroupMode, host: &Host) -> Result<Cgroups> {
    let linux = format!(r#"{{"cgroupsPath": "{path}", "resources": {resources}}}"#);
    let linux = serde_json::from_str(&linux).unwrap();
    Cgroups::plan("web", Some(&linux), wish, host)
}

#[test]
fn paths_have_a_key_for_each_controller() {
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
fn a_relative_path_is_a_sibling_of_the_caller_on_v2() {
    let at = |own| plan("a", "{}", &v2("/cg", own)).unwrap().paths()[""].clone();
    assert_eq!(at("/user.slice/me"), Path::new("/cg/user.slice/a"));
    assert_eq!(at("/"), Path::new("/cg/a"));
}

#[test]
fn a_limit_without_its_controller_is_refused_on_v1() {
    let v1 = v1(&["cpu", "devices"]);
    assert_eq!(
        plan("", r#"{"memory": {"limit": 5000}}"#, &v1)
            .unwrap_err()
            .to_string(),
        "linux.resources.memory.limit: this machine has no memory controller (cgroup v1: /proc/self/cgroup)"
    );
    plan("", r#"{"memory": {"limit": 0}}"#, &v1).unwrap();
}

#[test]
fn missing_device_rules_are_refused_unless_all_is_allowed() {
    let v1 = v1(&["cpu"]);
    plan("", "{}", &v1).unwrap_err();
    let all = r#"{"devices": [{"allow": true, "access": "rwm"}]}"#;
    // The usual list, appended, allows nothing that was not.
    plan("", all, &v1).unwrap();
}

#[test]
fn a_wish_wins_over_the_rights_of_the_caller() {
    let (root, mut user) = (v1(&["cpu", "devices"]), v1(&["cpu", "devices"]));
    user.caller.uid = 1000;
    let need = |wish, host| plan_wish("", "{}", wish, host).unwrap().need;
    for (host, by_rights) in [(&root, Need::Strict), (&user, Need::WhereAllowed)] {
        assert_eq!(need(CgroupMode::ByPrivileges, host), by_rights);
        assert_eq!(need(CgroupMode::Required, host), Need::Strict);
        assert_eq!(need(CgroupMode::IfAllowed, host), Need::WhereAllowed);
    }
}

#[test]
fn without_cgroups_there_are_no_limits() {
    for host in [v1(&["memory", "devices"]), v2("/cg", "/me")] {
        let plan = |resources| plan_wish("/a", resources, CgroupMode::Disabled, &host);
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
            "linux.resources.pids.limit: no cgroup is to keep it (--cgroup-manager disabled)"
        );
    }
}
