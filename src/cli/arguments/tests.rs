//! Arguments in the spellings that container managers and people use.

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
                .value_name("DIR")
                .short('b')
                .action(ArgAction::Set),
        )
        .arg(Arg::new("keep").long("keep").action(ArgAction::SetTrue))
        .arg(Arg::new("id").required(true))
}

fn parsed(line: &str) -> ParsedArguments {
    parse(
        &command(),
        line.split_whitespace().map(OsString::from).collect(),
    )
    .unwrap()
}

fn error_of(line: &str) -> String {
    let arguments = line.split_whitespace().map(OsString::from).collect();
    match parse(&command(), arguments).err() {
        Some(ParseError::Value(error)) => error.to_string(),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn every_spelling_of_a_flag_has_the_same_meaning() {
    for line in [
        "-b x id",
        "--b x id",
        "-bundle x id",
        "--bundle=x id",
        "-b=x id",
        "id -bundle x",
    ] {
        let parsed = parsed(line);
        let matches = parsed.matches(&command()).unwrap();
        let value = |name| matches.get_one::<String>(name).unwrap();
        assert_eq!(value("bundle"), "x", "{line}");
        assert_eq!(value("id"), "id", "{line}");
        assert_eq!(parsed.positionals, ["id"], "{line}");
    }
}

#[test]
fn a_flag_accepts_a_boolean_value() {
    for (line, on) in [
        ("-keep id", true),
        ("--keep=true id", true),
        ("--keep=f id", false),
        ("--keep --keep=false id", false),
        ("--keep=0 id -keep=1", true),
        ("id", false),
    ] {
        assert_eq!(
            parsed(line).matches(&command()).unwrap().get_flag("keep"),
            on,
            "{line}"
        );
    }
    assert_eq!(
        error_of("--keep=maybe id"),
        "invalid boolean value \"maybe\" for -keep: expected true or false"
    );
}

#[test]
fn an_empty_value_unsets_a_flag() {
    let parsed = parsed("-b x --bundle= id");
    let matches = parsed.matches(&command()).unwrap();
    assert_eq!(matches.get_one::<String>("bundle"), None);
    assert_eq!(parsed.positionals, ["id"]);
}

#[test]
fn the_last_value_of_a_flag_is_used() {
    let matches = parsed("-b x --bundle=y id").matches(&command()).unwrap();
    assert_eq!(matches.get_one::<String>("bundle").unwrap(), "y");
}

#[test]
fn an_argument_that_is_not_utf_8_is_refused() {
    let arguments = vec![OsStr::from_bytes(b"\xff").to_owned()];
    let parsed = parse(&command(), arguments).unwrap();
    let error = parsed.matches(&command()).unwrap_err();
    assert!(!error.to_string().contains('\n') && !error.to_string().is_empty());
}

#[test]
fn arguments_after_two_dashes_are_positional() {
    assert_eq!(parsed("--keep -- -b").positionals, ["-b"]);
    assert_eq!(parsed("- --keep").positionals, ["-"]);
}

#[test]
fn errors_begin_with_the_text_of_go_s_flag_package() {
    assert_eq!(
        error_of("id -bundle"),
        "flag needs an argument: -bundle: expected --bundle DIR"
    );
    assert_eq!(
        error_of("-b"),
        "flag needs an argument: -b: expected --bundle DIR"
    );
    assert_eq!(
        not_a_number("x", "n").to_string(),
        "invalid value \"x\" for flag -n: parse error: expected a number such as 3"
    );
    assert_eq!(
        not_a_number("-1", "n").to_string(),
        "invalid value \"-1\" for flag -n: value out of range: expected a number such as 3"
    );
}

#[test]
fn an_unknown_flag_is_named_as_it_was_typed() {
    for (line, expected) in [
        ("--bogus=1 id", "--bogus"),
        ("-bogus id", "-bogus"),
        ("---x id", "---x"),
    ] {
        let arguments = line.split_whitespace().map(OsString::from).collect();
        let Some(ParseError::UnknownFlag { typed, rest }) = parse(&command(), arguments).err()
        else {
            panic!("{line}");
        };
        assert_eq!(typed, expected);
        assert_eq!(rest, ["id"]);
    }
}

#[test]
fn a_trailing_argument_takes_flags_and_dashes() {
    let command = command().arg(
        Arg::new("payload")
            .num_args(0..)
            .trailing_var_arg(true)
            .value_parser(clap::value_parser!(OsString)),
    );
    for (line, expected) in [
        (
            "--keep id -b --later -- -keep=x",
            &["-b", "--later", "--", "-keep=x"] as &[&str],
        ),
        ("--keep -- id --help", &["--help"]),
        ("--keep id", &[]),
    ] {
        let arguments = line.split_whitespace().map(OsString::from).collect();
        let parsed = parse(&command, arguments).unwrap();
        assert!(!parsed.help, "{line}");
        let matches = parsed.matches(&command).unwrap();
        assert!(matches.get_flag("keep"), "{line}");
        assert_eq!(matches.get_one::<String>("id").unwrap(), "id");
        let payload = matches.get_many::<OsString>("payload");
        let payload: Vec<&OsString> = payload.into_iter().flatten().collect();
        assert_eq!(payload, expected, "{line}");
        assert!(check_count(&command, &parsed.positionals).is_ok());
    }
}

#[test]
fn the_text_of_a_value_is_the_last_one_given() {
    assert_eq!(parsed("-b x --bundle=a=b id").value("bundle"), Some("a=b"));
    assert_eq!(parsed("id -- --bundle=x").value("bundle"), None);
}

#[test]
fn help_is_found_among_other_arguments() {
    assert!(parsed("-h").help && parsed("id --keep -help").help);
    assert!(!parsed("id").help);
}

#[test]
fn the_number_of_arguments_is_checked() {
    let count = |line| {
        check_count(&command(), &parsed(line).positionals)
            .err()
            .map(|e| e.to_string())
    };
    assert_eq!(count("id"), None);
    assert_eq!(
        count("").as_deref(),
        Some("\"run\" requires exactly 1 argument(s): id is missing")
    );
    assert_eq!(
        count("a b").as_deref(),
        Some("\"run\" requires exactly 1 argument(s): \"b\" is one too many")
    );
    let optional = Command::new("kill")
        .arg(Arg::new("id").required(true))
        .arg(Arg::new("signal"));
    let count = |arguments: &[&str]| {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        check_count(&optional, &arguments)
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(
        count(&[]).as_deref(),
        Some("\"kill\" requires a minimum of 1 argument(s): id is missing")
    );
    assert_eq!(
        count(&["a", "b", "c"]).as_deref(),
        Some("\"kill\" requires a maximum of 2 argument(s): \"c\" is one too many")
    );
    assert_eq!(count(&["a"]), None);
}
