//! Device rules as exceptions from a default: the only form that v1 has.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, ensure};

use super::rule::{Access, DeviceSet, FIELD, Rule};

/// The access that is excepted, by set of devices. Where two sets overlap and neither contains
/// the other, one is all devices of a major number, and the other all devices of a minor number.
#[derive(Default)]
pub(super) struct Exceptions {
    sets: HashMap<DeviceSet, Access>,
    /// The sets in the order of the rules.
    order: Vec<DeviceSet>,
}

/// The most intersections of major with minor numbers to add to the list. The kernel searches
/// the whole list whenever a device is opened.
const MAX_INTERSECTIONS: usize = 4096;

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

    /// All access that is excepted for a set: its own, and that of the sets that contain it.
    fn access(&self, set: DeviceSet) -> Access {
        let excepted = set.supersets().filter_map(|wider| self.sets.get(&wider));
        excepted.fold(Access(0), |all, access| all | *access)
    }

    /// The exceptions, without sets that add nothing to one that contains them.
    ///
    /// # Errors
    /// When there are too many intersections of major with minor numbers.
    pub(super) fn into_minimal(mut self) -> Result<Vec<(DeviceSet, Access)>> {
        self.add_intersections()?;
        let all = self.order.iter().map(|set| (*set, self.access(*set)));
        let adds_access = |(set, access): &(DeviceSet, Access)| {
            let mut supersets = set
                .supersets()
                .filter(|wider| wider != set && self.sets.contains_key(wider));
            !supersets.any(|wider| self.access(wider) == *access)
        };
        Ok(all.filter(adds_access).collect())
    }

    /// Adds a device for each major and minor number whose exceptions only together give all the
    /// access: v1 compares an access with one exception at a time.
    fn add_intersections(&mut self) -> Result<()> {
        let (mut majors, mut minors) = (Vec::new(), BTreeMap::<_, Vec<DeviceSet>>::new());
        for set in &self.order {
            let access = self.access(*set);
            match (set.major, set.minor) {
                (Some(_), None) => majors.push((*set, access)),
                (None, Some(_)) => minors.entry(access.0).or_default().push(*set),
                _ => {}
            }
        }
        let mut intersections = 0;
        for (major, access) in majors {
            for (other, sets) in &minors {
                let union = access | Access(*other);
                if union == access || union.0 == *other {
                    continue;
                }
                for set in sets.iter().filter_map(|minor| minor.intersection(major)) {
                    intersections += 1;
                    ensure!(
                        intersections <= MAX_INTERSECTIONS,
                        "{FIELD}: the rules for major numbers and the rules for minor numbers intersect in more than {MAX_INTERSECTIONS} devices, each of which needs a rule of its own in cgroup v1"
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
