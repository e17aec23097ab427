//! config.md, "Linux mount options": `remount` and `iversion`.

use serde_json::json;

use crate::common::tmpfs;
use crate::harness::{Bundle, Kind, trials, violates};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![remount, iversion]
}

/// "remount: MUST": the mount at the destination gets other options, and remains the same file system.
fn remount() {
    let again = json!({
        "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["remount", "ro", "noexec"],
    });
    let bundle = Bundle::new()
        .mount(tmpfs("/tmp", &["size=1m"]))
        .mount(again);
    let seen = bundle.probe();
    assert_eq!(seen.mounts_at("/tmp").len(), 1, "it is mounted twice");
    seen.mount("/tmp").assert_options(&["ro", "noexec"]);
}

/// "iversion: MUST": `MS_I_VERSION`, which a tmpfs takes and does not show.
fn iversion() {
    violates(Kind::Crun, "as old as Debian's hands it to the file system");
    let seen = Bundle::new().mount(tmpfs("/tmp", &["iversion"])).probe();
    assert_eq!(seen.mount("/tmp").kind(), "tmpfs");
}
