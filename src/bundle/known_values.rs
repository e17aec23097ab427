//! What to say about a value that is not one of the known names: the nearest of them, or all of
//! them if they are few.

use crate::nearest::nearest;

/// The most names that an error lists.
const MAX_LISTED: usize = 9;

/// How many characters an abbreviation and the name must have in common at the beginning, and how
/// long a mistyped name must be. Of shorter ones every name is about as near as the others.
const MIN_COMMON: usize = 3;

/// The reason of an error about an unknown name: `unknown value "nett": did you mean "network"?`
/// or, with nothing near, `unknown value "x": one of "a", "b", "c"`.
pub(crate) fn unknown_value(given: &str, known: &[&str]) -> String {
    let quoted: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
    match (likely(given, known), quoted.as_slice()) {
        (Some(name), _) => format!("unknown value {given:?}: did you mean {name:?}?"),
        (None, [only]) => format!("unknown value {given:?}: the only value is {only}"),
        (None, few) if (1..=MAX_LISTED).contains(&few.len()) => {
            format!("unknown value {given:?}: one of {}", few.join(", "))
        }
        (None, _) => format!("unknown value {given:?}"),
    }
}

/// The known name that `given` most likely stands for: the nearest one, or the only one with the
/// same beginning. A prefix that all names share (`RLIMIT_`) is not compared, and may be missing.
pub(crate) fn likely<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let prefix = shared_prefix(known);
    let given = match given.get(..prefix.len()) {
        Some(start) if start.eq_ignore_ascii_case(prefix) => &given[prefix.len()..],
        _ => given,
    };
    let rests = || known.iter().map(|name| &name[prefix.len()..]);
    let same = || rests().find(|rest| rest.eq_ignore_ascii_case(given));
    let near = || nearest(given, rests()).filter(|_| given.chars().count() >= MIN_COMMON);
    let alike = || {
        let mut alike = rests().filter(|rest| common_length(given, rest) >= MIN_COMMON);
        alike.next().filter(|_| alike.next().is_none())
    };
    let rest = same().or_else(near).or_else(alike)?;
    let mut names = known.iter().copied();
    names.find(|name| &name[prefix.len()..] == rest)
}

/// The beginning that all names have in common, up to an underscore or a slash.
fn shared_prefix<'a>(known: &[&'a str]) -> &'a str {
    let first = known.first().copied().unwrap_or_default();
    let lengths = known.iter().map(|name| common_length(first, name));
    let common = &first[..lengths.min().unwrap_or_default()];
    &common[..common.rfind(['_', '/']).map_or(0, |at| at + 1)]
}

/// The length in bytes of the beginning that two names have in common.
fn common_length(one: &str, other: &str) -> usize {
    let pairs = one.char_indices().zip(other.chars());
    let same = pairs.take_while(|((_, a), b)| a == b);
    same.map(|((at, c), _)| at + c.len_utf8())
        .last()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [&str; 4] = ["mount", "user", "pid", "network"];
    const LIMITS: [&str; 3] = ["RLIMIT_CPU", "RLIMIT_NOFILE", "RLIMIT_NPROC"];

    #[test]
    fn the_likely_name_is_near_or_begins_alike() {
        for (given, likely_name) in [
            ("nett", Some("network")),
            ("net", Some("network")),
            ("Network", Some("network")),
            ("PID", Some("pid")),
            ("pd", None),
            ("usr", Some("user")),
            ("mnt", None),
            ("x", None),
            ("", None),
            ("\u{e4}\u{f6}\u{fc}", None),
        ] {
            assert_eq!(likely(given, &KINDS), likely_name, "{given:?}");
        }
    }

    #[test]
    fn a_shared_prefix_may_be_missing_and_does_not_count() {
        for (given, likely_name) in [
            ("RLIMIT_NOFIL", Some("RLIMIT_NOFILE")),
            ("NOFILE", Some("RLIMIT_NOFILE")),
            ("rlimit_nofile", Some("RLIMIT_NOFILE")),
            ("RLIMIT_NOTHING", None),
            ("RLIMIT_", None),
        ] {
            assert_eq!(likely(given, &LIMITS), likely_name, "{given:?}");
        }
    }

    #[test]
    fn without_a_likely_name_a_few_are_listed() {
        assert_eq!(
            unknown_value("x", &["a", "b"]),
            "unknown value \"x\": one of \"a\", \"b\""
        );
        assert_eq!(
            unknown_value("x", &["ephemeral"]),
            "unknown value \"x\": the only value is \"ephemeral\""
        );
        let many: Vec<String> = (0..10).map(|n| format!("name-{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(unknown_value("x", &many), "unknown value \"x\"");
        assert_eq!(unknown_value("x", &[]), "unknown value \"x\"");
    }
}
