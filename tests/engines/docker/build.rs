//! `docker build` with the legacy builder and with BuildKit.

use std::fs;

use super::security::{STAT_FORMAT, host_null_device};
use super::{Test, tests};
use crate::command::{self, CommandOutput};
use crate::dockerd::{BUSYBOX, Dockerd};

pub(super) fn all() -> Vec<Test> {
    tests![
        build,
        build_fails,
        build_hides_the_null_device_of_the_host,
        buildkit,
        buildkit_fails,
    ]
}

const STAGES: &str = "\
FROM busybox AS first
ARG WORD=none
COPY source/file /in/
WORKDIR /out
RUN echo \"$WORD $(cat /in/file) $(id -u)\" > made && chown user made && ln -s made link
USER user
RUN id -un > /tmp/user

FROM busybox
ENV KEPT=yes
COPY --from=first /out /out
COPY --from=first /tmp/user /user
USER 1000
CMD [\"sh\", \"-c\", \"cat /out/link /user; echo $KEPT; stat -c %U /out/made\"]
";

/// Builds the Dockerfile `text` as the image `name`.
fn build_of(docker: &Dockerd, name: &str, text: &str, buildkit: &str) -> CommandOutput {
    let directory = docker.path(name);
    fs::create_dir_all(directory.join("source")).unwrap();
    fs::write(directory.join("source/file"), "copied").unwrap();
    fs::write(directory.join("Dockerfile"), text).unwrap();
    let mut client = docker.client();
    client.env("DOCKER_BUILDKIT", buildkit);
    client.args(["build", "-t", name, "--build-arg", "WORD=argument"]);
    command::run(client.arg(directory))
}

fn builds(docker: &Dockerd, name: &str, buildkit: &str) {
    build_of(docker, name, STAGES, buildkit).ok();
    let output = docker.docker(&["run", "--rm", name]).ok();
    assert_eq!(output, "argument copied 0\nuser\nyes\nuser");
    docker.docker(&["rmi", name]).ok();
}

fn fails(docker: &Dockerd, name: &str, buildkit: &str) {
    let text = format!("FROM {BUSYBOX}\nRUN echo to the log; exit 23\n");
    let output = build_of(docker, name, &text, buildkit);
    assert_ne!(output.status, 0);
    let text = output.stdout + &output.stderr;
    assert!(text.contains("to the log"), "{text}");
    assert!(text.contains("23"), "{text}");
    assert_eq!(docker.docker(&["inspect", name]).status, 1);
}

fn build(docker: &Dockerd) {
    builds(docker, "build", "0");
}

fn build_fails(docker: &Dockerd) {
    fails(docker, "build_fails", "0");
}

fn build_hides_the_null_device_of_the_host(docker: &Dockerd) {
    let text = format!("FROM {BUSYBOX}\nRUN stat -L -c 'null: {STAT_FORMAT}' /proc/keys\n");
    let output = build_of(
        docker,
        "build_hides_the_null_device_of_the_host",
        &text,
        "0",
    )
    .ok();
    assert!(output.contains("\nnull: "), "{output}");
    assert!(
        !output.contains(&format!("null: {}", host_null_device())),
        "{output}"
    );
}

fn buildkit(docker: &Dockerd) {
    builds(docker, "buildkit", "1");
}

fn buildkit_fails(docker: &Dockerd) {
    fails(docker, "buildkit_fails", "1");
}
