//! The messages that documents quote are those that `rt` prints.

use serde_json::json;

use super::examples;
use crate::harness::{Bundle, only_rt, trials};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        the_message_of_a_mount_that_fails,
        the_message_of_a_program_that_does_not_exist,
    ]
}

#[track_caller]
fn assert_quoted(document: &str, message: &str) {
    let mut documents = examples::documents().into_iter();
    let text = documents.find_map(|(path, text)| (path == document).then_some(text));
    let text = text.unwrap_or_else(|| panic!("no {document}"));
    assert!(
        text.contains(message),
        "{document} does not quote: {message}"
    );
}

/// The error line of `create`, with `name` in place of the id.
fn refusal(bundle: &Bundle, name: &str) -> String {
    let outcome = bundle.call("create", &[]).run().assert_code(1);
    outcome.one_line().replace(bundle.id(), name)
}

fn the_message_of_a_mount_that_fails() {
    only_rt("the message is that of rt");
    let mut bundle = Bundle::new();
    while bundle.config().items("/mounts").len() < 8 {
        bundle = bundle.mount(json!({ "destination": "/tmp", "type": "tmpfs" }));
    }
    let wrong = json!({ "destination": "/data", "type": "nosuchfs", "source": "nosuchfs" });
    let bundle = bundle.folder("data").mount(wrong);
    assert_quoted("README.md", &refusal(&bundle, "web"));
}

fn the_message_of_a_program_that_does_not_exist() {
    only_rt("the message is that of rt");
    let bundle = Bundle::new().args(&["sl"]);
    let message = refusal(&bundle, "6f1c…");
    assert_quoted(
        "docs/docker.md",
        &format!("create failed: {message}: unknown."),
    );
}
