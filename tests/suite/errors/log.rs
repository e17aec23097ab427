//! The destinations of an error: stderr and the file of `--log`, as text or JSON, always on one line.

use std::fs;

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{Bundle, HostState, Kind, Runtime, differs, only_rt, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        an_error_is_logged_as_json,
        an_error_is_written_to_the_log_file_and_stderr,
        a_warning_is_written_to_the_log_file_only,
        an_error_is_always_one_line,
    ]
}

/// The format is that of logrus. podman and containerd read these three keys.
fn an_error_is_logged_as_json() {
    let runtime = Runtime::new().global("--log-format=json");
    let bundle = Bundle::with_runtime(&runtime).set("/process/cwd", json!(""));
    let before = HostState::of(&bundle);
    let outcome = bundle.call("create", &[]).run().assert_code(1);
    before.assert_unchanged(&bundle);
    if runtime.kind() == Kind::Crun {
        return;
    }
    assert_record(
        outcome.one_line(),
        &runtime,
        &format!("rt create: {}: process.cwd: required", bundle.id()),
    );
}

#[track_caller]
fn assert_record(line: &str, runtime: &Runtime, text: &str) {
    let record: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    assert_eq!(record["level"], "error");
    let time = record["time"].as_str().unwrap();
    assert!(
        time.len() == "2026-01-02T03:04:05Z".len() && time.ends_with('Z'),
        "{time}"
    );
    if runtime.kind() == Kind::Rt {
        assert_eq!(record["msg"], text);
        assert!(
            line.starts_with("{\"level\":\"error\",\"msg\":\""),
            "{line}"
        );
    }
}

fn an_error_is_written_to_the_log_file_and_stderr() {
    differs(Kind::Crun, "accepts a relative cwd");
    for format in ["text", "json"] {
        let runtime = Runtime::new();
        let log = runtime.home().join("log");
        let runtime = runtime.global("--log").global(log.to_str().unwrap());
        let runtime = runtime.global("--log-format").global(format);
        let bundle = Bundle::with_runtime(&runtime).set("/process/cwd", json!("a\"b"));
        fs::write(&log, "before\n").unwrap();
        let outcome = bundle.call("create", &[]).run().assert_code(1);
        let written = fs::read_to_string(&log).unwrap();
        let last = written.lines().last().unwrap_or_default();
        assert!(
            written.starts_with("before\n"),
            "the log is appended to: {written}"
        );
        assert!(!outcome.stderr.is_empty(), "the error goes to stderr too");
        if runtime.kind() != Kind::Rt {
            continue;
        }
        assert_eq!(written.lines().count(), 2, "{written}");
        let text = outcome.one_line();
        if format == "json" {
            assert_record(last, &runtime, text);
        } else {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            assert!(
                last.ends_with(&format!(" level=error msg=\"{quoted}\"")),
                "{last}"
            );
            assert!(last.starts_with("time=\"2"), "{last}");
        }
    }
}

fn a_warning_is_written_to_the_log_file_only() {
    differs(Kind::Crun, "prints no warning");
    let runtime = Runtime::new();
    let log = runtime.home().join("log");
    let runtime = runtime.global("--log").global(log.to_str().unwrap());
    let bundle = Bundle::with_runtime(&runtime)
        .capabilities(&["CAP_NO_SUCH"])
        .sh("exit 0");
    let outcome = bundle.run().assert_ok();
    assert_eq!(outcome.stderr, "");
    let written = fs::read_to_string(&log).unwrap();
    assert!(
        written.contains("level=warning") && written.contains("CAP_NO_SUCH"),
        "{written}"
    );
}

/// A string from config.json cannot forge a second line.
fn an_error_is_always_one_line() {
    only_rt("the text is that of rt");
    let bundle = Bundle::new().args(&["/bin/a\nrt: all is well\u{1b}[2J"]);
    let outcome = bundle.call("create", &[]).run().assert_code(1);
    let line = outcome.one_line();
    assert!(
        line.contains("/bin/a\\n") && !line.contains('\u{1b}'),
        "{line}"
    );
}
