//! config.md: requirements for runtimes that read a configuration.

use crate::runner::Test;
use serde_json::json;

use crate::harness::{Bundle, Kind, differs, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        unknown_properties_are_ignored,
        unknown_annotations_are_ignored,
        the_root_path_may_be_relative_or_absolute,
        a_readonly_root_is_read_only,
        console_size_without_a_terminal_is_ignored,
        an_unmappable_rlimit_is_an_error,
        a_duplicate_rlimit_is_an_error,
        a_duplicate_namespace_is_an_error,
        a_namespace_of_another_type_is_an_error,
        mounts_are_made_in_the_listed_order,
        a_relative_destination_is_below_the_root,
        an_unset_oom_score_adj_is_not_changed,
        a_hostname_needs_no_domainname,
    ]
}

/// "Runtimes … MUST NOT generate an error if … an unknown property is encountered."
fn unknown_properties_are_ignored() {
    let bundle = Bundle::new()
        .set("/colour", json!({"red": 1}))
        .set("/process/colour", json!(["blue"]))
        .set("/linux/colour", json!("green"))
        .set("/mounts/0/colour", json!(7))
        .set("/linux/resources/colour", json!(true));
    bundle.sh("exit 0").run().assert_ok();
}

/// "Runtimes MUST handle unknown annotation keys like any other unknown property."
fn unknown_annotations_are_ignored() {
    let annotations = json!({"org.example.unheard-of": "x", "a": ""});
    Bundle::new()
        .set("/annotations", annotations)
        .sh("exit 0")
        .run()
        .assert_ok();
}

fn the_root_path_may_be_relative_or_absolute() {
    let bundle = Bundle::new().sh("exit 2");
    bundle.run().assert_code(2);
    let absolute = bundle.rootfs();
    bundle
        .set("/root/path", json!(absolute))
        .run()
        .assert_code(2);
}

/// "If true then the root filesystem MUST be read-only inside the container"
fn a_readonly_root_is_read_only() {
    let readonly = Bundle::new().sh("touch /file");
    assert_ne!(readonly.run().code(), 0);
    assert!(!readonly.rootfs().join("file").exists());
    let writable = Bundle::new().writable().sh("touch /file");
    writable.run().assert_ok();
    assert!(writable.rootfs().join("file").exists());
}

/// "Runtimes MUST ignore consoleSize if terminal is false or unset."
fn console_size_without_a_terminal_is_ignored() {
    let size = json!({"height": 5, "width": 7});
    Bundle::new()
        .set("/process/consoleSize", size)
        .sh("exit 0")
        .run()
        .assert_ok();
}

/// "The runtime MUST generate an error for any values which cannot be mapped to a relevant
/// kernel interface."
fn an_unmappable_rlimit_is_an_error() {
    let limits = json!([{"type": "RLIMIT_UNHEARD_OF", "soft": 1, "hard": 1}]);
    assert_ne!(
        Bundle::new().set("/process/rlimits", limits).run().code(),
        0
    );
}

/// "If rlimits contains duplicated entries with same type, the runtime MUST generate an error."
fn a_duplicate_rlimit_is_an_error() {
    differs(Kind::Runc, "has no such check");
    differs(Kind::Crun, "has no such check");
    let limit = json!({"type": "RLIMIT_CORE", "soft": 0, "hard": 0});
    let bundle = Bundle::new().set("/process/rlimits", json!([limit, limit]));
    assert_ne!(bundle.run().code(), 0);
}

/// "If a namespaces field contains duplicated namespaces with same type, the runtime MUST
/// generate an error."
fn a_duplicate_namespace_is_an_error() {
    differs(Kind::Crun, "has no such check");
    let bundle = Bundle::new().set("/linux/namespaces/-", json!({"type": "uts"}));
    assert_ne!(bundle.run().code(), 0);
}

/// "The runtime MUST generate an error if path is not associated with a namespace of type type."
fn a_namespace_of_another_type_is_an_error() {
    let bundle = Bundle::new().namespace("network", Some("/proc/self/ns/ipc"));
    assert_ne!(bundle.run().code(), 0);
}

/// "The runtime MUST mount entries in the listed order."
fn mounts_are_made_in_the_listed_order() {
    let tmpfs = |place: &str| json!({"destination": place, "type": "tmpfs", "source": "tmpfs"});
    let bundle = Bundle::new()
        .mount(tmpfs("/tmp"))
        .mount(tmpfs("/tmp/inner"));
    assert!(bundle.probe().has_mount("/tmp/inner"));
    let bundle = Bundle::new()
        .folder("tmp/inner")
        .mount(tmpfs("/tmp/inner"))
        .mount(tmpfs("/tmp"));
    bundle.sh("test ! -e /tmp/inner").run().assert_ok();
}

/// "a relative path … MUST be interpreted as relative to '/'"
fn a_relative_destination_is_below_the_root() {
    differs(Kind::Crun, "as old as Debian's refuses it");
    let mount = json!({"destination": "tmp", "type": "tmpfs", "source": "tmpfs"});
    assert!(Bundle::new().mount(mount).probe().has_mount("/tmp"));
}

/// "If oomScoreAdj is not set, the runtime MUST NOT change the value of oom_score_adj."
fn an_unset_oom_score_adj_is_not_changed() {
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let bundle = Bundle::new()
        .remove("/process/oomScoreAdj")
        .sh("cat /proc/self/oom_score_adj");
    assert_eq!(bundle.run().assert_ok().stdout, own);
}

fn a_hostname_needs_no_domainname() {
    assert_eq!(Bundle::new().hostname("a.b-c").probe()["hostname"], "a.b-c");
}
