//! The facts as a table that fits a terminal of 80 columns and 24 lines.

use super::{Fact, Info, Interface, Layout, Manager, Parent, User};
use crate::host::SubordinateIds;
use crate::process;

/// Columns of a line.
const WIDTH: usize = 80;
/// Columns of the label at the beginning of a line.
const LABEL: usize = 14;

pub(super) fn table(info: &Info) -> String {
    let mut table = Table(format!(
        "rt {}, commit {}, specification {} to {}\n",
        info.version, info.commit, info.oci_version_min, info.oci_version_max
    ));
    let release = show(&info.kernel.release, String::clone);
    let minimum = info.kernel.release_min;
    table.row(
        "kernel",
        1,
        [format!("{release} (rt needs {minimum} or later)")],
    );
    add_interfaces(&mut table, &info.kernel.interfaces);
    match &info.cgroups {
        Fact::Known(layout) => add_cgroups(&mut table, layout),
        Fact::Unknown(reason) => table.row("cgroups", 2, [unknown(reason)]),
    }
    let systemd = match &info.systemd {
        Fact::Known(Manager { version, user }) => {
            let whose = if *user { "user" } else { "host" };
            format!("version {version} of the {whose} can make cgroups")
        }
        Fact::Unknown(reason) => {
            let reason = reason.trim_start_matches("systemd: ");
            format!("cannot make cgroups: {reason}")
        }
    };
    table.row("  systemd", 2, [systemd]);
    let on = |enforced: bool| if enforced { "on" } else { "off" };
    let modules = show(&info.security.modules, |modules| modules.join(" "));
    let apparmor = format!("AppArmor {}", on(info.security.apparmor));
    let selinux = format!("SELinux {}", on(info.security.selinux));
    table.row(
        "security",
        2,
        [apparmor, selinux, format!("modules: {modules}")],
    );
    add_user(&mut table, &info.user);
    let root = &info.state_root;
    let state = match (&root.reason, root.exists) {
        (Some(reason), _) => format!("not usable: {reason}"),
        (None, true) => format!("{}: exists, writable", root.path.display()),
        (None, false) => format!("{}: is made when it is needed", root.path.display()),
    };
    table.row("state root", 2, [state]);
    table.0
}

fn add_interfaces(table: &mut Table, interfaces: &[Interface]) {
    let found = |interface: &&Interface| matches!(interface.found, Fact::Known(true));
    let names = interfaces
        .iter()
        .filter(found)
        .map(|one| one.name.to_owned());
    table.row("  found", 4, names);
    let lacking = |interface: &&Interface| matches!(interface.found, Fact::Known(false));
    for one in interfaces.iter().filter(lacking) {
        let Interface {
            name,
            since,
            without,
            ..
        } = one;
        table.row("  missing", 1, [format!("{name} ({since}): {without}")]);
    }
    let not_known = interfaces.iter().filter_map(|one| match &one.found {
        Fact::Unknown(reason) => Some(format!("{}: {reason}", one.name)),
        Fact::Known(_) => None,
    });
    table.row("  unknown", 2, not_known);
}

fn add_cgroups(table: &mut Table, layout: &Layout) {
    let mounts = layout.hierarchies.iter();
    let mounts = mounts.map(|hierarchy| hierarchy.mount.display().to_string());
    let named = match layout.layout {
        "hybrid" => "v1 and v2 (hybrid)",
        other => other,
    };
    let count = layout.hierarchies.len();
    let first = mounts.clone().next().unwrap_or_default();
    let place = match count {
        1 => first,
        _ => format!("{count} hierarchies, such as {first}"),
    };
    table.row("cgroups", 1, [format!("{named}: {place}")]);
    let hierarchies = layout.hierarchies.iter();
    let controllers = hierarchies.flat_map(|hierarchy| match &hierarchy.controllers {
        Fact::Known(names) => names.clone(),
        Fact::Unknown(reason) => vec![unknown(reason)],
    });
    // A named hierarchy has none (cgroups(7)).
    let controllers = controllers.filter(|name| !name.starts_with("name="));
    let controllers = controllers.collect::<Vec<_>>().join(" ");
    table.row("  controllers", 2, [controllers]);
    let place = show(&layout.parents, |parents| place_of_new(parents));
    table.row("  new ones", 1, [place]);
}

/// Where new cgroups can be made.
fn place_of_new(parents: &[Parent]) -> String {
    let writable = parents.iter().filter(|parent| parent.writable).count();
    match (parents, writable) {
        ([only], 0) => format!("cannot be made in {}", only.directory.display()),
        ([only], _) => format!("can be made in {}", only.directory.display()),
        (all, 0) => format!("cannot be made in any of {} hierarchies", all.len()),
        (all, some) => format!("can be made in {some} of {} hierarchies", all.len()),
    }
}

