//! The command line: global flags, the verb with its arguments, and the report of errors.
//!
//! Flags have the names and the meaning that they have in runc. A flag or verb of runc that this
//! version does not implement is an error that names it. No flag is accepted and ignored.

mod arguments;
mod descriptor_paths;
mod globals;
mod mistakes;
mod service_manager;

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use anyhow::{Context, Error, Result};
use clap::Command;

use crate::bundle;
use crate::commands::{
    self, Globals, InputDescriptors, PRESERVE_FDS, STATUS_FD, Verb, flag, print,
};
use crate::log;
use crate::process::Passed;
use crate::seal::seal;
use crate::sys;

use arguments::{ParseError, ParsedArguments};

/// Verbs that pass the sockets of socket activation on to the container.
const SOCKET_ACTIVATION_VERBS: [&str; 2] = ["create", "run"];

/// The verb for help, its short form, and the flags.
const HELP: [&str; 4] = ["help", "h", "--help", "-h"];

/// runc's exit status for an unknown verb.
const UNKNOWN_VERB_STATUS: u8 = 3;

/// Executes the command line of this process and returns the exit status.
pub(crate) fn run() -> u8 {
    let arguments: Vec<OsString> = env::args_os().collect();
    // This comes before parsing, so a flag's value that equals a verb counts too. That only costs time.
    if arguments
        .iter()
        .skip(1)
        .any(|argument| sys::SEALED_COMMANDS.iter().any(|verb| argument == verb))
        && let Err(error) = seal(arguments.iter().map(OsString::as_os_str))
    {
        log::error(&error, "rt");
        return 1;
    }
    let mut arguments = arguments.into_iter();
    let argv0 = arguments.next().unwrap_or_default();
    perform(&argv0, arguments.collect()).unwrap_or_else(|failure| {
        log::error(&failure.error, &failure.prefix);
        failure.status
    })
}

/// An error that ends the program, and how to report it.
struct Failure {
    /// `rt` or `rt create`: the beginning of the error's line.
    prefix: String,
    error: Error,
    status: u8,
}

impl Failure {
    fn new(prefix: &str, error: Error) -> Self {
        Failure {
            prefix: prefix.to_owned(),
            error,
            status: 1,
        }
    }
}

/// Executes the arguments after `argv0` and returns the exit status.
fn perform(argv0: &OsStr, arguments: Vec<OsString>) -> Result<u8, Failure> {
    // If the caller ignores SIGCHLD, this program inherits that, and the kernel reaps its
    // children before it can wait for them.
    let reset = sys::default_signal(libc::SIGCHLD).context("SIGCHLD");
    reset.map_err(|error| Failure::new("rt", error))?;
    // Defining the flags of every verb takes longer than executing many of the verbs, so a
    // placeholder stands for the verbs here.
    let global_command = with_globals([Command::new("command")].into_iter());
    let mut parsed = arguments::parse(&global_command, arguments);
    let mut invocation = parsed
        .as_ref()
        .ok()
        .and_then(|parsed| Invocation::parse(&parsed.positionals));
    let for_log = parsed
        .as_mut()
        .map(|parsed| descriptor_paths::resolve(&global_command, parsed))
        .unwrap_or_default();
    let for_verb = invocation
        .as_mut()
        .map(Invocation::resolve_descriptor_paths)
        .unwrap_or_default();
    let needed = [for_log, for_verb.clone()].concat();
    let (passed, mut inputs) = prepare_descriptors(invocation.as_ref(), needed)?;
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return Err(Failure::new("rt", mistakes::before_verb(error, &program()))),
    };
    let matches = parsed.matches(&global_command);
    let matches = matches.map_err(|error| Failure::new("rt", error))?;
    let globals = globals::read(&matches).map_err(|error| Failure::new("rt", error))?;
    // `globals::read` has opened the log, so its descriptor is not needed any more.
    inputs.retain(|fd| for_verb.contains(&fd.as_raw_fd()));
    if matches.get_flag("version") {
        return print_and_succeed(&version(argv0));
    }
    if parsed.help {
        return print_and_succeed(&help(program()));
    }
    match (parsed.positionals.as_slice(), invocation) {
        (_, Some(invocation)) => {
            let globals = Globals {
                input_descriptors: InputDescriptors::new(inputs),
                ..globals
            };
            invocation.perform(globals, passed)
        }
        (positionals, None) => help_or_failure(positionals),
    }
}

/// What happens if the first positional argument is not a verb: `help`, or an error.
fn help_or_failure(positionals: &[OsString]) -> Result<u8, Failure> {
    match positionals {
        [] => print_and_succeed(&help(program())),
        [name, rest @ ..] if HELP[..2].iter().any(|help| name == help) => match rest {
            [] => print_and_succeed(&help(program())),
            [name, ..] if HELP.iter().any(|help| name == help) => {
                print_and_succeed(&help(program()))
            }
            [name, ..] => print_and_succeed(&help(define(find(name)?))),
        },
        [name, ..] => Err(not_found(name)),
    }
}

/// Closes all inherited descriptors except those that go to the container's process and those
/// in `needed`. It has to run before this program opens any descriptor, which could get the number
/// of one that is to be passed.
///
/// Returns the descriptors to pass and those of `needed` that are open.
fn prepare_descriptors(
    invocation: Option<&Invocation>,
    needed: Vec<RawFd>,
) -> Result<(Result<Passed>, Vec<OwnedFd>), Failure> {
    let passed = invocation.map_or(Ok(Passed::default()), Invocation::passed);
    let count = passed.as_ref().map_or(0, |passed| passed.count());
    let inputs = sys::sanitize_descriptors(count, needed).context("/dev/null");
    let inputs = inputs.map_err(|error| Failure::new("rt", error))?;
    Ok((passed.and_then(Passed::hold), inputs))
}

