//! The completions of bash, zsh and fish.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::{Test, dist, flags, require_program, run, run_directory, verbs};

pub(crate) fn tests() -> Vec<(&'static str, Test)> {
    vec![
        (
            "completions::bash_offers_commands_and_flags",
            bash_offers_commands_and_flags,
        ),
        (
            "completions::bash_completes_arguments_and_values",
            bash_completes_arguments_and_values,
        ),
        (
            "completions::zsh_loads_the_completions",
            zsh_loads_the_completions,
        ),
        (
            "completions::zsh_completes_arguments_and_values",
            zsh_completes_arguments_and_values,
        ),
        (
            "completions::fish_offers_commands_and_flags",
            fish_offers_commands_and_flags,
        ),
        (
            "completions::fish_completes_arguments_and_values",
            fish_completes_arguments_and_values,
        ),
    ]
}

/// Verbs whose first argument is the id of an existing container.
const WITH_ID: [&str; 13] = [
    "exec",
    "start",
    "state",
    "kill",
    "pause",
    "resume",
    "update",
    "delete",
    "ps",
    "diff",
    "events",
    "stats",
    "checkpoint",
];

/// A command that finds an `rt` which lists the containers `db` and `web`, and `other` below
/// another `--root`.
fn with_containers(program: &str) -> Command {
    let directory = run_directory().join("containers");
    let (file, script) = (
        directory.join("rt"),
        "#!/bin/sh\ncase \"$*\" in\n'list -q') printf 'db\\nweb\\n' ;;\n\
         '--root /srv/r list -q') echo other ;;\nesac\n",
    );
    fs::create_dir_all(&directory).unwrap();
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let paths = std::env::split_paths(&path);
    let all: Vec<PathBuf> = [directory].into_iter().chain(paths).collect();
    let mut command = Command::new(program);
    command.env("PATH", std::env::join_paths(all).unwrap());
    command
}

/// The completions of bash for the last argument.
fn bash(args: &[&str]) -> Vec<String> {
    let script = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
                  $(complete -p rt | sed 's/.*-F \\([^ ]*\\).*/\\1/') rt \"${!#}\" \
                  \"${COMP_WORDS[COMP_CWORD-1]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let file = dist().join("completions/bash/rt");
    let mut bash = with_containers("bash");
    bash.args(["--norc", "-uc", script, "bash"]).arg(file);
    let output = run(bash.args(args));
    output.lines().map(str::to_owned).collect()
}

fn bash_offers_commands_and_flags() -> Result<(), String> {
    require_program("bash")?;
    run(Command::new("bash")
        .arg("-n")
        .arg(dist().join("completions/bash/rt")));
    let offered = bash(&["rt", ""]);
    for verb in verbs() {
        assert!(offered.contains(&verb), "{verb}: {offered:?}");
    }
    assert_eq!(bash(&["rt", "del"]), ["delete"]);
    for verb in verbs() {
        let offered = bash(&["rt", &verb, "--"]);
        for flag in flags(Some(&verb)) {
            assert!(offered.contains(&flag), "{verb} {flag}: {offered:?}");
        }
    }
    let offered = bash(&["rt", "--"]);
    assert!(offered.contains(&"--root".to_owned()), "{offered:?}");
    Ok(())
}

fn bash_completes_arguments_and_values() -> Result<(), String> {
    require_program("bash")?;
    for verb in WITH_ID {
        assert_eq!(bash(&["rt", verb, ""]), ["db", "web"], "{verb}");
        assert_eq!(bash(&["rt", verb, "w"]), ["web"], "{verb}");
    }
    // What is before the id does not matter.
    for line in [
        &["rt", "exec", "-e", "A", "--tty", ""] as &[&str],
        &["rt", "--debug", "delete", "-f", ""],
        &["rt", "--log", "x", "update", "--memory", "=", "1m", ""],
        &["rt", "stats", "web", ""],
    ] {
        assert_eq!(bash(line), ["db", "web"], "{line:?}");
    }
    for line in [
        &["rt", "--root", "/srv/r", "kill", ""] as &[&str],
        &["rt", "--root", "=", "/srv/r", "kill", ""],
    ] {
        assert_eq!(bash(line), ["other"], "{line:?}");
    }
    assert_eq!(
        bash(&["rt", "kill", "web", "T"]),
        ["TRAP", "TERM", "TSTP", "TTIN", "TTOU"]
    );
    // bash then offers files.
    assert_eq!(bash(&["rt", "exec", "web", ""]), [""]);
    for line in [
        &["rt", "list", "--format", ""] as &[&str],
        &["rt", "ps", "--format", "=", ""],
        &["rt", "list", "-f", ""],
    ] {
        assert_eq!(bash(line), ["table", "json"], "{line:?}");
    }
    assert_eq!(bash(&["rt", "--log-format", "j"]), ["json"]);
    assert_eq!(bash(&["rt", "--rootless", ""]), ["true", "false", "auto"]);
    assert_eq!(bash(&["rt", "--cgroup-manager", "d"]), ["disabled"]);
    Ok(())
}

