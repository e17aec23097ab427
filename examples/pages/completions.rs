//! The completions: those that clap generates from the definition, and a part for what clap does
//! not know: the ids of containers, and the place of an argument behind flags and their values.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;

use clap::{Arg, Command, ValueHint};
use clap_complete::Shell;

/// Writes `directory/{bash,zsh,fish}/*`.
///
/// # Errors
/// When a file cannot be written, or clap generates another text than this module expects.
pub(crate) fn write(program: &Command, directory: &Path) -> Result<(), Box<dyn Error>> {
    for (shell, file, extend) in [
        (Shell::Bash, "bash/rt", bash as Extend),
        (Shell::Zsh, "zsh/_rt", zsh),
        (Shell::Fish, "fish/rt.fish", fish),
    ] {
        let path = directory.join(file);
        fs::create_dir_all(path.parent().unwrap_or(directory))?;
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut program.clone(), "rt", &mut text);
        fs::write(path, extend(program, String::from_utf8(text)?)?)?;
    }
    Ok(())
}

/// Adds the part that clap does not generate.
type Extend = fn(&Command, String) -> Result<String, String>;

/// What an argument without a flag is.
enum Kind {
    /// The id of an existing container.
    Container,
    /// The id of a new container, or a bundle.
    Directory,
    /// One of these names.
    Names(Vec<String>),
    /// The arguments of another program.
    Payload,
}

fn kind(argument: &Arg) -> Option<Kind> {
    let names = argument.get_possible_values();
    match argument {
        _ if argument.is_trailing_var_arg_set() => Some(Kind::Payload),
        _ if argument.get_value_hint() == ValueHint::DirPath => Some(Kind::Directory),
        _ if argument.get_value_hint() == ValueHint::Other => None,
        _ if argument.get_id() == "id" => Some(Kind::Container),
        _ if names.is_empty() => None,
        _ => Some(Kind::Names(
            names
                .iter()
                .map(|name| name.get_name().to_owned())
                .collect(),
        )),
    }
}

/// The arguments without a flag: the verb, the number of arguments before this one or `*` if that
/// does not matter, and its kind.
fn arguments(program: &Command) -> Vec<(&str, String, Kind)> {
    let place = |place: usize, argument: &Arg| match argument.get_num_args() {
        Some(number) if number.max_values() == usize::MAX => "*".to_owned(),
        Some(_) | None => place.to_string(),
    };
    let of_verb = |verb| {
        let positionals = Command::get_positionals(verb).enumerate();
        positionals.filter_map(move |(i, argument)| {
            Some((verb.get_name(), place(i, argument), kind(argument)?))
        })
    };
    program.get_subcommands().flat_map(of_verb).collect()
}

/// Replaces `from`, which has to be in the text.
fn replace(text: &str, from: &str, to: &str) -> Result<String, String> {
    if !text.contains(from) {
        return Err(format!("clap has not generated {from:?}"));
    }
    Ok(text.replace(from, to))
}

fn bash(program: &Command, text: String) -> Result<String, String> {
    let cases = arguments(program).into_iter().map(|(verb, place, kind)| {
        let action = match kind {
            Kind::Container => "_rt_containers".to_owned(),
            Kind::Directory => "compopt -o plusdirs".to_owned(),
            Kind::Names(names) => format!("_rt_words \"{}\"", names.join(" ")),
            // bash itself then offers files.
            Kind::Payload => ":".to_owned(),
        };
        format!("        {verb}\\ {place}) {action} ;;\n")
    });
    let part = include_str!("completions/arguments.bash")
        .replace("@FLAGS@", &flags_with_values(program).join(" "))
        .replace("@CASES@\n", &cases.collect::<String>());
    // The last lines register the function.
    let first = text.find("\nif [[ \"${BASH_VERSINFO[0]}\" -eq 4");
    let (functions, registration) = text.split_at(first.ok_or("no registration for bash")?);
    let registration = replace(registration, "-F _rt ", "-F _rt_complete ")?;
    Ok(format!("{functions}\n{part}{registration}"))
}

