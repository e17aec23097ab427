//! Reads the Test Anything Protocol, <https://testanything.org/tap-version-13-specification.html>.

/// What a program has reported.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct Results {
    pub(super) passed: usize,
    /// The descriptions of the checks that have failed.
    pub(super) failed: Vec<String>,
    /// Why checks were skipped.
    pub(super) skipped: Vec<String>,
    /// What is wrong with the report itself.
    pub(super) problems: Vec<String>,
    /// The lines that explain the failures.
    notes: Vec<String>,
}

impl Results {
    /// The counts, for a table of programs.
    pub(super) fn row(&self) -> String {
        format!(
            "passed {}, failed {}, skipped {}",
            self.passed,
            self.failed.len(),
            self.skipped.len()
        )
    }

    /// Everything that is known of the failures, a line each.
    pub(super) fn reasons(&self) -> String {
        [
            self.failed.join("\n"),
            self.problems.join("\n"),
            self.notes.join("\n"),
        ]
        .join("\n")
    }
}

/// Reads the standard output of a program.
pub(super) fn read(text: &str) -> Results {
    let mut results = Results::default();
    let (mut plan, mut count) = (None, 0);
    for line in text.lines() {
        if let Some(reason) = line.strip_prefix("Bail out!") {
            results.problems.push(format!("it bails out:{reason}"));
        } else if let Some(number) = line.strip_prefix("1..") {
            let (number, why) = directive(number);
            plan = number.parse::<usize>().ok();
            if plan == Some(0) {
                results
                    .skipped
                    .push(why.map_or_else(String::new, |(_, reason)| reason));
            }
        } else if let Some(rest) = line.strip_prefix("not ok") {
            count += 1;
            fail(&mut results, rest);
        } else if let Some(rest) = line.strip_prefix("ok") {
            count += 1;
            match directive(rest).1 {
                Some((word, reason)) if word == "SKIP" => results.skipped.push(reason),
                _ => results.passed += 1,
            }
        } else if line.starts_with('#') || line.starts_with(' ') {
            results.notes.push(line.to_owned());
        }
    }
    match plan {
        None => results.problems.push("it writes no plan".to_owned()),
        Some(plan) if plan != count => results
            .problems
            .push(format!("it plans {plan} checks and reports {count}")),
        Some(_) => {}
    }
    results
}

/// A check that fails counts, unless the program says that it is known to ("TODO").
fn fail(results: &mut Results, rest: &str) {
    let (description, why) = directive(rest);
    match why {
        Some((word, reason)) if word == "TODO" || word == "SKIP" => results.skipped.push(reason),
        _ => results.failed.push(description),
    }
}

/// Splits `N - DESCRIPTION # SKIP REASON` into the description and the directive.
fn directive(rest: &str) -> (String, Option<(String, String)>) {
    let (description, comment) = match rest.split_once(" # ") {
        Some((description, comment)) => (description, Some(comment)),
        None => (rest, None),
    };
    let is_number = description.trim().bytes().all(|byte| byte.is_ascii_digit());
    let digits = |c: char| c.is_ascii_digit();
    let shown = description.trim();
    let shown = if is_number {
        shown
    } else {
        shown
            .trim_start_matches(digits)
            .trim_start_matches([' ', '-'])
    };
    let word = comment.map(|comment| {
        let (word, reason) = comment.split_once(' ').unwrap_or((comment, ""));
        (
            word.trim_end_matches(':').to_uppercase(),
            reason.trim().to_owned(),
        )
    });
    (shown.to_owned(), word)
}
