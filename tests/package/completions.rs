//! The completions of bash, zsh and fish.

use std::process::Command;

use crate::{Test, dist, flags, require_program, run, verbs};

pub(crate) fn tests() -> Vec<(&'static str, Test)> {
    vec![
        (
            "completions::bash_offers_commands_and_flags",
            bash_offers_commands_and_flags,
        ),
        (
            "completions::zsh_loads_the_completions",
            zsh_loads_the_completions,
        ),
        (
            "completions::fish_offers_commands_and_flags",
            fish_offers_commands_and_flags,
        ),
    ]
}

/// The completions of bash for the last argument.
fn bash(args: &[&str]) -> Vec<String> {
    let script = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
                  $(complete -p rt | sed 's/.*-F \\([^ ]*\\).*/\\1/') rt \"${!#}\" \
                  \"${COMP_WORDS[COMP_CWORD-1]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let file = dist().join("completions/bash/rt");
    let mut bash = Command::new("bash");
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
    // Do not offer a flag that rt refuses.
    assert!(
        !offered.contains(&"--systemd-cgroup".to_owned()),
        "{offered:?}"
    );
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

fn fish_offers_commands_and_flags() -> Result<(), String> {
    require_program("fish")?;
    let file = dist().join("completions/fish/rt.fish");
    let offered = |line: &str| {
        let script = format!("source {}; complete -C '{line}'", file.display());
        let mut fish = Command::new("fish");
        // Keep the user's configuration out.
        let output = run(fish
            .env("HOME", dist())
            .args(["--no-config", "-c", &script]));
        let names = output.lines().filter_map(|line| line.split('\t').next());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let verbs = verbs();
    let all = offered("rt ");
    for verb in &verbs {
        assert!(all.contains(verb), "{verb}: {all:?}");
        let all = offered(&format!("rt {verb} --"));
        for flag in flags(Some(verb)) {
            assert!(all.contains(&flag), "{verb} {flag}: {all:?}");
        }
    }
    Ok(())
}
