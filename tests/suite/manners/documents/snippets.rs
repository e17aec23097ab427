//! Configuration files in the documents can be parsed, and links lead to files.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::examples;
use crate::harness::{skip, trials};
use crate::runner::Test;

/// Languages that no test parses.
const OTHERS: &[&str] = &["text"];

/// Written by `RT_TESTS=all tests/run`.
const GENERATED: &str = "docs/engines.md";

pub(super) fn tests() -> Vec<Test> {
    trials![
        every_snippet_has_a_known_language,
        json_can_be_parsed,
        toml_can_be_parsed,
        yaml_can_be_parsed,
        links_lead_to_files,
    ]
}

fn snippets(language: &str) -> Vec<examples::Snippet> {
    let mut all = all_snippets();
    all.retain(|snippet| snippet.language == language);
    assert!(!all.is_empty(), "no document has {language}");
    all
}

fn all_snippets() -> Vec<examples::Snippet> {
    let documents = examples::documents().into_iter();
    let snippets = documents.flat_map(|(name, text)| examples::snippets(&name, &text));
    snippets.collect()
}

fn every_snippet_has_a_known_language() {
    for snippet in all_snippets() {
        let known = ["json", "toml", "yaml"].iter().chain(OTHERS);
        let is_known = known.clone().any(|known| *known == snippet.language);
        assert!(is_known, "{}: {}", snippet.place, snippet.language);
    }
}

fn json_can_be_parsed() {
    for snippet in snippets("json") {
        let is_member = snippet.text.starts_with('"');
        let text = if is_member {
            format!("{{{}}}", snippet.text)
        } else {
            snippet.text
        };
        let parsed = serde_json::from_str::<Value>(&text);
        assert!(parsed.is_ok(), "{}: {parsed:?}", snippet.place);
    }
}

fn toml_can_be_parsed() {
    parse_with_python("toml", "tomllib", "python3", "tomllib.loads(text)");
}

fn yaml_can_be_parsed() {
    let expression = "list(yaml.safe_load_all(text))";
    parse_with_python("yaml", "yaml", "python3-yaml", expression);
}

fn parse_with_python(language: &str, module: &str, package: &str, expression: &str) {
    let python = |script: &str, text: &str| {
        let mut python = Command::new("python3");
        python.args(["-c", script, text]).output()
    };
    let import = format!("import sys, {module}; text = sys.argv[1]");
    if !python(&import, "").is_ok_and(|output| output.status.success()) {
        skip(&format!("python3 lacks {module} (package {package})"));
    }
    for snippet in snippets(language) {
        let parsed = python(&format!("{import}; {expression}"), &snippet.text);
        let parsed = parsed.expect("start python3");
        let error = String::from_utf8_lossy(&parsed.stderr);
        assert!(parsed.status.success(), "{}: {error}", snippet.place);
    }
}

fn links_lead_to_files() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, text) in examples::documents() {
        let directory = Path::new(&name).parent().expect("a path has a parent");
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        let files = targets.map(|target| target.split('#').next().unwrap_or_default());
        let files = files.filter(|file| !file.is_empty() && !file.contains("://"));
        for file in files {
            let path = directory.join(file);
            let is_generated = path == Path::new(GENERATED);
            assert!(is_generated || top.join(&path).exists(), "{name}: {file}");
        }
    }
}