fn add_user(table: &mut Table, user: &User) {
    let (uid, gid) = (
        show(&user.uid, u32::to_string),
        show(&user.gid, u32::to_string),
    );
    let namespace = match &user.initial_user_namespace {
        Fact::Known(true) => "the initial user namespace".to_owned(),
        Fact::Known(false) => "a user namespace".to_owned(),
        Fact::Unknown(reason) => format!("a user namespace that is {}", unknown(reason)),
    };
    table.row("user", 1, [format!("uid {uid}, gid {gid}, in {namespace}")]);
    let yes = |fact: &Fact<bool>| show(fact, |known| if *known { "yes" } else { "no" }.to_owned());
    let mount = format!("mount: {}", yes(&user.may_mount));
    let namespaces = yes(&user.may_make_user_namespaces);
    let namespaces = format!("make user namespaces: {namespaces}");
    table.row("  may", 1, [mount, namespaces]);
    let uids = format!("uids {}", show(&user.subordinate_uids, |ids| ranges(ids)));
    let gids = format!("gids {}", show(&user.subordinate_gids, |ids| ranges(ids)));
    let installed = match (&user.newuidmap, &user.newgidmap) {
        (Some(_), Some(_)) => "newuidmap: yes",
        _ => "newuidmap: no",
    };
    table.row("  subids", 1, [uids, gids, installed.to_owned()]);
    match &user.capabilities {
        Fact::Unknown(reason) => table.row("  caps", 1, [unknown(reason)]),
        Fact::Known(own) => add_capabilities(table, own),
    }
}

/// `100000+65536` for each range.
fn ranges(ids: &[SubordinateIds]) -> String {
    let ranges = ids
        .iter()
        .map(|range| format!("{}+{}", range.first, range.count));
    match ranges.collect::<Vec<_>>() {
        none if none.is_empty() => "none".to_owned(),
        some => some.join(" "),
    }
}

/// The shorter of two lists: the capabilities that the user has, or those that it lacks.
fn add_capabilities(table: &mut Table, own: &[String]) {
    let known = process::capabilities();
    let without: Vec<String> = known
        .iter()
        .filter(|name| !own.contains(name))
        .cloned()
        .collect();
    let short = |names: &[String]| -> Vec<String> {
        names
            .iter()
            .map(|name| name.trim_start_matches("CAP_").to_lowercase())
            .collect()
    };
    let (count, known) = (own.len(), known.len());
    let rows = match (own.is_empty(), without.is_empty()) {
        (true, _) => vec!["none".to_owned()],
        (_, true) => vec![format!("all {known}")],
        _ if without.len() < own.len() => {
            let mut names = short(&without);
            names[0] = format!("{count} of {known}, without {}", names[0]);
            names
        }
        _ => {
            let mut names = short(own);
            names[0] = format!("{count} of {known}: {}", names[0]);
            names
        }
    };
    table.row("  caps", 2, rows);
}

fn unknown(reason: &str) -> String {
    format!("unknown: {reason}")
}

fn show<T>(fact: &Fact<T>, known: impl FnOnce(&T) -> String) -> String {
    match fact {
        Fact::Known(value) => known(value),
        Fact::Unknown(reason) => unknown(reason),
    }
}

/// Lines with a label and a text.
struct Table(String);

impl Table {
    /// Adds `items`, separated by commas, on at most `lines` lines. Without items it adds nothing.
    fn row(&mut self, label: &str, lines: usize, items: impl IntoIterator<Item = String>) {
        let text = items.into_iter().collect::<Vec<_>>().join(", ");
        let mut words = text.split_whitespace().peekable();
        for number in 1..=lines {
            let Some(first) = words.next() else { return };
            let mut line = first.to_owned();
            while let Some(word) = words.next_if(|word| fits(&line, word)) {
                line = format!("{line} {word}");
            }
            if number == lines && words.peek().is_some() || line.chars().count() > WIDTH - LABEL {
                line = line.chars().take(WIDTH - LABEL - 1).chain(['…']).collect();
            }
            let label = if number == 1 { label } else { "" };
            self.0 += format!("{label:LABEL$}{line}\n").as_str();
        }
    }
}

fn fits(line: &str, word: &str) -> bool {
    line.chars().count() + 1 + word.chars().count() <= WIDTH - LABEL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_cut_where_the_page_ends() {
        let mut table = Table(String::new());
        let items = |count: usize| (0..count).map(|number| format!("item-{number:04}"));
        table.row("a", 2, items(3));
        table.row("none", 2, items(0));
        table.row("b", 2, items(100));
        table.row("c", 1, ["x".repeat(200)]);
        let lines: Vec<&str> = table.0.lines().collect();
        assert_eq!(lines[0], "a             item-0000, item-0001, item-0002");
        assert!(lines[1].starts_with("b             item-0000, ") && lines[1].ends_with(','));
        assert!(lines[2].starts_with("              item-") && lines[2].ends_with('…'));
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH));
    }
}