fn zsh_loads_the_completions() -> Result<(), String> {
    require_program("zsh")?;
    let file = dist().join("completions/zsh/_rt");
    run(Command::new("zsh").arg("-fn").arg(&file));
    let script = "autoload -Uz compinit && compinit -D -u && source \"$1\" && \
                  [ \"$_comps[rt]\" = _rt ] && whence -w _rt";
    let output = run(Command::new("zsh").args(["-fc", script, "zsh"]).arg(&file));
    assert_eq!(output, "_rt: function\n");
    Ok(())
}

/// zsh completes in a terminal only, so the functions that it calls are replaced here.
fn zsh_completes_arguments_and_values() -> Result<(), String> {
    require_program("zsh")?;
    let file = dist().join("completions/zsh/_rt");
    let script = "compdef() { }; compadd() { print -l -- $ids }; source \"$1\"; \
                  rt_root=\"$2\"; _rt_containers";
    for (root, expected) in [("", "db\nweb\n"), ("/srv/r", "other\n")] {
        let mut zsh = with_containers("zsh");
        let output = run(zsh.args(["-fc", script, "zsh"]).arg(&file).arg(root));
        assert_eq!(output, expected);
    }
    let text = fs::read_to_string(file).unwrap();
    let ids = text.matches(":_rt_containers'").count();
    assert_eq!(ids, WITH_ID.len());
    for values in [
        ":FORMAT:(text json)'",
        ":FORMAT:(table json)'",
        ":WHEN:(true false auto)'",
        ":NAME:(cgroupfs systemd disabled)'",
        ":(HUP INT QUIT ",
        ":DIR:_files -/'",
    ] {
        assert!(text.contains(values), "{values}");
    }
    Ok(())
}

/// The completions of fish for the end of a line.
fn fish(line: &str) -> Vec<String> {
    let file = dist().join("completions/fish/rt.fish");
    let script = format!("source {}; complete -C '{line}'", file.display());
    let mut fish = with_containers("fish");
    // Keep the user's configuration out.
    let output = run(fish
        .env("HOME", dist())
        .args(["--no-config", "-c", &script]));
    let names = output.lines().filter_map(|line| line.split('\t').next());
    names.map(str::to_owned).collect()
}

fn fish_completes_arguments_and_values() -> Result<(), String> {
    require_program("fish")?;
    for verb in WITH_ID {
        assert_eq!(fish(&format!("rt {verb} ")), ["db", "web"], "{verb}");
    }
    for line in [
        "rt exec -e A --tty ",
        "rt --log x update --memory=1m ",
        "rt stats web ",
    ] {
        assert_eq!(fish(line), ["db", "web"], "{line}");
    }
    for line in ["rt --root /srv/r kill ", "rt --root=/srv/r kill "] {
        assert_eq!(fish(line), ["other"], "{line}");
    }
    assert_eq!(fish("rt kill web TE"), ["TERM"]);
    assert_eq!(fish("rt list --format "), ["json", "table"]);
    assert_eq!(fish("rt --log-format j"), ["json"]);
    assert_eq!(fish("rt --rootless "), ["auto", "false", "true"]);
    assert_eq!(fish("rt --cgroup-manager d"), ["disabled"]);
    Ok(())
}

fn fish_offers_commands_and_flags() -> Result<(), String> {
    require_program("fish")?;
    let verbs = verbs();
    let all = fish("rt ");
    for verb in &verbs {
        assert!(all.contains(verb), "{verb}: {all:?}");
        let all = fish(&format!("rt {verb} --"));
        for flag in flags(Some(verb)) {
            assert!(all.contains(&flag), "{verb} {flag}: {all:?}");
        }
    }
    Ok(())
}
