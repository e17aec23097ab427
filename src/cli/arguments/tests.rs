//! Words as managers and people write them.

use super::*;

fn command() -> Command {
    Command::new("run")
        .disable_help_flag(true)
        .args_override_self(true)
        .arg(
            Arg::new("help")
                .long("help")
                .short('h')
                .action(ArgAction::SetTrue),
        )
        .arg(
            Arg::new("bundle")
                .long("bundle")
                .short('b')
                .action(ArgAction::Set),
        )
        .arg(Arg::new("keep").long("keep").action(ArgAction::SetTrue))
        .arg(
            Arg::new("later")
                .long("later")
                .action(ArgAction::SetTrue)
                .hide(true),
        )
        .arg(Arg::new("id").required(true))
}

fn asked(line: &str) -> Asked {
    read(
        &command(),
        line.split_whitespace().map(OsString::from).collect(),
    )
    .unwrap()
}

fn refused(line: &str) -> String {
    let words = line.split_whitespace().map(OsString::from).collect();
    read(&command(), words)
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

#[test]
fn every_spelling_of_a_flag_is_the_same() {
    for line in [
        "-b x id",
        "--b x id",
        "-bundle x id",
        "--bundle=x id",
        "-b=x id",
        "id -bundle x",
    ] {
        let asked = asked(line);
        let matches = asked.matches(&command()).unwrap();
        let value = |name| matches.get_one::<String>(name).unwrap();
        assert_eq!(value("bundle"), "x", "{line}");
        assert_eq!(value("id"), "id", "{line}");
        assert_eq!(asked.words, ["id"], "{line}");
    }
}

#[test]
fn a_flag_can_be_given_a_truth() {
    for (line, on) in [
        ("-keep id", true),
        ("--keep=true id", true),
        ("--keep=f id", false),
        ("--keep --keep=false id", false),
        ("--keep=0 id -keep=1", true),
        ("id", false),
    ] {
        assert_eq!(
            asked(line).matches(&command()).unwrap().get_flag("keep"),
            on,
            "{line}"
        );
    }
    assert_eq!(
        refused("--keep=maybe id"),
        "invalid boolean value \"maybe\" for -keep"
    );
}

#[test]
fn an_empty_value_is_none() {
    let asked = asked("-b x --bundle= id");
    let matches = asked.matches(&command()).unwrap();
    assert_eq!(matches.get_one::<String>("bundle"), None);
    assert_eq!(asked.words, ["id"]);
}

#[test]
fn the_last_value_counts() {
    let matches = asked("-b x --bundle=y id").matches(&command()).unwrap();
    assert_eq!(matches.get_one::<String>("bundle").unwrap(), "y");
}

#[test]
fn a_word_that_is_no_text_is_refused() {
    let words = vec![OsStr::from_bytes(b"\xff").to_owned()];
    let asked = read(&command(), words).unwrap();
    let error = asked.matches(&command()).unwrap_err();
    assert!(!error.to_string().contains('\n') && !error.to_string().is_empty());
}

#[test]
fn after_two_dashes_nothing_is_a_flag() {
    assert_eq!(asked("--keep -- -b").words, ["-b"]);
    assert_eq!(asked("- --keep").words, ["-"]);
}

#[test]
fn errors_are_in_the_words_of_go() {
    assert_eq!(
        refused("--bogus=1 id"),
        "flag provided but not defined: -bogus"
    );
    assert_eq!(refused("-bundle"), "flag needs an argument: -bundle");
}

#[test]
fn what_follows_the_id_may_be_payload() {
    let command = command().arg(
        Arg::new("payload")
            .num_args(0..)
            .trailing_var_arg(true)
            .value_parser(clap::value_parser!(OsString)),
    );
    for (line, words) in [
        (
            "--keep id -b --later -- -keep=x",
            &["-b", "--later", "--", "-keep=x"] as &[&str],
        ),
        ("--keep -- id --help", &["--help"]),
        ("--keep id", &[]),
    ] {
        let words_given = line.split_whitespace().map(OsString::from).collect();
        let asked = read(&command, words_given).unwrap();
        assert!(!asked.help && asked.refused.is_none(), "{line}");
        let matches = asked.matches(&command).unwrap();
        assert!(matches.get_flag("keep"), "{line}");
        assert_eq!(matches.get_one::<String>("id").unwrap(), "id");
        let payload = matches.get_many::<OsString>("payload");
        let payload: Vec<&OsString> = payload.into_iter().flatten().collect();
        assert_eq!(payload, words, "{line}");
        assert!(check_count(&command, &asked.words).is_ok());
    }
}

#[test]
fn the_last_value_of_a_flag_counts() {
    assert_eq!(asked("-b x --bundle=a=b id").value("bundle"), Some("a=b"));
    assert_eq!(asked("id -- --bundle=x").value("bundle"), None);
}

#[test]
fn a_hidden_flag_is_refused_by_name() {
    assert_eq!(asked("-later id").refused.as_deref(), Some("later"));
    assert_eq!(asked("id").refused, None);
    assert_eq!(asked("-later=false id").refused, None);
    assert_eq!(asked("-later --later=0 id").refused, None);
}

#[test]
fn help_wins() {
    assert!(asked("-h").help && asked("id --keep -help").help);
    assert!(!asked("id").help);
}

#[test]
fn words_are_counted() {
    let count = |line| {
        check_count(&command(), &asked(line).words)
            .err()
            .map(|e| e.to_string())
    };
    assert_eq!(count("id"), None);
    assert_eq!(
        count("").as_deref(),
        Some("\"run\" requires exactly 1 argument(s)")
    );
    assert_eq!(
        count("a b").as_deref(),
        Some("\"run\" requires exactly 1 argument(s)")
    );
    let optional = Command::new("kill")
        .arg(Arg::new("id").required(true))
        .arg(Arg::new("signal"));
    let count = |words: &[&str]| {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        check_count(&optional, &words)
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(
        count(&[]).as_deref(),
        Some("\"kill\" requires a minimum of 1 argument(s)")
    );
    assert_eq!(
        count(&["a", "b", "c"]).as_deref(),
        Some("\"kill\" requires a maximum of 2 argument(s)")
    );
    assert_eq!(count(&["a"]), None);
}
