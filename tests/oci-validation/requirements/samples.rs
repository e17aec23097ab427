//! The reader of requirements and the comparison with the tables, on samples.

use std::collections::BTreeSet;

use super::table::rows;
use super::text::{Requirement, requirements};
use super::{names, problems};
use crate::harness::trials;
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        sentences_are_found_with_their_place,
        a_requirement_without_a_row_is_found,
        a_row_without_a_requirement_is_found,
        a_row_that_names_no_test_is_found,
        a_requirement_of_which_nothing_is_said_is_found,
    ]
}

const DOCUMENT: &str = "\
# <a name=\"top\" />Sample

The first MUST be [found](sample.md#one), e.g. this. The second need not. The
third MUST NOT be **missed**.

* **`key`** (string, REQUIRED) is described. It MUST be short.
    * **`inner`** (array) MUST be
      in the `key*`.

  It is SHALL that counts here.

 Option | Requirement
--------|------------
 `ro`   | MUST        | [^1]
 `new`  | SHOULD      | It MUST work [^2]. It MAY fail.

```json
{\"MUST\": \"not be read\"}
```

## Next

1. MUST be numbered.
";

fn sentences_are_found_with_their_place() {
    let found = requirements(DOCUMENT);
    let texts: Vec<&str> = found.iter().map(|one| one.text.as_str()).collect();
    let expected = [
        "The first MUST be found, e.g. this.",
        "The third MUST NOT be missed.",
        "key: (string, REQUIRED) is described.",
        "key: It MUST be short.",
        "key.inner: (array) MUST be in the `key*`.",
        "key: It is SHALL that counts here.",
        "ro: MUST",
        "new: It MUST work.",
        "MUST be numbered.",
    ];
    assert_eq!(texts, expected);
    let sections: Vec<&str> = found.iter().map(|one| one.section.as_str()).collect();
    assert_eq!((sections[7], sections[8]), ("Sample", "Next"));
}

fn required() -> [Requirement; 1] {
    [Requirement {
        section: "Sample".to_owned(),
        text: "It MUST work.".to_owned(),
    }]
}

/// The problems of a table for this one requirement.
fn problems_of(table: &str) -> Vec<String> {
    let names = BTreeSet::from(["sample::works".to_owned()]);
    problems(&required(), &rows(table).unwrap(), &names)
}

const RIGHT: &str = "## Sample\n\n- It MUST work.\n  - test: sample::works\n";

fn a_requirement_without_a_row_is_found() {
    assert_eq!(problems_of(RIGHT), [""; 0]);
    assert_eq!(problems_of(""), ["0 rows in \"Sample\": It MUST work."]);
    let twice = format!("{RIGHT}{RIGHT}");
    assert_eq!(problems_of(&twice), ["2 rows in \"Sample\": It MUST work."]);
}

fn a_row_without_a_requirement_is_found() {
    let table = format!("{RIGHT}- It MUST fly.\n  - no test: it does not\n");
    assert_eq!(
        problems_of(&table),
        ["not required in \"Sample\": It MUST fly."]
    );
}

fn a_row_that_names_no_test_is_found() {
    let table = RIGHT.replace("works", "fails");
    assert_eq!(
        problems_of(&table),
        ["no test is called sample::fails: It MUST work."]
    );
    let elsewhere = |name: &str| {
        RIGHT.replace(
            "test: sample::works",
            &format!("no test: only `{name}` can"),
        )
    };
    assert_eq!(problems_of(&elsewhere("suite::state::missing")).len(), 1);
    let existing = "suite::lifecycle::killed::kill_9_of_run_ends_the_container";
    assert_eq!(problems_of(&elsewhere(existing)), [""; 0]);
    assert!(names().contains("requirements::samples::a_row_that_names_no_test_is_found"));
}

fn a_requirement_of_which_nothing_is_said_is_found() {
    for table in [
        "- It MUST work.\n",
        "- It MUST work.\n\n## Next\n",
        "- It MUST work.\n  - soon\n",
        "It MUST work.\n",
    ] {
        assert!(rows(table).is_err(), "{table}");
    }
}
