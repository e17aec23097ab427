//! `diff`: what a container has changed, as a list and as a layer of an image.

mod apply;
mod changes;
mod hostile;
mod layer;
mod layers;
mod list;
mod refusals;
mod same;
mod users;

use std::path::PathBuf;

use crate::runner::Test;
use serde_json::json;

use crate::harness::{Bundle, Container, Outcome, only_rt};

pub(crate) fn tests() -> Vec<Test> {
    [
        list::tests(),
        layer::tests(),
        layers::tests(),
        hostile::tests(),
        refusals::tests(),
        users::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A container on an ephemeral overlay.
fn with_overlay(bundle: Bundle) -> Bundle {
    only_rt("the command is rt's own");
    bundle
        .writable()
        .set("/annotations/rt.rootfs.overlay", json!("ephemeral"))
}

/// The same without mounts, so that the container's root shows the overlay alone.
fn without_mounts(bundle: Bundle) -> Bundle {
    with_overlay(bundle)
        .set("/mounts", json!([]))
        .set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!([]))
}

/// A container that runs `script` and then waits.
fn after(bundle: Bundle, script: &str) -> (Bundle, Container) {
    let bundle = bundle.sh(&format!("{script}\necho done; sleep 1000"));
    let container = bundle.run_detached();
    container.wait_for("done");
    (bundle, container)
}

/// The container's root, through its process.
fn root_of(container: &Container) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root", container.pid()))
}

fn diff(bundle: &Bundle, flags: &[&str]) -> Outcome {
    let mut arguments = vec!["diff"];
    arguments.extend(flags);
    arguments.push(bundle.id());
    bundle.runtime().call(&arguments).run()
}
