//! Which file takes names from which, and the circles among them.
//!
//! A path is followed through re-exports to the file that defines its last name. The `pub use` lines by which a
//! module shows what its files define are no imports.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

/// A module: the names that lead to it from the crate's root.
type Module = Vec<String>;

struct Crate {
    /// Module to the index of its file.
    files: BTreeMap<Module, usize>,
    /// What each file's `use` lines bring in: name to path, as it is written.
    imported: Vec<BTreeMap<String, Vec<String>>>,
    modules: Vec<Module>,
}

/// One line for each circle, with the lines that close it.
pub(crate) fn circles(sources: &[Source]) -> Vec<String> {
    let modules: Vec<Module> = sources.iter().map(module_of).collect();
    let paths: Vec<Vec<Path>> = sources.iter().map(paths_in).collect();
    let imported = paths.iter().map(|all| {
        let uses = all.iter().filter(|path| path.is_use);
        uses.map(|path| (path.name.clone(), path.segments.clone()))
            .collect()
    });
    let this = Crate {
        files: modules.iter().cloned().zip(0..).collect(),
        imported: imported.collect(),
        modules,
    };
    let mut arrows: BTreeMap<usize, BTreeMap<usize, usize>> = BTreeMap::new();
    for (file, all) in paths.iter().enumerate() {
        for path in all.iter().filter(|path| !path.is_shown) {
            let target = this.resolve(&this.modules[file], &path.segments, 0);
            if let Some(target) = target.filter(|target| *target != file) {
                arrows
                    .entry(file)
                    .or_default()
                    .entry(target)
                    .or_insert(path.line);
            }
        }
    }
    let reach = |from: usize| {
        let (mut seen, mut waiting) = (BTreeSet::new(), vec![from]);
        while let Some(at) = waiting.pop() {
            let next = arrows.get(&at).into_iter().flat_map(|to| to.keys());
            waiting.extend(next.filter(|next| seen.insert(**next)));
        }
        seen
    };
    let reached: Vec<BTreeSet<usize>> = (0..sources.len()).map(reach).collect();
    let mut circles: BTreeSet<Vec<usize>> = BTreeSet::new();
    for (file, reached_here) in reached.iter().enumerate() {
        let back = reached_here
            .iter()
            .filter(|other| reached[**other].contains(&file));
        let circle: Vec<usize> = back.copied().collect();
        if circle.contains(&file) && circle.len() > 1 {
            circles.insert(circle);
        }
    }
    let show = |circle: Vec<usize>| {
        let arrows = circle.iter().flat_map(|from| {
            let to = arrows[from].iter().filter(|(to, _)| circle.contains(to));
            to.map(move |(to, line)| {
                let (from, to) = (sources[*from].path.display(), sources[*to].path.display());
                format!("src/{from}:{line}: takes a name from src/{to}")
            })
        });
        arrows.collect::<Vec<_>>().join("\n")
    };
    circles.into_iter().map(show).collect()
}

fn module_of(source: &Source) -> Module {
    let parts = source.path.iter().map(|part| part.to_string_lossy());
    let mut module: Module = parts
        .map(|part| part.trim_end_matches(".rs").to_owned())
        .collect();
    if matches!(
        module.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        module.pop();
    }
    module
}

impl Crate {
    /// The file that defines what a path means in `module`; `None` for other crates.
    fn resolve(&self, module: &[String], path: &[String], depth: usize) -> Option<usize> {
        if depth > 8 {
            return None;
        }
        let (first, mut rest) = path.split_first()?;
        let mut at: Module = match first.as_str() {
            "crate" => Module::new(),
            "self" => module.to_vec(),
            "super" => module[..module.len().checked_sub(1)?].to_vec(),
            _ => [module, std::slice::from_ref(first)].concat(),
        };
        if !self.files.contains_key(&at) {
            return None;
        }
        while let Some((next, further)) = rest.split_first() {
            let below = if next == "super" {
                at[..at.len().checked_sub(1)?].to_vec()
            } else {
                [&at[..], std::slice::from_ref(next)].concat()
            };
            if !self.files.contains_key(&below) {
                break;
            }
            (at, rest) = (below, further);
        }
        let file = self.files[&at];
        let shown = rest.first().and_then(|name| self.imported[file].get(name));
        let through = shown.and_then(|path| self.resolve(&at, path, depth + 1));
        Some(through.unwrap_or(file))
    }
}

/// A path that a line names.
struct Path {
    segments: Vec<String>,
    /// What it is called here.
    name: String,
    line: usize,
    is_use: bool,
    /// By `pub use`: what it means is shown, not used.
    is_shown: bool,
}

fn paths_in(source: &Source) -> Vec<Path> {
    let mut found = Vec::new();
    let mut lines = source.code();
    while let Some((number, line)) = lines.next() {
        let mut statement = line.to_owned();
        let start = statement.trim_start();
        let is_use =
            start.starts_with("use ") || (start.starts_with("pub") && start.contains(" use "));
        let is_shown = is_use && start.starts_with("pub");
        if is_use {
            while !statement.contains(';') {
                let Some((_, more)) = lines.next() else { break };
                statement.push_str(more.trim());
            }
            let tree = statement.split_once("use ").map_or("", |(_, tree)| tree);
            let tree = tree.split(';').next().unwrap_or_default();
            expand(&[], tree.trim(), &mut |segments, name| {
                found.push(Path {
                    segments,
                    name,
                    line: number,
                    is_use,
                    is_shown,
                });
            });
        } else {
            for start in ["crate::", "super::", "self::"] {
                for (at, _) in statement.match_indices(start) {
                    let before = statement[..at].chars().next_back();
                    if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                        continue;
                    }
                    let text: &str = statement[at..]
                        .split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
                        .next()
                        .unwrap_or_default();
                    let segments: Vec<String> = text
                        .split("::")
                        .filter(|s| !s.is_empty())
                        .map(str::to_owned)
                        .collect();
                    let name = segments.last().cloned().unwrap_or_default();
                    found.push(Path {
                        segments,
                        name,
                        line: number,
                        is_use,
                        is_shown,
                    });
                }
            }
        }
    }
    found
}

/// Each path of a tree of `use`: `a::{b, c as d}`.
fn expand(before: &[String], tree: &str, found: &mut impl FnMut(Vec<String>, String)) {
    let tree = tree.trim();
    if let Some((path, list)) = tree.split_once('{') {
        let path = path
            .split("::")
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let before: Vec<String> = before
            .iter()
            .cloned()
            .chain(path.map(str::to_owned))
            .collect();
        let list = list.trim().strip_suffix('}').unwrap_or(list);
        let (mut depth, mut start) = (0, 0);
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    expand(&before, &list[start..at], found);
                    start = at + 1;
                }
                _ => {}
            }
        }
        return expand(&before, &list[start..], found);
    }
    let (path, name) = match tree.split_once(" as ") {
        Some((path, name)) => (path, Some(name.trim().to_owned())),
        None => (tree, None),
    };
    let parts = path
        .split("::")
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let mut segments: Vec<String> = before
        .iter()
        .cloned()
        .chain(parts.map(str::to_owned))
        .collect();
    if segments
        .last()
        .is_some_and(|last| last == "self" || last == "*")
    {
        segments.pop();
    }
    if let Some(last) = segments.last().cloned() {
        found(segments, name.unwrap_or(last));
    }
}