/// A verb and its arguments.
struct Invocation {
    verb: &'static Verb,
    command: Command,
    arguments: Result<ParsedArguments, ParseError>,
}

impl Invocation {
    /// `None` when the first argument is not a verb.
    fn parse(positionals: &[OsString]) -> Option<Invocation> {
        let (name, arguments) = positionals.split_first()?;
        let verb = find(name).ok()?;
        let command = define(verb);
        let arguments = arguments::parse(&command, arguments.to_vec());
        Some(Invocation {
            verb,
            command,
            arguments,
        })
    }

    /// Replaces paths of descriptors and returns the descriptors that have to stay open.
    fn resolve_descriptor_paths(&mut self) -> Vec<RawFd> {
        match &mut self.arguments {
            Ok(arguments) => {
                let number = arguments
                    .value(STATUS_FD)
                    .and_then(|fd| fd.parse::<RawFd>().ok());
                let mut resolved = descriptor_paths::resolve(&self.command, arguments);
                resolved.extend(number);
                resolved
            }
            Err(_) => Vec::new(), // `perform` reports the error and reads no file.
        }
    }

    /// The descriptors that go to the container's process. Malformed arguments pass none;
    /// [`Invocation::perform`] reports them.
    fn passed(&self) -> Result<Passed> {
        let arguments = self.arguments.as_ref().ok();
        let preserved = arguments.and_then(|all| all.value(PRESERVE_FDS)?.parse().ok());
        Ok(Passed {
            activated: if SOCKET_ACTIVATION_VERBS.contains(&self.verb.name) {
                service_manager::listen_fds()?
            } else {
                0
            },
            preserved: preserved.unwrap_or(0),
            ..Passed::default()
        })
    }

    fn perform(self, globals: Globals, passed: Result<Passed>) -> Result<u8, Failure> {
        let prefix = format!("rt {}", self.verb.name);
        let arguments = match self.arguments {
            Ok(arguments) => arguments,
            Err(error) => {
                let program = with_globals(std::iter::empty());
                let error = mistakes::after_verb(error, &self.command, &program);
                return Err(Failure::new(&prefix, error));
            }
        };
        if arguments.help {
            return print_and_succeed(&help(self.command));
        }
        if let Err(error) = arguments::check_count(&self.command, &arguments.positionals) {
            // runc's text for this names the verb itself.
            return Err(Failure::new("rt", error));
        }
        let root = globals.root.display();
        log::debug(&format!("{prefix}: containers in {root}"));
        let status = arguments.matches(&self.command).and_then(|matches| {
            let globals = Globals {
                passed: passed?,
                ..globals
            };
            (self.verb.perform)(&globals, &matches)
        });
        status.map_err(|error| Failure {
            status: self.verb.error_status,
            ..Failure::new(&prefix, error)
        })
    }
}

/// # Errors
/// When the verb does not exist, with runc's text.
fn find(name: &OsString) -> Result<&'static Verb, Failure> {
    if let Some(verb) = commands::VERBS.iter().find(|verb| *name == *verb.name) {
        return Ok(verb);
    }
    Err(not_found(name))
}

fn not_found(name: &OsString) -> Failure {
    let verbs = commands::VERBS.iter().map(|verb| verb.name);
    Failure {
        status: UNKNOWN_VERB_STATUS,
        ..Failure::new("rt", mistakes::unknown_verb(name, verbs))
    }
}

/// The definition of `rt` with all of its verbs, which its help lists.
pub(crate) fn program() -> Command {
    with_globals(commands::VERBS.iter().map(define))
        .about("Create and run containers according to the OCI runtime specification")
        .override_usage("rt [global options] <command> [options] [arguments]")
        .after_help("rt help COMMAND describes a command.\n\nExample: rt run -b bundles/web web")
}

fn with_globals(verbs: impl Iterator<Item = Command>) -> Command {
    let program = Command::new("rt")
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .args_override_self(true)
        .subcommands(verbs);
    globals::define(program)
}

/// The definition of a verb, with the flags that all verbs have, which come last in its help.
fn define(verb: &Verb) -> Command {
    let command = Command::new(verb.name)
        .bin_name(format!("rt {}", verb.name))
        .disable_help_flag(true)
        .args_override_self(true);
    (verb.define)(command).arg(flag("help").short('h').help("Print this help"))
}

/// The text of `--version`, in the form that docker, podman and cri-o parse. containerd's
/// go-runc accepts only the name `runc`, so a link of that name prints the compatible version
/// of runc.
fn version(argv0: &OsStr) -> String {
    let (commit, spec) = (commands::COMMIT, bundle::VERSIONS.1);
    let (name, version) = match Path::new(argv0).file_name() {
        Some(name) if name == "runc" => ("runc", commands::RUNC_VERSION),
        _ => ("rt", commands::VERSION),
    };
    format!("{name} version {version}\ncommit: {commit}\nspec: {spec}\n")
}

fn help(mut command: Command) -> String {
    command.render_help().to_string()
}

fn print_and_succeed(text: &str) -> Result<u8, Failure> {
    print(text).map_err(|error| Failure::new("rt", error))?;
    Ok(0)
}
