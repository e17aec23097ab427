//! The difference between two texts of decisions, for people.

/// The lines that only `old` has, after `-`, and those that only `new` has, after `+`, each
/// below the headings that both have.
pub(super) fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let common = common_lengths(&old, &new);
    let mut text = String::new();
    let (mut headings, mut printed): (Vec<&str>, usize) = (Vec::new(), 0);
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            headings.retain(|heading| depth(heading) < depth(old[i]));
            printed = printed.min(headings.len());
            headings.push(old[i]);
            (i, j) = (i + 1, j + 1);
            continue;
        }
        let removed = j == new.len() || i < old.len() && common[i + 1][j] >= common[i][j + 1];
        let (sign, line) = if removed {
            ('-', old[i])
        } else {
            ('+', new[j])
        };
        (i, j) = (i + usize::from(removed), j + usize::from(!removed));
        let enclosing = headings
            .iter()
            .take_while(|heading| depth(heading) < depth(line));
        for heading in enclosing.skip(printed) {
            text += &format!("  {heading}\n");
            printed += 1;
        }
        text += &format!("{sign} {line}\n");
    }
    text
}

fn depth(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The length of the longest common subsequence of `old[i..]` and `new[j..]`, for each `i` and
/// `j`.
fn common_lengths(old: &[&str], new: &[&str]) -> Vec<Vec<usize>> {
    let mut lengths = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            lengths[i][j] = if old[i] == new[j] {
                lengths[i + 1][j + 1] + 1
            } else {
                lengths[i + 1][j].max(lengths[i][j + 1])
            };
        }
    }
    lengths
}

#[test]
fn changed_lines_follow_the_headings_around_them() {
    let old = "a\n  b\n    c\n    d\n  e\nf\n  g\n";
    let new = "a\n  b\n    c\n    D\n  e\nf\n  g\n  h\n";
    let expected = "  a\n    b\n-     d\n+     D\n  f\n+   h\n";
    assert_eq!(difference(old, new), expected);
    assert_eq!(difference(old, old), "");
    assert_eq!(difference("", "a\n"), "+ a\n");
}
