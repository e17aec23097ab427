//! The plot and the table of the README: how long each command of each runtime takes.
//!
//! The SVG is written by hand and has no script and no font of its own. Its text takes
//! its color from the reader's color scheme, and each bar bears its value.

use std::fmt::Write;

/// Called as the runtimes are: name and color. The colors stand out on white and on black.
const SERIES: [(&str, &str); 3] = [("rt", "#d9480f"), ("crun", "#4c8dd6"), ("runc", "#8a8f98")];

const WIDTH: f64 = 720.0;
/// Where the bars begin.
const LEFT: f64 = 70.0;
/// The longest bar, in pixels. The rest of the line is for its value.
const LONGEST: f64 = 580.0;
const BAR: f64 = 11.0;
const GAP: f64 = 12.0;
const TOP: f64 = 52.0;

/// A runtime's name, and its median for each command in milliseconds.
pub(crate) type Series<'a> = (&'a str, &'a [f64]);

/// The bars, grouped by command, in milliseconds from zero.
pub(crate) fn svg(commands: &[&str], measured: &[Series], title: &str) -> String {
    let shown = in_order(measured);
    let largest = shown.iter().flat_map(|(_, _, times)| times.iter());
    let largest = largest.copied().fold(0.0, f64::max);
    let group = BAR * shown.len() as f64 + GAP;
    let height = TOP + group * commands.len() as f64;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<title>{title}</title>\n\
         <style>text{{fill:#24292f}}@media(prefers-color-scheme:dark){{text{{fill:#d0d7de}}}}</style>\n\
         <text x=\"{LEFT}\" y=\"16\" font-size=\"13\">{title}</text>\n"
    );
    for (index, (name, color, _)) in shown.iter().enumerate() {
        let x = LEFT + 80.0 * index as f64;
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" y=\"26\" width=\"11\" height=\"11\" fill=\"{color}\"/>\
             <text x=\"{}\" y=\"36\">{name}</text>",
            x + 16.0
        );
    }
    for (row, command) in commands.iter().enumerate() {
        let top = TOP + group * row as f64;
        let middle = top + BAR * shown.len() as f64 / 2.0 + 4.0;
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{command}</text>",
            LEFT - 8.0
        );
        for (index, (_, color, times)) in shown.iter().enumerate() {
            let y = top + BAR * index as f64;
            let width = times[row] / largest * LONGEST;
            let _ = writeln!(
                text,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{color}\"/>\
                 <text x=\"{:.1}\" y=\"{}\" font-size=\"9\">{:.1}</text>",
                BAR - 1.0,
                LEFT + width + 4.0,
                y + 8.5,
                times[row]
            );
        }
    }
    text.push_str("</svg>\n");
    text
}

/// The same numbers as a table of Markdown, one runtime a column.
pub(crate) fn table(commands: &[&str], measured: &[Series]) -> String {
    let shown = in_order(measured);
    let mut text = String::from("| milliseconds |");
    for (name, _, _) in &shown {
        let _ = write!(text, " {name} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---:|".repeat(shown.len()));
    for (row, command) in commands.iter().enumerate() {
        let _ = write!(text, "\n| `{command}` |");
        for (_, _, times) in &shown {
            let _ = write!(text, " {:.1} |", times[row]);
        }
    }
    text.push('\n');
    text
}

/// The runtimes that have a color, in the order of `SERIES`.
fn in_order<'a>(measured: &[Series<'a>]) -> Vec<(&'static str, &'static str, &'a [f64])> {
    let find = |wanted: &str| measured.iter().find(|(name, _)| *name == wanted);
    SERIES
        .into_iter()
        .filter_map(|(name, color)| find(name).map(|(_, times)| (name, color, *times)))
        .collect()
}
