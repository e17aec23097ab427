//! Text in columns.

/// The lines in the layout of runc, which uses Go's tabwriter: every column except the last is at
/// least 12 characters wide, and 3 wider than its widest cell. All lines have the same number of
/// cells.
pub(super) fn columns(lines: &[Vec<String>]) -> String {
    let count = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max();
        (widest.unwrap_or_default() + 3).max(12)
    };
    let widths: Vec<usize> = (0..count.saturating_sub(1)).map(width).collect();
    let mut text = String::new();
    for line in lines {
        for (cell, width) in line.iter().zip(&widths) {
            text.push_str(&format!("{cell:<width$}"));
        }
        text.extend(line.last().map(String::as_str));
        text.push('\n');
    }
    text
}
