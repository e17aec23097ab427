//! Plans with the systemd driver.

use anyhow::anyhow;

use super::*;
use crate::cgroups::planned::Layout;
use crate::cgroups::systemd::manager::{Facts, Manager};
use crate::host::Caller;

fn found(user: bool, cgroup: &str) -> Systemd {
    Systemd {
        manager: Manager::of_test(user),
        found: Ok(Facts {
            version: 252,
            cgroup: cgroup.into(),
        }),
    }
}

fn missing() -> Systemd {
    Systemd {
        manager: Manager::of_test(true),
        found: Err(anyhow!("systemd: no bus")),
    }
}

fn plan_systemd(path: &str, resources: &str, host: &Host, systemd: &Systemd) -> Result<Cgroups> {
    let linux = format!(r#"{{"cgroupsPath": "{path}", "resources": {resources}}}"#);
    let linux = serde_json::from_str(&linux).unwrap();
    let input = (Some(&linux), std::iter::empty());
    Cgroups::plan_systemd("web", input, CgroupMode::ByPrivileges, host, systemd)
}

fn of_user(host: Host) -> Host {
    let caller = Caller {
        uid: 5,
        ..host.caller
    };
    Host { caller, ..host }
}

#[test]
fn the_cgroup_is_that_of_the_scope_in_every_hierarchy() {
    let host = v1(&["cpu,cpuacct", "name=systemd", "devices"]);
    let planned = plan_systemd("a-b.slice:p:1", "{}", &host, &found(false, "")).unwrap();
    let paths = planned.paths();
    for (controller, mount) in [("cpuacct", "cpu,cpuacct"), ("name=systemd", "name=systemd")] {
        let expected = format!("/cg/{mount}/a.slice/a-b.slice/p-1.scope");
        assert_eq!(paths[controller], Path::new(&expected));
    }
    let user = of_user(v2("/cg", "/user.slice/x"));
    let planned = plan_systemd("", "{}", &user, &found(true, "user.slice/user@5.service"));
    let expected = Path::new("/cg/user.slice/user@5.service/user.slice/runc-web.scope");
    assert_eq!(planned.unwrap().paths()[""], expected);
}

#[test]
fn limits_and_rules_become_properties_of_the_scope() {
    let resources = r#"{"memory": {"limit": 5}, "pids": {"limit": 1}}"#;
    let planned = plan_systemd("", resources, &v2("/cg", "/"), &found(false, "")).unwrap();
    let decision = planned.scope.as_ref().unwrap().decision();
    assert!(
        decision.starts_with("the host's systemd starts runc-web.scope in system.slice, with ")
    );
    assert!(
        decision.ends_with("MemoryMax, TasksMax, DevicePolicy, DeviceAllow"),
        "{decision}"
    );
    // The placeholder is the one task that may be there, so init cannot be born there.
    let Layout::V2(cgroup) = &planned.layout else {
        panic!("{planned:?}")
    };
    assert_eq!(cgroup.entry, crate::cgroups::planned::Entry::Move);
}

#[test]
fn without_systemd_only_a_container_that_needs_no_cgroup_is_planned() {
    let user = of_user(v2("/cg", "/x"));
    let planned = plan_systemd("", "{}", &user, &missing()).unwrap();
    assert!(planned.paths().is_empty());
    let refused = |path, resources, host: &Host| {
        let error = plan_systemd(path, resources, host, &missing()).unwrap_err();
        error.to_string()
    };
    let path = "user.slice:libpod:1";
    assert_eq!(
        refused(path, "{}", &user),
        "linux.cgroupsPath: systemd: no bus"
    );
    assert_eq!(
        refused("", r#"{"pids": {"limit": 5}}"#, &user),
        "linux.resources.pids.limit: systemd: no bus"
    );
    let root = v2("/cg", "/x");
    assert_eq!(
        refused("", "{}", &root),
        "linux.cgroupsPath: systemd: no bus"
    );
}
