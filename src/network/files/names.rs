//! The form of host names and domain names (RFC 1123, 2.1), with the underscores that are in use.

/// The longest name, and the longest label of a name (RFC 1035, 2.3.4).
const MAX: (usize, usize) = (253, 63);

/// Whether it can be a host name in a file of names.
pub(super) fn is_host_name(name: &str) -> bool {
    name.len() <= MAX.0 && name.split('.').all(is_label)
}

/// Whether it can be a search domain. A number as the last label makes it a mistyped address.
pub(super) fn is_domain(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or_default();
    is_host_name(name) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_label(label: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=MAX.1).contains(&label.len())
        && label.bytes().all(is_allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_labels() {
        for name in ["web", "a.b-c.d", "db_1", "3com", "10"] {
            assert!(is_host_name(name), "{name}");
        }
        let long = "x".repeat(64);
        for name in [
            "", ".", "a..b", "-a", "a-", "a b", "a\nb", "a:b", "a#", "ä", &long,
        ] {
            assert!(!is_host_name(name), "{name}");
        }
    }

    #[test]
    fn a_domain_is_no_number() {
        assert!(is_domain("example.org") && is_domain("example.org.") && is_domain("4.example"));
        for name in ["8.8.8", "1.2.3.400", "10", ".", ""] {
            assert!(!is_domain(name), "{name}");
        }
    }
}
