//! `list`: the containers below `--root`, as a table, as ids and as JSON.

use crate::runner::Test;
use serde_json::Value;

use crate::harness::{Bundle, Kind, Runtime, differs, only_rt, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        table_has_a_line_for_each_container,
        quiet_prints_ids_alone,
        json_has_the_states,
        an_unreadable_container_does_not_hide_the_others,
        an_empty_root_lists_nothing,
        a_missing_root_is_an_error,
        an_unknown_format_is_refused,
    ]
}

fn sleeper(runtime: &Runtime, id: &str) -> Bundle {
    Bundle::with_runtime(runtime)
        .with_id(id)
        .args(&["/probe", "sleep"])
}

fn table_has_a_line_for_each_container() {
    let runtime = Runtime::new();
    let (one, two) = (sleeper(&runtime, "list-one"), sleeper(&runtime, "list-two"));
    let (created, running) = (one.create(), two.run_detached());
    let output = runtime.call(&["list"]).run().assert_ok().stdout;
    let rows: Vec<Vec<&str>> = output
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let id = if runtime.kind() == Kind::Crun {
        "NAME"
    } else {
        "ID"
    };
    assert_eq!(rows[0][..4], [id, "PID", "STATUS", "BUNDLE"]);
    assert_eq!(rows[0][rows[0].len() - 2..], ["CREATED", "OWNER"]);
    for (row, container, bundle, status) in [
        (&rows[1], &created, &one, "created"),
        (&rows[2], &running, &two, "running"),
    ] {
        assert_eq!(row[0], container.id());
        assert_eq!(row[1], container.pid().to_string());
        assert_eq!(row[2], status);
        assert_eq!(row[3], bundle.path().to_str().unwrap());
        assert_eq!(row[5], "root");
    }
    assert_eq!(rows.len(), 3);
}

fn quiet_prints_ids_alone() {
    let runtime = Runtime::new();
    let (one, two) = (
        sleeper(&runtime, "quiet-one"),
        sleeper(&runtime, "quiet-two"),
    );
    let _containers = (one.create(), two.create());
    assert_eq!(
        runtime.call(&["list", "-q"]).run().assert_ok().stdout,
        "quiet-one\nquiet-two\n"
    );
    assert_eq!(
        runtime.call(&["list", "--quiet"]).run().assert_ok().stdout,
        "quiet-one\nquiet-two\n"
    );
}

fn json_has_the_states() {
    let runtime = Runtime::new();
    let bundle = sleeper(&runtime, "json-one");
    let container = bundle.create();
    let output = runtime
        .call(&["list", "--format", "json"])
        .run()
        .assert_ok()
        .stdout;
    let list: Value = serde_json::from_str(&output).unwrap();
    let items = list.as_array().unwrap();
    assert_eq!(items.len(), 1);
    let mut expected = container.state();
    expected["owner"] = "root".into();
    if runtime.kind() == Kind::Crun {
        assert_eq!(items[0]["id"], expected["id"]);
    } else {
        assert_eq!(items[0], expected);
    }
}

fn an_unreadable_container_does_not_hide_the_others() {
    differs(Kind::Crun, "it lists none of them");
    let runtime = Runtime::new();
    let bundle = sleeper(&runtime, "whole");
    let _container = bundle.create();
    std::fs::create_dir(runtime.root().join("broken")).unwrap();
    std::fs::write(runtime.root().join("broken/state.json"), "{").unwrap();
    let output = runtime.call(&["list", "-q"]).run().assert_ok();
    assert_eq!(output.stdout, "whole\n");
    assert!(output.stderr.contains("broken"), "{output}");
    std::fs::remove_dir_all(runtime.root().join("broken")).unwrap();
}

fn an_empty_root_lists_nothing() {
    let runtime = Runtime::new();
    std::fs::create_dir_all(runtime.root()).unwrap();
    let table = runtime.call(&["list"]).run().assert_ok().stdout;
    assert_eq!(table.lines().count(), 1, "only the header: {table}");
    assert_eq!(runtime.call(&["list", "-q"]).run().assert_ok().stdout, "");
    let json = runtime
        .call(&["list", "-f", "json"])
        .run()
        .assert_ok()
        .stdout;
    let expected = if runtime.kind() == Kind::Crun {
        "[]"
    } else {
        "null"
    };
    assert_eq!(json.trim(), expected);
}

fn a_missing_root_is_an_error() {
    only_rt("crun and Debian's old runc list nothing; newer runc refuses a missing --root");
    let runtime = Runtime::new();
    runtime.call(&["list"]).run().assert_refused("");
}

fn an_unknown_format_is_refused() {
    let runtime = Runtime::new();
    std::fs::create_dir_all(runtime.root()).unwrap();
    runtime
        .call(&["list", "--format", "xml"])
        .run()
        .assert_refused("");
}