/// The flags with a value: `--root` for a global one, `exec--env` and `exec-e` for those of verbs.
fn flags_with_values(program: &Command) -> Vec<String> {
    let of_command = |prefix: &str, command: &Command| {
        let takes_values = |flag: &&Arg| flag.get_action().takes_values();
        let options = command.get_arguments().filter(takes_values);
        let options = options.flat_map(|option| {
            let long = option.get_long().map(|long| format!("{prefix}--{long}"));
            let short = option.get_short().map(|short| format!("{prefix}-{short}"));
            long.into_iter().chain(short)
        });
        options.collect::<Vec<_>>()
    };
    let mut flags = of_command("", program);
    for verb in program.get_subcommands() {
        flags.extend(of_command(verb.get_name(), verb));
    }
    flags
}

/// zsh counts the arguments, and clap names their values. Only the action for ids is missing.
fn zsh(program: &Command, text: String) -> Result<String, String> {
    let state = "        case $line[1] in\n            (run)";
    let saved = "        local rt_root=$opt_args[--root]\n";
    let mut text = replace(&text, state, &format!("{saved}{state}"))?;
    let arguments = program.get_subcommands().flat_map(Command::get_positionals);
    let ids = arguments.filter(|argument| matches!(kind(argument), Some(Kind::Container)));
    let helps: BTreeSet<String> = ids
        .filter_map(|id| id.get_help().map(ToString::to_string))
        .collect();
    for help in helps {
        let (from, to) = ("_default'", "_rt_containers'");
        let entry = format!(":id -- {help}:");
        text = replace(&text, &format!("{entry}{from}"), &format!("{entry}{to}"))?;
    }
    let last = "if [ \"$funcstack[1]\" = \"_rt\" ]";
    let part = include_str!("completions/containers.zsh");
    replace(&text, last, &format!("{part}\n{last}"))
}

fn fish(program: &Command, text: String) -> Result<String, String> {
    // Without this, nothing is offered for the value of a global flag: it is not there yet.
    let parse = "argparse -s (__fish_rt_global_optspecs) -- $cmd 2>/dev/null\n";
    let again = format!("{parse}    or begin\n        set -e cmd[-1]\n        {parse}    end\n");
    let text = replace(&text, parse, &again)?;
    let has_arguments = |verb: &&Command| verb.get_positionals().next().is_some();
    let cases = program.get_subcommands().filter(has_arguments);
    let cases = cases.map(|verb| {
        let (name, specifications) = (verb.get_name(), fish_specifications(verb));
        format!("        case {name}\n            set flags {specifications}\n")
    });
    let lines = arguments(program).into_iter().map(|(verb, place, kind)| {
        let action = match kind {
            Kind::Container => "-f -a '(__fish_rt_containers)'".to_owned(),
            Kind::Directory => "-f -a '(__fish_complete_directories)'".to_owned(),
            Kind::Names(names) => format!("-f -a '{}'", names.join(" ")),
            Kind::Payload => return String::new(),
        };
        // A * without a backslash would be replaced by the names of files.
        let place = place.replace('*', "\\*");
        format!("complete -c rt -n '__fish_rt_at {verb} {place}' {action}\n")
    });
    let part = include_str!("completions/arguments.fish")
        .replace("@CASES@\n", &cases.collect::<String>())
        .replace("@LINES@\n", &lines.collect::<String>());
    Ok(format!("{text}\n{part}"))
}

/// The flags of a verb in the format of fish's argparse.
fn fish_specifications(verb: &Command) -> String {
    let flags = verb.get_arguments().filter_map(|flag| {
        let long = flag.get_long()?;
        let short = flag.get_short().map(|short| format!("{short}/"));
        let value = if flag.get_action().takes_values() {
            "=+"
        } else {
            ""
        };
        Some(format!("{}{long}{value}", short.unwrap_or_default()))
    });
    let flags: Vec<String> = flags.collect();
    let stops = verb.get_positionals().any(Arg::is_trailing_var_arg_set);
    format!("{}{}", if stops { "-s " } else { "" }, flags.join(" "))
}
