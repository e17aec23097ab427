//! `podman play kube` and `podman generate kube`.

use std::fs;

use super::RunAs::Both;
use super::{IMAGE, Podman, Test};
use crate::command::wait_until;

pub(super) const TESTS: &[Test] = &[
    ("play_kube", Both, play),
    ("play_kube_security", Both, security),
    ("generate_kube", Both, generate),
];

/// Creates a pod from YAML, calls `check`, and removes the pod.
fn with_pod(p: &Podman, name: &str, yaml: &str, check: impl Fn()) {
    let files = p.files(&format!("kube_{name}"));
    let path = files.join("pod.yaml");
    fs::write(&path, yaml.replace("IMAGE", IMAGE)).unwrap();
    let path = path.to_str().unwrap();
    p.ok(&["play", "kube", "--network", "none", path]);
    check();
    p.ok(&["play", "kube", "--down", path]);
    p.call(&["pod", "exists", name]).fails(1);
}

/// With another restart policy Podman 4.3 restarts even the init container for ever.
fn play(p: &Podman) {
    let yaml = r#"
apiVersion: v1
kind: Pod
metadata: {name: played, annotations: {io.podman.annotations.init.container.type: always}}
spec:
  restartPolicy: Never
  hostname: of-the-pod
  initContainers:
  - {name: before, image: IMAGE, command: [sh, -c, echo first >/shared/file], volumeMounts: [{name: shared, mountPath: /shared}]}
  containers:
  - name: main
    image: IMAGE
    command: [sh, -c, "cat /shared/file; hostname; echo $WORD; sleep 1000"]
    env: [{name: WORD, value: from the file}]
    volumeMounts: [{name: shared, mountPath: /shared}]
  - {name: side, image: IMAGE, command: [sleep, "1000"]}
  volumes: [{name: shared, persistentVolumeClaim: {claimName: played-shared}}]
"#;
    with_pod(p, "played", yaml, || {
        let main = p.container("played-main");
        main.wait_for("from the file");
        assert_eq!(main.logs(), "first\nof-the-pod\nfrom the file\n");
        assert_eq!(p.ok(&["exec", "played-side", "hostname"]), "of-the-pod");
    });
    p.ok(&["volume", "rm", "played-shared"]);
}

fn security(p: &Podman) {
    let yaml = r#"
apiVersion: v1
kind: Pod
metadata: {name: strict}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: IMAGE
    command: [sh, -c, "id; grep -E 'CapEff|NoNewPrivs' /proc/self/status; touch /x; echo end; sleep 1000"]
    securityContext:
      runAsUser: 1000
      runAsGroup: 2000
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities: {drop: [all]}
"#;
    with_pod(p, "strict", yaml, || {
        let main = p.container("strict-main");
        main.wait_for("end");
        let output = main.logs();
        assert!(
            output.starts_with("uid=1000(user) gid=2000(extra)"),
            "{output}"
        );
        assert!(
            output.contains("CapEff:\t0000000000000000\nNoNewPrivs:\t1"),
            "{output}"
        );
        assert!(output.contains("Read-only file system"), "{output}");
    });
}

fn generate(p: &Podman) {
    let files = p.files("kube_generate");
    let path = files.join("pod.yaml");
    let path = path.to_str().unwrap();
    {
        let c = p.start("generated", &["-e", "WORD=kept"], "echo $WORD; sleep 1000");
        p.ok(&["generate", "kube", "-f", path, &c.name]);
    }
    p.ok(&["play", "kube", "--network", "none", path]);
    let c = p.container("generated-pod-generated");
    wait_until("the container has printed the word", 20, || {
        c.logs() == "kept\n"
    });
    p.ok(&["play", "kube", "--down", path]);
}
