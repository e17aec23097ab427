//! nginx from Debian's package, as in a Deployment.

use std::process::Command;

use serde_json::{Value, json};

use super::Pod;
use crate::cgroups::limit;
use crate::containerd::{Containerd, Test};
use crate::{command, image};

pub(super) const TESTS: &[Test] = &[("nginx", nginx)];

const NGINX: &str = "localhost/rt/nginx:1";

/// Starts nginx with its access log on standard output.
const START: &str = "ln -sf /dev/stdout /var/log/nginx/access.log && exec nginx -g 'daemon off;'";

fn page(address: &str, path: &str) -> command::CommandOutput {
    let url = format!("http://{address}/{path}");
    command::run(Command::new("curl").args(["-sS", "-m", "5", &url]))
}

fn nginx(daemon: &Containerd) {
    let archive = image::debian_archive().unwrap_or_else(|reason| panic!("{reason}"));
    let image = json!({ "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["nginx", "-g", "daemon off;"] });
    daemon.import("k8s.io", NGINX, &archive, &image);
    let pod = Pod::new(daemon, "nginx");
    let config = |attempt: u32| -> Value {
        json!({
            "metadata": { "name": "nginx", "attempt": attempt },
            "command": ["sh", "-c", START],
            "image": { "image": NGINX },
            "linux": {
                "resources": { "memory_limit_in_bytes": 134_217_728, "cpu_quota": 100_000, "cpu_period": 100_000 },
                "security_context": {
                    "seccomp": { "profile_type": "RuntimeDefault" },
                    "no_new_privs": true,
                    "capabilities": {
                        "drop_capabilities": ["ALL"],
                        "add_capabilities": ["NET_BIND_SERVICE", "SETUID", "SETGID", "CHOWN", "DAC_OVERRIDE"],
                    },
                },
            },
        })
    };
    let container = pod.run("nginx", config(0));
    let address = pod.address();
    let serves = || page(&address, "").stdout.contains("Welcome to nginx!");
    command::wait_until("nginx serves", 30, serves);
    command::wait_until("requests are logged", 20, || {
        page(&address, "asked-for");
        container.log().contains("GET /asked-for HTTP/1.1\" 404")
    });

    let after = json!({ "memory_limit_in_bytes": 67_108_864 });
    container.call("UpdateContainerResources", json!({ "linux": after }));
    assert_eq!(
        limit(
            container.pid(),
            "memory",
            "memory.limit_in_bytes",
            "memory.max"
        ),
        "67108864"
    );
    assert!(serves());

    container.call("StopContainer", json!({ "timeout": 10 }));
    assert_eq!(container.wait(), 0, "nginx ends on SIGTERM by itself");
    assert!(!serves());
    container.call("RemoveContainer", json!({}));
    let _again = pod.run("nginx", config(1));
    command::wait_until("the next container serves", 30, serves);
}
