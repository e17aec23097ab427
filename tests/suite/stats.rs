//! `stats` and `list --stats`: what containers use, for people.

use crate::runner::Test;
use serde_json::Value;

use crate::harness::{Bundle, Container, Running, Runtime, needs, only_rt, trials, wait_until};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        the_figures_of_running_containers_are_shown,
        json_has_one_array_each_interval,
        a_container_that_vanishes_is_a_row_less,
        a_terminal_shows_the_table_in_place,
        a_container_that_does_not_run_is_refused,
    ]
}

const COMMON: [&str; 7] = [
    "blockRead",
    "blockWritten",
    "cpuTime",
    "memory",
    "memoryLimit",
    "pids",
    "pressure",
];

fn running(runtime: &Runtime, id: &str, script: &str) -> (Bundle, Container) {
    let bundle = Bundle::with_runtime(runtime).with_id(id).sh(script);
    let container = bundle.run_detached();
    (bundle, container)
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

fn the_figures_of_running_containers_are_shown() {
    only_rt("other runtimes have no stats");
    let runtime = Runtime::new();
    let (_web, _container) = running(&runtime, "stats-web", "sleep 1000");
    let created = Bundle::with_runtime(&runtime).with_id("stats-created");
    let created = created.args(&["/probe", "sleep"]);
    let _created = created.create();
    let stats = |args: &[&str]| {
        let fixed = ["stats", "--no-stream", "--interval=10ms"];
        runtime
            .call(&[&fixed, args].concat())
            .run()
            .assert_ok()
            .stdout
    };
    let table = stats(&[]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[0].starts_with("ID ") && lines[0].ends_with("PRESSURE CPU / MEM / I/O"),
        "{table}"
    );
    assert_eq!(lines.len(), 2, "{table}");
    assert!(
        lines[1].starts_with("stats-web ") && lines[1].contains('%'),
        "{table}"
    );
    // Flags may follow the ids.
    let json: Value =
        serde_json::from_str(&stats(&["stats-created", "stats-web", "-f", "json"])).unwrap();
    assert_eq!(json[0]["id"], "stats-created");
    assert_eq!(json[1]["id"], "stats-web");
    assert!(json[1]["memory"].as_u64().unwrap() > 0, "{json}");
    assert_eq!(json[1]["pids"], 1);

    let table = runtime.call(&["list", "--stats"]).run().assert_ok().stdout;
    let titles: Vec<&str> = table.lines().next().unwrap().split("   ").collect();
    let titles: Vec<&str> = titles
        .iter()
        .map(|t| t.trim())
        .filter(|t| !t.is_empty())
        .collect();
    assert_eq!(
        titles[titles.len() - 3..],
        ["CPU TIME", "MEMORY", "PIDS"],
        "{table}"
    );
    let json = runtime
        .call(&["list", "--stats", "--format=json"])
        .run()
        .assert_ok()
        .stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    for entry in json.as_array().unwrap() {
        assert_eq!(keys(&entry["stats"]), COMMON, "{entry}");
    }
}

/// The arrays that a running `stats --format json` has written so far.
fn arrays(stats: &Running) -> Vec<Value> {
    let text = stats.stdout();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn json_has_one_array_each_interval() {
    only_rt("other runtimes have no stats");
    let runtime = Runtime::new();
    let (_busy, _container) = running(&runtime, "stats-busy", "while :; do :; done");
    let shared = Bundle::with_runtime(&runtime).with_id("stats-shared");
    let shared = shared
        .without_namespace("network")
        .args(&["/probe", "sleep"]);
    let _shared = shared.run_detached();
    let call = runtime.call(&["stats", "--format=json", "--interval=20ms"]);
    let stats = call.start();
    wait_until("the busy container has used CPU", || {
        arrays(&stats)
            .iter()
            .any(|array| array[0]["cpuPercent"].as_f64() > Some(0.0))
    });
    let arrays = arrays(&stats);
    let mut expected = [
        &COMMON[..],
        &[
            "cpuPercent",
            "id",
            "memoryPercent",
            "networkReceived",
            "networkSent",
        ],
    ]
    .concat();
    expected.sort_unstable();
    for array in &arrays {
        for entry in array.as_array().unwrap() {
            assert_eq!(keys(entry), expected);
        }
        assert_eq!(array[0]["networkReceived"], 0);
        assert_eq!(
            array[1]["networkReceived"],
            Value::Null,
            "shares the host's network"
        );
    }
    assert_eq!(
        arrays[0][0]["cpuPercent"],
        Value::Null,
        "nothing was measured before"
    );
}

fn a_container_that_vanishes_is_a_row_less() {
    only_rt("other runtimes have no stats");
    let runtime = Runtime::new();
    let (_one, one) = running(&runtime, "stats-one", "sleep 1000");
    let (_two, two) = running(&runtime, "stats-two", "sleep 1000");
    let ids = |array: &Value| -> Vec<String> {
        let entries = array.as_array().unwrap().iter();
        entries
            .map(|entry| entry["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let args = ["stats", "--format=json", "--interval=20ms"];
    let all = runtime.call(&args).start();
    let named = runtime
        .call(&[&args[..], &["stats-one", "stats-two"]].concat())
        .start();
    let both = |stats: &Running, expected: &[&str]| {
        wait_until(&format!("a line with {expected:?}"), || {
            arrays(stats)
                .last()
                .is_some_and(|array| ids(array) == expected)
        });
    };
    both(&all, &["stats-one", "stats-two"]);
    both(&named, &["stats-one", "stats-two"]);
    one.end();
    both(&all, &["stats-two"]);
    both(&named, &["stats-two"]);
    two.end();
    both(&all, &[]);
    named.wait().assert_ok();
    let (_three, three) = running(&runtime, "stats-three", "sleep 1000");
    both(&all, &["stats-three"]);
    three.end();
}

fn a_terminal_shows_the_table_in_place() {
    only_rt("other runtimes have no stats");
    needs("script", "bsdutils");
    let runtime = Runtime::new();
    let (_web, container) = running(&runtime, "stats-tty", "sleep 1000");
    let (program, root) = (runtime.program(), runtime.root());
    let command = format!(
        "stty cols 30 rows 2; {} --root {} stats --interval=20ms stats-tty",
        program.display(),
        root.display()
    );
    let shown = runtime
        .call_as_is(vec!["script", "-qec", &command, "/dev/null"])
        .start();
    wait_until("two tables on the terminal", || {
        shown.stdout().matches("\x1b[HID ").count() >= 2
    });
    container.end();
    let output = shown.wait().assert_ok().stdout;
    // One line less than the terminal has, each no longer than it is wide.
    let tables: Vec<&str> = output.split("\x1b[H").skip(1).collect();
    for table in tables {
        assert_eq!(table.matches("\x1b[K").count(), 1, "{output:?}");
        assert_eq!(table.find("\x1b[K"), Some(30), "{output:?}");
        assert!(table.ends_with("\x1b[J"), "{output:?}");
    }
}

fn a_container_that_does_not_run_is_refused() {
    only_rt("other runtimes have no stats");
    let runtime = Runtime::new();
    let (_ended, ended) = running(&runtime, "stats-ended", "exit 0");
    ended.wait_stopped();
    for (args, text) in [
        (
            &["stats", "stats-ended"][..],
            "rt stats: stats-ended: container not running: stopped\n",
        ),
        (
            &["stats", "stats-endde"],
            "rt stats: stats-endde: container does not exist; did you mean stats-ended?\n",
        ),
        (
            &["stats", "--interval=0"],
            "rt stats: duration interval must be greater than 0\n",
        ),
        (
            &["stats", "--format=jsno"],
            "rt stats: invalid format option: jsno: did you mean json?\n",
        ),
    ] {
        assert_eq!(runtime.call(args).run().assert_code(1).stderr, text);
    }
    let call = runtime.call(&["stats", "--no-stream", "--interval=1ms", "--format=json"]);
    assert_eq!(call.run().assert_ok().stdout, "[]\n");
}
