//! Mistyped commands, flags, values and arguments: what was probably meant, in one line.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::harness::{Runtime, only_rt, trials};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        an_unknown_command_has_the_nearest_one,
        an_unknown_flag_has_the_nearest_one,
        a_flag_that_asks_for_a_terminal_has_what_does,
        a_flag_on_the_wrong_side_of_the_command_has_its_place,
        a_wrong_name_has_the_nearest_one_or_all,
        a_wrong_signal_has_the_nearest_one,
        a_wrong_number_has_an_example,
        a_missing_or_wrong_value_has_what_is_expected,
        a_wrong_number_of_arguments_has_the_argument,
        what_is_not_utf_8_is_one_line,
    ]
}

/// Asserts that each command line has this exit status, this line on stderr and no output.
#[track_caller]
fn assert_lines(status: i32, lines: &[(&[&str], &str)]) {
    only_rt("the texts are ours");
    let runtime = Runtime::new();
    std::fs::create_dir_all(runtime.root()).unwrap();
    for (args, line) in lines {
        let outcome = runtime.call(args).run().assert_code(status);
        assert_eq!(outcome.stderr, format!("{line}\n"), "{args:?}");
        assert_eq!(outcome.stdout, "", "{args:?}");
    }
}

fn an_unknown_command_has_the_nearest_one() {
    let near = "rt: No help topic for 'urn': did you mean run?";
    let far = "rt: No help topic for 'logs': rt help lists the commands";
    assert_lines(
        3,
        &[
            (&["urn"], near),
            (&["urn", "--bundle", "x", "web"], near),
            (&["help", "urn"], near),
            (&["h", "urn"], near),
            (&["logs"], far),
            (&["logs", "--help"], far),
            (&["help", "logs"], far),
            (&["RUN"], "rt: No help topic for 'RUN': did you mean run?"),
            (
                &["hlep"],
                "rt: No help topic for 'hlep': did you mean help?",
            ),
            (
                &[""],
                "rt: No help topic for '': rt help lists the commands",
            ),
        ],
    );
}

fn an_unknown_flag_has_the_nearest_one() {
    let near =
        |flag| format!("rt run: flag provided but not defined: {flag}: did you mean --bundle?");
    assert_lines(
        1,
        &[
            (&["run", "--bundel", "x", "web"], &near("--bundel")),
            (&["run", "-bundel", "x", "web"], &near("-bundel")),
            (&["run", "--bundel=x", "web"], &near("--bundel")),
            (&["run", "web", "--bundel", "x"], &near("--bundel")),
            (
                &["run", "--foo", "web"],
                "rt run: flag provided but not defined: --foo: rt run --help lists the flags",
            ),
            (
                &["exec", "-x", "web", "true"],
                "rt exec: flag provided but not defined: -x: rt exec --help lists the flags",
            ),
            (
                &["list", "--hlep"],
                "rt list: flag provided but not defined: --hlep: did you mean --help?",
            ),
            (
                &["--rooot", "x", "list"],
                "rt: flag provided but not defined: --rooot: did you mean --root?",
            ),
            (
                &["--foo=1", "list"],
                "rt: flag provided but not defined: --foo: rt --help lists the flags",
            ),
            (
                &["--systemd-cgroups", "list"],
                "rt: flag provided but not defined: --systemd-cgroups: did you mean --systemd-cgroup?",
            ),
        ],
    );
}

fn a_flag_that_asks_for_a_terminal_has_what_does() {
    let line =
        |verb, flag, what| format!("rt {verb}: flag provided but not defined: {flag}: {what}");
    let config = "\"terminal\": true in config.json (process.terminal) asks for a terminal";
    let flags = ["-it", "-ti", "-t", "-i", "--tty", "--interactive"];
    for verb in ["run", "create"] {
        for flag in flags {
            let expected = line(verb, flag, config);
            assert_lines(1, &[(&[verb, flag, "web"], &expected)]);
        }
    }
    let connected = "-t asks for a terminal, and standard input is always connected";
    for flag in ["-it", "-ti", "-i", "--interactive"] {
        let expected = line("exec", flag, connected);
        assert_lines(1, &[(&["exec", flag, "web", "sh"], &expected)]);
    }
    let expected = line("delete", "-it", "rt delete --help lists the flags");
    assert_lines(1, &[(&["delete", "-it", "web"], &expected)]);
}

fn a_flag_on_the_wrong_side_of_the_command_has_its_place() {
    assert_lines(
        1,
        &[
            (
                &["run", "--root", "X", "web"],
                "rt run: flag provided but not defined: --root: \
                 a global flag comes before the command: rt --root DIR run",
            ),
            (
                &["list", "-debug"],
                "rt list: flag provided but not defined: -debug: \
                 a global flag comes before the command: rt -debug list",
            ),
            (
                &["--bundle", "x", "create", "web"],
                "rt: flag provided but not defined: --bundle: \
                 a flag of create comes after the command: rt create --bundle DIR",
            ),
            (
                &["-f", "delete", "web"],
                "rt: flag provided but not defined: -f: \
                 a flag of delete comes after the command: rt delete -f",
            ),
            (
                &["--detach", "web"],
                "rt: flag provided but not defined: --detach: \
                 a flag of run comes after the command: rt run --detach",
            ),
        ],
    );
}

