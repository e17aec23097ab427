//! The command line: global flags, the verb, and what to say when it fails.
//!
//! Flag for flag like runc, as far as this version goes. A flag or a verb of
//! runc that it does not apply yet is refused by name; none is accepted and
//! ignored.

mod arguments;
mod globals;
mod handed;
mod named;

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow};
use clap::Command;

use crate::bundle;
use crate::commands::{self, Globals, Kept, PRESERVED, Verb, flag, print};
use crate::log;
use crate::process::Passed;
use crate::seal::seal;
use crate::sys;

use arguments::Asked;

/// Verbs of runc that a later version brings.
const REFUSED_VERBS: &[&str] = &["checkpoint", "events", "restore"];

/// Verbs that hand on the sockets of socket activation.
const ACTIVATED: [&str; 2] = ["create", "run"];

/// A flag of a later verb that Podman and CRI-O give without its value: Go's
/// answer tells them that it exists.
const PROBED: (&str, &str) = ("restore", "lsm-mount-context");

/// runc's exit status for a verb that it does not know.
const NO_SUCH_VERB: u8 = 3;

/// Performs the command line of this process, and returns its exit status.
pub(crate) fn run() -> u8 {
    let words: Vec<OsString> = env::args_os().collect();
    // Whatever the words mean: a value that looks like a verb costs time and nothing else.
    if words
        .iter()
        .skip(1)
        .any(|word| sys::SEALED.iter().any(|verb| word == verb))
        && let Err(error) = seal(words.iter().map(OsString::as_os_str))
    {
        log::error(&error, "rt");
        return 1;
    }
    let mut words = words.into_iter();
    let called = words.next().unwrap_or_default();
    perform(&called, words.collect()).unwrap_or_else(|failure| {
        if let Some(help) = failure.help {
            // What went wrong is on stderr; nothing is gained by failing twice.
            let _ = print(&format!("Incorrect Usage.\n\n{help}"));
        }
        log::error(&failure.error, &failure.who);
        failure.status
    })
}

/// Why nothing more happens, and how it is said.
struct Failure {
    /// `rt`, or `rt create`.
    who: String,
    error: Error,
    status: u8,
    /// Of the command that was called in a wrong way.
    help: Option<String>,
}

impl Failure {
    fn new(who: &str, error: Error) -> Self {
        Failure {
            who: who.to_owned(),
            error,
            status: 1,
            help: None,
        }
    }

    fn with_help(self, command: Command) -> Self {
        Failure {
            help: Some(help(command)),
            ..self
        }
    }
}

/// `called` is how the program was found: a link may have another name.
fn perform(called: &OsStr, words: Vec<OsString>) -> Result<u8, Failure> {
    // A caller that ignores it hands that on: the kernel would reap our children.
    let heard = sys::default_signal(libc::SIGCHLD).context("SIGCHLD");
    heard.map_err(|error| Failure::new("rt", error))?;
    // To define what every verb takes is more work than many a verb.
    let own = with_globals([Command::new("command")].into_iter());
    let mut asked = arguments::read(&own, words);
    let mut call = asked
        .as_ref()
        .ok()
        .and_then(|asked| Call::read(&asked.words));
    let for_log = asked.as_mut().map(|asked| named::settle(&own, asked));
    let for_log = for_log.unwrap_or_default();
    let for_verb = call.as_mut().map(Call::settle_names).unwrap_or_default();
    let needed = [for_log, for_verb.clone()].concat();
    let (passed, mut kept) = settle_descriptors(call.as_ref(), needed)?;
    let asked = match asked {
        Ok(asked) => asked,
        Err(error) => return Err(Failure::new("rt", error).with_help(program())),
    };
    let matches = asked.matches(&own);
    let matches = matches.map_err(|error| Failure::new("rt", error))?;
    let globals = globals::read(&matches).map_err(|error| Failure::new("rt", error))?;
    kept.retain(|fd| for_verb.contains(&fd.as_raw_fd())); // The log is open.
    if let Some(flag) = asked.refused {
        return Err(Failure::new("rt", not_applied(&format!("--{flag}"))));
    }
    if matches.get_flag("version") {
        return said(&version(called));
    }
    match asked.words.as_slice() {
        _ if asked.help => said(&help(program())),
        [] => said(&help(program())),
        [name, rest @ ..] if name == "help" || name == "h" => match rest {
            [] => said(&help(program())),
            [name, ..] => said(&help(define(find(name)?))),
        },
        [name, rest @ ..] => match call {
            Some(call) => {
                let kept = Kept::new(kept);
                call.perform(Globals { kept, ..globals }, passed)
            }
            None if probes(name, rest) => {
                let error = anyhow!("flag needs an argument: -{}", PROBED.1);
                Err(Failure::new(&format!("rt {}", PROBED.0), error))
            }
            None => Err(not_found(name)),
        },
    }
}

/// Before this program opens anything of its own: what the caller does not hand
/// on is closed, but for what is `needed` to read a file, and what it does hand on
/// is held in its place.
fn settle_descriptors(
    call: Option<&Call>,
    needed: Vec<RawFd>,
) -> Result<(Result<Passed>, Vec<OwnedFd>), Failure> {
    let passed = call.map_or(Ok(Passed::default()), Call::passed);
    let count = passed.as_ref().map_or(0, |passed| passed.count());
    let kept = sys::tidy_descriptors(count, needed).context("/dev/null");
    let kept = kept.map_err(|error| Failure::new("rt", error))?;
    Ok((passed.and_then(Passed::hold), kept))
}

