//! Removes unknown capabilities from the five sets and produces the warning about them.
//!
//! "Any value which cannot be mapped to a relevant kernel interface … MUST be
//! logged as a warning … Runtimes SHOULD NOT fail" (config.md, capabilities).

use std::collections::HashSet;
use std::str::FromStr;

use oci_spec::runtime::Capability;
use serde_json::Value;

use super::known_values::likely;

const SETS: [&str; 5] = [
    "bounding",
    "effective",
    "inheritable",
    "permitted",
    "ambient",
];

/// Removes unknown names from the sets. Returns each of them once, in the order of the sets.
pub(super) fn drop_unknown(config: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    let mut seen = HashSet::new();
    for set in SETS {
        let names = config.pointer_mut(&format!("/process/capabilities/{set}"));
        let Some(Value::Array(names)) = names else {
            continue;
        };
        names.retain(|name| match name {
            Value::String(name) if !is_known(name) => {
                if seen.insert(name.clone()) {
                    unknown.push(name.clone());
                }
                false
            }
            // Deserialization reports a value of another type.
            _ => true,
        });
    }
    unknown
}

/// Maximum number of names in the warning.
const MAX_NAMES: usize = 8;

/// A one-line warning about the unknown names; `None` if there are none.
pub(super) fn warning(unknown: &[String]) -> Option<String> {
    let named: Vec<String> = unknown
        .iter()
        .take(MAX_NAMES)
        .map(|name| quoted(name))
        .collect();
    let names = named.join(", ");
    Some(match (unknown.len(), unknown.len() - named.len()) {
        (0, _) => return None,
        (1, _) => format!("process.capabilities: unknown capability {names} is ignored"),
        (_, 0) => format!("process.capabilities: unknown capabilities {names} are ignored"),
        (_, more) => {
            format!(
                "process.capabilities: unknown capabilities {names} and {more} more are ignored"
            )
        }
    })
}

/// The name in quotation marks, with the known name that it most likely stands for.
fn quoted(name: &str) -> String {
    let known: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
    let mut known: Vec<&str> = known.iter().map(String::as_str).collect();
    // The crate's set has no order. Of two names that are equally near the first is used.
    known.sort_unstable();
    match likely(name, &known) {
        Some(likely) => format!("{name:?} (did you mean {likely:?}?)"),
        None => format!("{name:?}"),
    }
}

/// Whether `name` is a capability as capabilities(7) spells it. oci-spec would also accept
/// `sys_admin`, which is unknown to runc and crun.
fn is_known(name: &str) -> bool {
    name.strip_prefix("CAP_")
        .is_some_and(|name| Capability::from_str(name).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_names_are_removed_and_returned_once() {
        let mut config = json!({"process": {"capabilities": {
            "bounding": ["CAP_KILL", "CAP_NONE_SUCH"],
            "effective": ["CAP_NONE_SUCH", "KILL", 7],
        }}});
        assert_eq!(drop_unknown(&mut config), ["CAP_NONE_SUCH", "KILL"]);
        let kept = json!({"bounding": ["CAP_KILL"], "effective": [7]});
        assert_eq!(config["process"]["capabilities"], kept);
    }

    #[test]
    fn the_warning_is_one_line_for_any_number_of_names() {
        let text = |count| {
            let names: Vec<String> = (0..count).map(|i| format!("CAP_{i}")).collect();
            let line = warning(&names)?;
            Some(line.replace("process.capabilities: unknown ", ""))
        };
        assert_eq!(text(0), None);
        assert_eq!(text(1).unwrap(), "capability \"CAP_0\" is ignored");
        assert_eq!(
            text(2).unwrap(),
            "capabilities \"CAP_0\", \"CAP_1\" are ignored"
        );
        assert!(
            text(40_000)
                .unwrap()
                .ends_with(" and 39992 more are ignored")
        );
    }

    #[test]
    fn the_warning_names_the_likely_capability() {
        let warned = |name: &str| warning(&[name.to_owned()]).unwrap();
        for (name, likely) in [
            ("CAP_SYS_ADMN", "CAP_SYS_ADMIN"),
            ("KILL", "CAP_KILL"),
            ("cap_net_raw", "CAP_NET_RAW"),
        ] {
            assert_eq!(
                warned(name),
                format!(
                    "process.capabilities: unknown capability {name:?} (did you mean {likely:?}?) is ignored"
                )
            );
        }
    }

    #[test]
    fn a_capability_needs_the_exact_spelling() {
        assert!(is_known("CAP_CHECKPOINT_RESTORE"));
        for name in ["cap_kill", "CAP_CAP_KILL", "SYS_ADMIN", "CAP_", ""] {
            assert!(!is_known(name), "{name}");
        }
    }
}
