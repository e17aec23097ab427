//! Which texts are ids of containers.

/// A container's directory is named by its id (`NAME_MAX`).
const MAX_LENGTH: usize = 255;

/// Whether `id` is a valid container id: 1 to 255 letters, digits, `_`, `+`, `-` and `.`, but
/// neither `.` nor `..`.
pub(crate) fn valid_id(id: &str) -> bool {
    id_fault(id).is_none()
}

/// What makes `id` invalid as the id of a container.
pub(crate) fn id_fault(id: &str) -> Option<String> {
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    if let Some(wrong) = id.chars().find(|c| !is_allowed(c)) {
        return Some(format!(
            "{wrong:?} is not allowed; use letters, digits, _, +, - and ."
        ));
    }
    match id {
        "" => Some("it is empty".to_owned()),
        "." | ".." => Some("it means a directory".to_owned()),
        _ if id.len() > MAX_LENGTH => {
            let length = id.len();
            Some(format!(
                "{length} characters; at most {MAX_LENGTH} are allowed"
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_digits_and_four_signs_make_an_id() {
        let longest = "x".repeat(MAX_LENGTH);
        for valid in ["a_B.c+d-0", "..x", ".x", "-", "0", &longest] {
            assert!(valid_id(valid), "{valid}");
        }
        let too_long = "x".repeat(MAX_LENGTH + 1);
        for invalid in ["", ".", "..", "a/b", "a b", "a\n", "a~", "ä", &too_long] {
            assert!(!valid_id(invalid), "{invalid}");
        }
    }
}
