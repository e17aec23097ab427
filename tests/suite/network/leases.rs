//! Who has which address, and for how long.

use std::collections::BTreeSet;
use std::fs;

use super::host::{Host, addresses, annotate, annotation, container_reaches};
use serde_json::json;

use crate::harness::{Bundle, Container, only_in_the_matrix, trials};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        fifty_creates_at_a_time_get_different_addresses,
        a_hundred_containers_by_ten_at_a_time_share_a_bridge,
        an_address_is_free_again_after_delete,
        the_bridge_goes_with_its_last_container,
        a_full_subnet_is_an_error,
        leases_of_containers_that_are_gone_are_taken_back,
        leases_of_an_earlier_boot_are_forgotten,
        delete_force_finds_the_lease_of_a_container_without_directory,
        delete_force_works_with_a_damaged_state,
        an_address_belongs_to_one_container,
        a_failing_create_frees_its_address,
        a_bridge_that_was_deleted_is_made_again,
        containers_below_two_roots_share_a_bridge,
    ]
}

fn fifty_creates_at_a_time_get_different_addresses() {
    let host = Host::new();
    let bundles: Vec<Bundle> = (0..50).map(|_| host.on_bridge()).collect();
    let running: Vec<_> = bundles
        .iter()
        .map(|bundle| bundle.call("create", &[]).start())
        .collect();
    for create in running {
        create.wait().assert_ok();
    }
    let containers: Vec<Container> = bundles.iter().map(Bundle::container).collect();
    let all: Vec<String> = containers.iter().flat_map(addresses).collect();
    let distinct: BTreeSet<&String> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (100, 100), "{all:?}");
    assert_eq!(host.links().len(), 51);
    let deletes: Vec<_> = (containers.iter())
        .map(|container| {
            host.runtime()
                .call(&["delete", "--force", container.id()])
                .start()
        })
        .collect();
    for delete in deletes {
        delete.wait().assert_ok();
    }
    host.assert_clean();
}

fn a_hundred_containers_by_ten_at_a_time_share_a_bridge() {
    only_in_the_matrix(); // This takes 10 s.
    let host = Host::new();
    let bundles: Vec<Bundle> = (0..100).map(|_| host.on_bridge()).collect();
    for ten in bundles.chunks(10) {
        let running: Vec<_> = (ten.iter())
            .map(|bundle| bundle.call("run", &["--detach"]).start())
            .collect();
        for run in running {
            run.wait().assert_ok();
        }
    }
    let containers: Vec<Container> = bundles.iter().map(Bundle::container).collect();
    let distinct: BTreeSet<String> = containers.iter().flat_map(addresses).collect();
    assert_eq!(distinct.len(), 200);
    let last = &addresses(&containers[99])[0];
    assert!(container_reaches(&containers[0], last), "{last}");
    for ten in containers.chunks(10) {
        let running: Vec<_> = (ten.iter())
            .map(|container| {
                let delete = ["delete", "--force", container.id()];
                host.runtime().call(&delete).start()
            })
            .collect();
        for delete in running {
            delete.wait().assert_ok();
        }
    }
    host.assert_clean();
}

fn an_address_is_free_again_after_delete() {
    let host = Host::new();
    let bundles = [host.on_bridge(), host.on_bridge()];
    let [first, second] = bundles.each_ref().map(|bundle| bundle.create());
    let before = annotation(&first, "address");
    let mac = annotation(&first, "mac");
    first.delete_force().assert_ok();
    let third = host.on_bridge();
    let third = third.create();
    assert_eq!(annotation(&third, "address"), before);
    // What others remember about the address is still true.
    assert_eq!(annotation(&third, "mac"), mac);
    second.delete_force().assert_ok();
    third.delete_force().assert_ok();
    host.assert_clean();
}

fn the_bridge_goes_with_its_last_container() {
    let host = Host::new();
    let bundles = [host.on_bridge(), host.on_bridge()];
    let [first, second] = bundles.each_ref().map(|bundle| bundle.create());
    first.delete_force().assert_ok();
    assert!(host.links().contains(&"br0".to_owned()));
    second.delete_force().assert_ok();
    host.assert_clean();
    // Somebody else's bridge with the name of one that rt has made.
    let third = host.on_bridge();
    let third = third.create();
    host.sh("ip link delete br0 && ip link add br0 type bridge");
    third.delete_force().assert_ok();
    assert_eq!(host.links(), ["br0"]);
}

fn a_full_subnet_is_an_error() {
    let host = Host::new();
    let small = || host.bundle(&[("bridge", "br0"), ("subnet", "10.88.0.0/30")]);
    let first = small();
    let container = first.create();
    assert_eq!(annotation(&container, "address"), "10.88.0.2/30");
    small().call("create", &[]).run().assert_refused(
        r#"annotations: rt.network.bridge: "br0": no address of 10.88.0.0/30 is free: 1 containers use it; delete some, or use another bridge"#,
    );
    container.delete_force().assert_ok();
    host.assert_clean();
}