/// A verb with its words.
struct Call {
    verb: &'static Verb,
    command: Command,
    asked: Result<Asked>,
}

impl Call {
    /// `None` when the first word is no verb.
    fn read(words: &[OsString]) -> Option<Call> {
        let (name, words) = words.split_first()?;
        let verb = find(name).ok()?;
        let command = define(verb);
        let asked = arguments::read(&command, words.to_vec());
        Some(Call {
            verb,
            command,
            asked,
        })
    }

    /// The descriptors of the caller that files are to be read from.
    fn settle_names(&mut self) -> Vec<RawFd> {
        match &mut self.asked {
            Ok(asked) => named::settle(&self.command, asked),
            Err(_) => Vec::new(), // Nothing will be read.
        }
    }

    /// What the caller hands on to the container's process. Words that are wrong
    /// hand on nothing: [`Call::perform`] says so.
    fn passed(&self) -> Result<Passed> {
        let asked = self.asked.as_ref().ok();
        let given = asked.and_then(|asked| asked.value(PRESERVED)?.parse().ok());
        Ok(Passed {
            activated: match ACTIVATED.contains(&self.verb.name) {
                true => handed::activated()?,
                false => 0,
            },
            preserved: given.unwrap_or(0),
            ..Passed::default()
        })
    }

    fn perform(self, globals: Globals, passed: Result<Passed>) -> Result<u8, Failure> {
        let who = format!("rt {}", self.verb.name);
        let asked = match self.asked {
            Ok(asked) => asked,
            Err(error) => return Err(Failure::new(&who, error).with_help(self.command)),
        };
        if asked.help {
            return said(&help(self.command));
        }
        if let Some(flag) = asked.refused {
            return Err(Failure::new(&who, not_applied(&format!("--{flag}"))));
        }
        if let Err(error) = arguments::check_count(&self.command, &asked.words) {
            // In runc's words, which begin with the program.
            return Err(Failure::new("rt", error).with_help(self.command));
        }
        log::debug(&format!("{who}: containers in {}", globals.root.display()));
        let status = asked.matches(&self.command).and_then(|matches| {
            let globals = Globals {
                passed: passed?,
                ..globals
            };
            (self.verb.perform)(&globals, &matches)
        });
        status.map_err(|error| Failure {
            status: self.verb.failed,
            ..Failure::new(&who, error)
        })
    }
}

/// Whether it is [`PROBED`] that is asked for.
fn probes(verb: &OsStr, words: &[OsString]) -> bool {
    let last = words.last().and_then(|word| arguments::as_flag(word));
    verb == PROBED.0 && last.is_some_and(|(flag, value)| flag == PROBED.1 && value.is_none())
}

/// # Errors
/// In runc's words for a verb that does not exist, by name for one that a later version has.
fn find(name: &OsString) -> Result<&'static Verb, Failure> {
    if let Some(verb) = commands::VERBS.iter().find(|verb| *name == *verb.name) {
        return Ok(verb);
    }
    Err(not_found(name))
}

fn not_found(name: &OsString) -> Failure {
    if let Some(refused) = REFUSED_VERBS.iter().find(|refused| *name == **refused) {
        return Failure::new("rt", not_applied(refused));
    }
    Failure {
        status: NO_SUCH_VERB,
        ..Failure::new("rt", anyhow!("No help topic for '{}'", name.display()))
    }
}

fn not_applied(what: &str) -> Error {
    anyhow!("{what}: not applied by this version")
}

/// `rt` itself, with its verbs so that its help names them.
pub(crate) fn program() -> Command {
    with_globals(commands::VERBS.iter().map(define))
        .about("Runs containers as the OCI runtime specification describes them")
        .override_usage("rt [global options] <command> [options] [arguments]")
}

fn with_globals(verbs: impl Iterator<Item = Command>) -> Command {
    let program = Command::new("rt")
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .args_override_self(true)
        .subcommands(verbs);
    globals::define(program)
}

/// A verb's own definition, with what all verbs have.
fn define(verb: &Verb) -> Command {
    let command = Command::new(verb.name)
        .bin_name(format!("rt {}", verb.name))
        .disable_help_flag(true)
        .args_override_self(true)
        .arg(flag("help").short('h').help("Shows this"));
    (verb.define)(command)
}

/// In the form that docker, podman and cri-o read. containerd's library reads
/// it of nobody but runc, so a link of that name says which runc it stands for.
fn version(called: &OsStr) -> String {
    let (commit, spec) = (commands::COMMIT, bundle::VERSIONS.1);
    let (name, version) = match Path::new(called).file_name() {
        Some(name) if name == "runc" => ("runc", commands::AS_RUNC),
        _ => ("rt", commands::VERSION),
    };
    format!("{name} version {version}\ncommit: {commit}\nspec: {spec}\n")
}

fn help(mut command: Command) -> String {
    command.render_help().to_string()
}

fn said(text: &str) -> Result<u8, Failure> {
    print(text).map_err(|error| Failure::new("rt", error))?;
    Ok(0)
}
