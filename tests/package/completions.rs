//! Completions: what the shells offer.

use std::process::Command;

use crate::{Test, built, flags, need, run, verbs};

pub(crate) fn tests() -> Vec<(&'static str, Test)> {
    vec![
        (
            "completions::bash_offers_commands_and_flags",
            bash_offers_commands_and_flags,
        ),
        ("completions::zsh_reads_them", zsh_reads_them),
        (
            "completions::fish_offers_commands_and_flags",
            fish_offers_commands_and_flags,
        ),
    ]
}

/// What bash offers for the last of these words.
fn bash(words: &[&str]) -> Vec<String> {
    let script = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
                  $(complete -p rt | sed 's/.*-F \\([^ ]*\\).*/\\1/') rt \"${!#}\" \
                  \"${COMP_WORDS[COMP_CWORD-1]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let file = built().join("completions/bash/rt");
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-uc", script, "bash"]).arg(file);
    let said = run(bash.args(words));
    said.lines().map(str::to_owned).collect()
}

fn bash_offers_commands_and_flags() -> Result<(), String> {
    need("bash")?;
    run(Command::new("bash")
        .arg("-n")
        .arg(built().join("completions/bash/rt")));
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
    // Refused is not offered.
    assert!(
        !offered.contains(&"--systemd-cgroup".to_owned()),
        "{offered:?}"
    );
    Ok(())
}

fn zsh_reads_them() -> Result<(), String> {
    need("zsh")?;
    let file = built().join("completions/zsh/_rt");
    run(Command::new("zsh").arg("-fn").arg(&file));
    let script = "autoload -Uz compinit && compinit -D -u && source \"$1\" && \
                  [ \"$_comps[rt]\" = _rt ] && whence -w _rt";
    let said = run(Command::new("zsh").args(["-fc", script, "zsh"]).arg(&file));
    assert_eq!(said, "_rt: function\n");
    Ok(())
}

fn fish_offers_commands_and_flags() -> Result<(), String> {
    need("fish")?;
    let file = built().join("completions/fish/rt.fish");
    let offered = |line: &str| {
        let script = format!("source {}; complete -C '{line}'", file.display());
        let mut fish = Command::new("fish");
        // Its own configuration is none of ours.
        let said = run(fish
            .env("HOME", built())
            .args(["--no-config", "-c", &script]));
        let names = said.lines().filter_map(|line| line.split('\t').next());
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
