//! Rules as exceptions from a default, which is all that version 1 knows.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, ensure};

use super::{Access, Devices, PLACE, Rule};

/// What is excepted of each set of devices. Two sets have devices in common that
/// are no third set here only where one is a major number and the other a minor.
#[derive(Default)]
pub(super) struct Exceptions {
    sets: HashMap<Devices, Access>,
    /// In the order of the rules.
    order: Vec<Devices>,
}

/// As many crossings of major with minor numbers as there may be beside the
/// rules: the kernel goes through all of them whenever a device is opened.
const MOST_CROSSINGS: usize = 4096;

impl Exceptions {
    pub(super) fn of(rules: &[Rule]) -> Exceptions {
        let mut all = Exceptions::default();
        for rule in rules {
            let earlier = all.sets.insert(rule.devices, rule.access);
            match earlier {
                Some(earlier) => {
                    all.sets.insert(rule.devices, earlier | rule.access);
                }
                None => all.order.push(rule.devices),
            }
        }
        all
    }

    /// All access excepted of a set, by itself and by those that cover it.
    fn access(&self, set: Devices) -> Access {
        let held = set.covering().filter_map(|wider| self.sets.get(&wider));
        held.fold(Access(0), |all, own| all | *own)
    }

    /// The sets without which some device would have less than is excepted.
    pub(super) fn needed(mut self) -> Result<Vec<(Devices, Access)>> {
        self.cross()?;
        let all = self.order.iter().map(|set| (*set, self.access(*set)));
        let needed = |(set, access): &(Devices, Access)| {
            let mut wider = set
                .covering()
                .filter(|wider| wider != set && self.sets.contains_key(wider));
            !wider.any(|wider| self.access(wider) == *access)
        };
        Ok(all.filter(needed).collect())
    }

    /// Adds the devices of a major and a minor number that together except more
    /// than each.
    fn cross(&mut self) -> Result<()> {
        let (mut majors, mut minors) = (Vec::new(), BTreeMap::<_, Vec<Devices>>::new());
        for set in &self.order {
            let access = self.access(*set);
            match (set.major, set.minor) {
                (Some(_), None) => majors.push((*set, access)),
                (None, Some(_)) => minors.entry(access.0).or_default().push(*set),
                _ => {}
            }
        }
        let mut crossings = 0;
        for (major, access) in majors {
            for (other, sets) in &minors {
                let both = access | Access(*other);
                if both == access || both.0 == *other {
                    continue;
                }
                for set in sets.iter().filter_map(|minor| minor.intersect(major)) {
                    crossings += 1;
                    ensure!(
                        crossings <= MOST_CROSSINGS,
                        "{PLACE}: its rules for major numbers and those for minor numbers meet in more than {MOST_CROSSINGS} devices, each of which cgroup v1 needs a rule for"
                    );
                    if let Entry::Vacant(vacant) = self.sets.entry(set) {
                        vacant.insert(Access(0));
                        self.order.push(set);
                    }
                }
            }
        }
        Ok(())
    }
}