fn a_wrong_name_has_the_nearest_one_or_all() {
    assert_lines(
        1,
        &[
            (
                &["list", "--format", "jsno"],
                "rt list: invalid format option: jsno: did you mean json?",
            ),
            (
                &["list", "-f", "xml"],
                "rt list: invalid format option: xml: expected table or json",
            ),
            (
                &["--log-format=jsn", "list"],
                "rt: invalid log-format: jsn: did you mean json?",
            ),
            (
                &["--log-format=xml", "list"],
                "rt: invalid log-format: xml: expected text or json",
            ),
            (
                &["--rootless", "ture", "list"],
                "rt: --rootless: parsing \"ture\": invalid syntax: did you mean true?",
            ),
            (
                &["--rootless", "maybe", "list"],
                "rt: --rootless: parsing \"maybe\": invalid syntax: expected true, false or auto",
            ),
            (
                &["--cgroup-manager", "cgroupsf", "list"],
                "rt: --cgroup-manager: unknown value \"cgroupsf\": did you mean cgroupfs?",
            ),
            (
                &["--cgroup-manager", "none", "list"],
                "rt: --cgroup-manager: unknown value \"none\": expected cgroupfs, systemd or disabled",
            ),
        ],
    );
}

fn a_wrong_signal_has_the_nearest_one() {
    let near = |typed| format!("rt kill: web: unknown signal \"{typed}\": did you mean TERM?");
    let far = |typed| {
        format!(
            "rt kill: web: unknown signal \"{typed}\": \
             expected a name such as TERM, or a number up to 64"
        )
    };
    for typed in ["TREM", "SIGTREM", "sigtrem", "trem"] {
        assert_lines(1, &[(&["kill", "web", typed], &near(typed))]);
    }
    for typed in ["FOO", "99", "-1x"] {
        assert_lines(1, &[(&["kill", "--", "web", typed], &far(typed))]);
    }
}

fn a_wrong_number_has_an_example() {
    assert_lines(
        1,
        &[
            (
                &["run", "--preserve-fds", "x", "web"],
                "rt run: invalid value \"x\" for flag -preserve-fds: parse error: \
                 expected a number such as 3",
            ),
            (
                &["exec", "--preserve-fds=", "web", "true"],
                "rt exec: invalid value \"\" for flag -preserve-fds: parse error: \
                 expected a number such as 3",
            ),
            (
                &["create", "--preserve-fds", "-1", "web"],
                "rt create: invalid value \"-1\" for flag -preserve-fds: value out of range: \
                 expected a number such as 3",
            ),
            (
                &["update", "--pids-limit", "many", "web"],
                "rt update: invalid value \"many\" for flag -pids-limit: parse error: \
                 expected a number such as 3",
            ),
            (
                &["update", "--cpu-share", "x", "web"],
                "rt update: web: --cpu-share: \"x\" is not a number such as 1000",
            ),
        ],
    );
}

fn a_missing_or_wrong_value_has_what_is_expected() {
    assert_lines(
        1,
        &[
            (
                &["run", "-bundle"],
                "rt run: flag needs an argument: -bundle: expected --bundle DIR",
            ),
            (
                &["run", "-b"],
                "rt run: flag needs an argument: -b: expected --bundle DIR",
            ),
            (
                &["--log"],
                "rt: flag needs an argument: -log: expected --log FILE",
            ),
            (
                &["list", "--quiet=perhaps"],
                "rt list: invalid boolean value \"perhaps\" for -quiet: expected true or false",
            ),
            // Podman and CRI-O look for this text.
            (
                &["restore", "--lsm-mount-context"],
                "rt restore: flag needs an argument: -lsm-mount-context: expected --lsm-mount-context LABEL",
            ),
        ],
    );
}

fn a_wrong_number_of_arguments_has_the_argument() {
    let missing = "container-id is missing";
    for (verb, count) in [
        ("run", "exactly 1 argument(s)"),
        ("create", "exactly 1 argument(s)"),
        ("start", "exactly 1 argument(s)"),
        ("state", "exactly 1 argument(s)"),
        ("delete", "exactly 1 argument(s)"),
        ("pause", "exactly 1 argument(s)"),
        ("resume", "exactly 1 argument(s)"),
        ("update", "exactly 1 argument(s)"),
        ("events", "exactly 1 argument(s)"),
        ("kill", "a minimum of 1 argument(s)"),
        ("exec", "a minimum of 1 argument(s)"),
        ("ps", "a minimum of 1 argument(s)"),
    ] {
        let line = format!("rt: \"{verb}\" requires {count}: {missing}");
        assert_lines(1, &[(&[verb], &line)]);
    }
    assert_lines(
        1,
        &[
            (
                &["start", "a", "b", "c"],
                "rt: \"start\" requires exactly 1 argument(s): \"b\" is one too many",
            ),
            (
                &["list", "a"],
                "rt: \"list\" requires exactly 0 argument(s): \"a\" is one too many",
            ),
            (
                &["kill", "a", "9", "b"],
                "rt: \"kill\" requires a maximum of 2 argument(s): \"b\" is one too many",
            ),
        ],
    );
}

/// A flag, a command and a value that no text can name.
fn what_is_not_utf_8_is_one_line() {
    only_rt("the texts are ours");
    let runtime = Runtime::new();
    for (before, bytes, line) in [
        (
            &["run"] as &[&str],
            b"--\xff\n" as &[u8],
            "rt run: flag provided but not defined: --\u{fffd}\\n: rt run --help lists the flags",
        ),
        (
            &[],
            b"\xff",
            "rt: No help topic for '\u{fffd}': rt help lists the commands",
        ),
        (
            &["kill", "web"],
            b"\xff",
            "rt kill: invalid UTF-8 was detected in one or more arguments",
        ),
    ] {
        let call = runtime.call(before);
        let call = call.with(|command| command.arg(OsStr::from_bytes(bytes)));
        let outcome = call.run();
        assert_eq!(outcome.stderr, format!("{line}\n"), "{outcome}");
        assert_eq!(outcome.stdout, "", "{outcome}");
    }
}
