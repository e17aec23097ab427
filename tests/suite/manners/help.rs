//! The help of `rt` and of each command.

use crate::harness::{Runtime, only_rt, trials};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        every_help_is_complete,
        every_way_to_ask_prints_the_same_help,
        the_help_of_kill,
        the_help_of_rt_lists_commands_then_flags,
    ]
}

fn help(args: &[&str]) -> String {
    let outcome = Runtime::new().call(args).run().assert_ok();
    assert_eq!(outcome.stderr, "", "{args:?}");
    outcome.stdout
}

/// The commands that `rt --help` lists.
fn verbs() -> Vec<String> {
    let text = help(&["--help"]);
    let lines = text.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next());
    let names: Vec<String> = names.map(str::to_owned).collect();
    assert!(names.len() >= 14, "{text}");
    names
}

/// The lines of the list of flags.
fn flags(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Options:").skip(1);
    lines.take_while(|line| !line.is_empty()).collect()
}

/// A description, the usage, the arguments and flags, and an example of this command.
fn every_help_is_complete() {
    only_rt("the texts are ours");
    for verb in verbs() {
        let text = help(&[&verb, "--help"]);
        let mut paragraphs = text.split("\n\n");
        let description = paragraphs.next().unwrap();
        let sentence =
            description.lines().count() == 1 && description.starts_with(char::is_uppercase);
        assert!(sentence, "{text}");
        let usage = paragraphs.next().unwrap();
        assert!(usage.starts_with(&format!("Usage: rt {verb}")), "{text}");
        for part in paragraphs.clone() {
            let known = ["Arguments:\n", "Options:\n", "Example: "];
            assert!(known.iter().any(|known| part.starts_with(known)), "{text}");
        }
        // Every argument and flag is described on its line.
        let entries = text.lines().filter(|line| line.starts_with("  "));
        for entry in entries {
            assert!(entry.trim_start().contains("  "), "{entry:?} in {text}");
        }
        assert!(
            flags(&text).last().unwrap().starts_with("  -h, --help  "),
            "{text}"
        );
        let example = text.lines().last().unwrap();
        assert!(
            example.starts_with(&format!("Example: rt {verb}")),
            "{text}"
        );
    }
}

fn every_way_to_ask_prints_the_same_help() {
    only_rt("the texts are ours");
    let text = help(&["--help"]);
    for args in [
        &[] as &[&str],
        &["-h"],
        &["help"],
        &["h"],
        &["--help", "list"],
    ] {
        assert_eq!(help(args), text, "{args:?}");
    }
    for verb in verbs() {
        let text = help(&[&verb, "--help"]);
        for args in [[verb.as_str(), "-h"], ["help", &verb], ["h", &verb]] {
            assert_eq!(help(&args), text, "{args:?}");
        }
    }
}

fn the_help_of_kill() {
    only_rt("the texts are ours");
    let expected = "\
Send a signal to a container

Usage: rt kill [OPTIONS] <container-id> [signal]

Arguments:
  <container-id>  Id of the container
  [signal]        Name, with or without SIG, or number of the signal [default: SIGTERM]

Options:
  -a, --all   Send the signal to all processes, also to those left in a stopped container
  -h, --help  Print this help

Example: rt kill web KILL
";
    assert_eq!(help(&["kill", "--help"]), expected);
}

fn the_help_of_rt_lists_commands_then_flags() {
    only_rt("the texts are ours");
    let text = help(&[]);
    let usage = "\nUsage: rt [global options] <command> [options] [arguments]\n\nCommands:\n";
    assert!(text.contains(usage), "{text}");
    let flags = flags(&text);
    let [.., help, version] = flags.as_slice() else {
        panic!("{text}");
    };
    assert!(help.starts_with("  -h, --help  "), "{text}");
    assert!(version.starts_with("  -v, --version  "), "{text}");
    let end = "\n\nrt help COMMAND describes a command.\n\nExample: rt run -b bundles/web web\n";
    assert!(text.ends_with(end), "{text}");
}