fn leases_of_containers_that_are_gone_are_taken_back() {
    let host = Host::new();
    let small = || host.bundle(&[("bridge", "br0"), ("subnet", "10.88.0.0/30")]);
    let first = small();
    let gone = first.create();
    let pid = gone.pid();
    fs::remove_dir_all(host.runtime().root().join(gone.id())).unwrap();
    let second = small();
    let container = second.create();
    assert_eq!(annotation(&container, "address"), "10.88.0.2/30");
    assert_eq!(host.record("br0")["leases"].as_array().unwrap().len(), 1);
    container.delete_force().assert_ok();
    host.sh(&format!("kill -KILL {pid}"));
    host.assert_clean();
}

/// The directory of the records may survive a reboot, the links do not.
fn leases_of_an_earlier_boot_are_forgotten() {
    let host = Host::new();
    let record = r#"{"boot_id":"00000000-0000-0000-0000-000000000000","mac":"02:00:00:00:00:09","subnets":["10.88.0.1/30"],"leases":[{"root":"/","id":"run","bridge":"br0","interface":"eth0","host_interface":"rt0","mac":"02:00:00:00:00:01","addresses":["10.88.0.2/30"],"gateways":[],"masquerade":false,"ports":[]}]}"#;
    host.sh(&format!(
        "mkdir -p -m 700 /run/rt/network/br0 && echo '{record}' > /run/rt/network/br0/leases.json"
    ));
    let bundle = host.bundle(&[("bridge", "br0"), ("subnet", "10.88.0.0/30")]);
    let container = bundle.create();
    assert_eq!(annotation(&container, "address"), "10.88.0.2/30");
    container.delete_force().assert_ok();
    host.assert_clean();
}

fn delete_force_finds_the_lease_of_a_container_without_directory() {
    let host = Host::new();
    let bundle = host.on_bridge();
    let container = bundle.create();
    let pid = container.pid();
    fs::remove_dir_all(host.runtime().root().join(container.id())).unwrap();
    container.delete_force().assert_ok();
    host.assert_clean();
    host.sh(&format!("kill -KILL {pid}"));
}

fn delete_force_works_with_a_damaged_state() {
    let host = Host::new();
    let bundle = host.on_bridge();
    let container = bundle.create();
    let pid = container.pid();
    let state = host
        .runtime()
        .root()
        .join(container.id())
        .join("state.json");
    fs::write(&state, "{").unwrap();
    assert_eq!(container.delete_force().code(), 0);
    host.assert_clean();
    drop(host.try_sh(&format!("kill -KILL {pid}")));
}

fn an_address_belongs_to_one_container() {
    let host = Host::new();
    let fixed = |address| annotate(host.on_bridge(), &[("address", address)]);
    let first = fixed("10.88.0.50/24");
    let container = first.create();
    let second = fixed("10.88.0.50/24");
    second.call("create", &[]).run().assert_refused(&format!(
        r#"annotations: rt.network.address: "10.88.0.50/24": the container {} (--root {}) has it; choose another one, or "auto""#,
        container.id(),
        host.runtime().root().display()
    ));
    let mac = annotate(host.on_bridge(), &[("mac", &annotation(&container, "mac"))]);
    mac.call("create", &[])
        .run()
        .assert_refused("rt.network.mac");
    container.delete_force().assert_ok();
    host.assert_clean();
}

fn a_failing_create_frees_its_address() {
    let host = Host::new();
    let failures = [
        (
            "/mounts/-",
            json!({ "destination": "/tmp", "type": "nosuchfs", "source": "none" }),
        ),
        ("/hooks/createRuntime", json!([{ "path": "/bin/false" }])),
        ("/process/args", json!(["/no/such/program"])),
    ];
    for (pointer, value) in failures {
        let failed = host
            .on_bridge()
            .set(pointer, value)
            .call("create", &[])
            .run();
        failed.assert_refused("");
        host.assert_clean();
    }
}

fn a_bridge_that_was_deleted_is_made_again() {
    let host = Host::new();
    let bundles = [host.on_bridge(), host.bundle(&[("bridge", "br0")])];
    let first = bundles[0].create();
    host.sh("ip link delete br0");
    let second = bundles[1].run_detached();
    assert_eq!(addresses(&second), ["10.88.0.3", "fd00:88::3"]);
    assert!(host.reaches("10.88.0.3"));
    first.delete_force().assert_ok();
    second.delete_force().assert_ok();
    host.assert_clean();
}

fn containers_below_two_roots_share_a_bridge() {
    let host = Host::new();
    let bundle = host.on_bridge();
    let id = bundle.id().to_owned();
    let container = bundle.create();
    let other = host
        .on_bridge()
        .set("/linux/cgroupsPath", json!(format!("/{id}-other")));
    other.write();
    let program = other.runtime().program();
    let elsewhere = format!("{} --root /run/other", program.display());
    host.sh(&format!(
        "{elsewhere} run --detach --bundle {} {id} >/dev/null 2>&1",
        other.path().display()
    ));
    let record = host.record("br0");
    let leases = record["leases"].as_array().unwrap();
    assert_eq!(leases.len(), 2);
    assert_ne!(leases[0]["addresses"], leases[1]["addresses"]);
    assert_ne!(leases[0]["host_interface"], leases[1]["host_interface"]);
    container.delete_force().assert_ok();
    assert_eq!(host.record("br0")["leases"].as_array().unwrap().len(), 1);
    host.sh(&format!("{elsewhere} delete --force {id}"));
    host.assert_clean();
}
