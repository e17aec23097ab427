//! The tables that say for each requirement how it is tested.

/// What a table says of a requirement.
pub(super) struct Row {
    pub(super) section: String,
    pub(super) text: String,
    pub(super) answer: Answer,
}

#[derive(Clone)]
pub(super) enum Answer {
    /// The tests of this program that prove it.
    Tests(Vec<String>),
    /// Why none does.
    NoTest(String),
}

/// Reads a table. It is a list in Markdown: `## SECTION`, then one or more requirements (`- TEXT`), and what
/// is true of these: `  - test: NAME, NAME` or `  - no test: REASON`.
///
/// # Errors
///
/// A line that means nothing, and a requirement of which nothing is said.
pub(super) fn rows(table: &str) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let mut section = String::new();
    let mut waiting: Vec<&str> = Vec::new();
    for (number, line) in (1..).zip(table.lines()) {
        let wrong = |what: &str| Err(format!("line {number}: {what}: {line}"));
        if let Some(text) = line.strip_prefix("- ") {
            waiting.push(text);
        } else if let Some(said) = line.strip_prefix("  - ") {
            if waiting.is_empty() {
                return wrong("about no requirement");
            }
            let Some(answer) = answer(said) else {
                return wrong("neither `test: NAME` nor `no test: REASON`");
            };
            let row = |text: &str| Row {
                section: section.clone(),
                text: text.to_owned(),
                answer: answer.clone(),
            };
            rows.extend(waiting.drain(..).map(row));
        } else if !line.is_empty() && !waiting.is_empty() {
            return wrong("nothing is said of the requirement above");
        } else if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut section);
        } else if !line.is_empty() && !line.starts_with("# ") {
            return wrong("no part of a table");
        }
    }
    match waiting.first() {
        Some(text) => Err(format!("nothing is said of: {text}")),
        None => Ok(rows),
    }
}

fn answer(said: &str) -> Option<Answer> {
    if let Some(names) = said.strip_prefix("test: ") {
        let names = names.split(", ").map(str::to_owned).collect();
        return Some(Answer::Tests(names));
    }
    let reason = said.strip_prefix("no test: ")?;
    Some(Answer::NoTest(reason.to_owned()))
}
