//! Lists of numbers as in `0-3,7`, which name CPUs and memory nodes (cpuset(7), "List format").

use anyhow::Context;

/// A set of numbers below `8 * BYTES`. Number n is bit n % 8 of byte n / 8.
pub(super) struct Numbers<const BYTES: usize>(pub(super) Box<[u8; BYTES]>);

impl<const BYTES: usize> Numbers<BYTES> {
    /// `what` names the numbers in the error: `CPUs`.
    ///
    /// # Errors
    /// When the text is not a list, or has a number that is too large.
    pub(super) fn parse(list: &str, what: &str) -> anyhow::Result<Self> {
        let mut set = Box::new([0; BYTES]);
        let limit = BYTES * 8;
        for range in list.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.trim().parse::<usize>().ok();
            let ends = number(first).zip(number(last));
            let (first, last) = ends
                .filter(|(first, last)| first <= last && *last < limit)
                .with_context(|| {
                    format!("{list:?} is not a list of {what} below {limit}, such as \"0-3,7\"")
                })?;
            (first..=last).for_each(|number| set[number / 8] |= 1 << (number % 8));
        }
        Ok(Self(set))
    }

    /// In ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        (0..BYTES * 8).filter(|number| self.0[number / 8] & 1 << (number % 8) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_parsed() {
        let parse = |list: &str| Numbers::<1024>::parse(list, "CPUs");
        let numbers = |list: &str| parse(list).unwrap().iter().collect::<Vec<_>>();
        assert_eq!(numbers("0-3,7"), [0, 1, 2, 3, 7]);
        assert_eq!(numbers("8191, 0"), [0, 8191]);
        for bad in ["", "a", "3-1", "8192", "-1", "1,,2", "1-"] {
            let error = parse(bad).err().unwrap().to_string();
            assert!(
                error.contains("is not a list of CPUs below 8192"),
                "{error}"
            );
        }
    }
}
