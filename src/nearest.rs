//! Finds the known name that a mistyped one most likely stands for.

/// The name in `known` that differs least from `typed`, without regard to case. `None` if each of
/// them differs in more than a third of the characters, and in more than one.
pub(crate) fn nearest<'a>(
    typed: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let limit = (typed.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(&typed, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_mistyped_name_has_a_nearest_one() {
        let verbs = ["run", "create", "start", "state"];
        for (typed, expected) in [
            ("urn", Some("run")),
            ("Run", Some("run")),
            ("craete", Some("create")),
            ("stat", Some("start")),
            ("logs", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, verbs), expected, "{typed:?}");
        }
    }
}
