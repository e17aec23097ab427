//! Weights for the I/O of block devices (config-linux.md, "Block IO"): the share that a cgroup
//! gets of a device that several cgroups want.

use anyhow::{Result, ensure};
use oci_spec::runtime::LinuxBlockIo;

use super::setting::{OnRefusal, Setting};

/// A weight for all devices, or for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cgroups) struct Weight {
    kind: &'static Kind,
    /// The item of `weightDevice`.
    index: Option<usize>,
    /// `MAJOR:MINOR`
    device: Option<String>,
    /// 10 to 1000, as in v1.
    weight: u16,
}

/// Which cgroups the weight is compared with.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    /// The name in config.json.
    name: &'static str,
    field: &'static str,
    /// The file of v1 for all devices, and that for single ones.
    files: [&'static str; 2],
}

const DEVICES: &str = "linux.resources.blockIO.weightDevice";

/// With the cgroups beside it.
static WEIGHT: Kind = Kind {
    name: "weight",
    field: "linux.resources.blockIO.weight",
    files: ["blkio.weight", "blkio.weight_device"],
};

/// With the cgroups below it.
static LEAF_WEIGHT: Kind = Kind {
    name: "leafWeight",
    field: "linux.resources.blockIO.leafWeight",
    files: ["blkio.leaf_weight", "blkio.leaf_weight_device"],
};

/// The files of the BFQ scheduler in v1, for all devices and for single ones.
const BFQ: [&str; 2] = ["blkio.bfq.weight", "blkio.bfq.weight_device"];

/// Reads the weights. A weight of 0 sets none.
///
/// # Errors
/// When a weight is out of range, or an item of `weightDevice` has none.
pub(in crate::cgroups) fn plan(block_io: &LinuxBlockIo) -> Result<Vec<Weight>> {
    let mut all = Vec::new();
    for (kind, weight) in [
        (&WEIGHT, block_io.weight()),
        (&LEAF_WEIGHT, block_io.leaf_weight()),
    ] {
        all.extend(Weight::plan(kind, None, None, weight)?);
    }
    for (index, item) in block_io.weight_device().iter().flatten().enumerate() {
        let before = all.len();
        for (kind, weight) in [(&WEIGHT, item.weight()), (&LEAF_WEIGHT, item.leaf_weight())] {
            let device = format!("{}:{}", item.major(), item.minor());
            all.extend(Weight::plan(kind, Some(index), Some(device), weight)?);
        }
        ensure!(
            all.len() > before,
            "{DEVICES}[{index}]: needs weight or leafWeight"
        );
    }
    Ok(all)
}

impl Weight {
    fn plan(
        kind: &'static Kind,
        index: Option<usize>,
        device: Option<String>,
        weight: Option<u16>,
    ) -> Result<Option<Weight>> {
        let Some(weight) = weight.filter(|weight| *weight != 0) else {
            return Ok(None);
        };
        let weight = Weight {
            kind,
            index,
            device,
            weight,
        };
        ensure!(
            (10..=1000).contains(&weight.weight),
            "{}: {} is not between 10 and 1000",
            weight.place(),
            weight.weight
        );
        Ok(Some(weight))
    }

    fn item(&self) -> String {
        let item = |index| format!("[{index}].{}", self.kind.name);
        self.index.map(item).unwrap_or_default()
    }

    fn place(&self) -> String {
        let field = if self.device.is_some() {
            DEVICES
        } else {
            self.kind.field
        };
        [field, &self.item()].concat()
    }

    fn setting(&self, controller: &'static str, file: &'static str, weight: u64) -> Setting {
        let (field, value) = match &self.device {
            Some(device) => (DEVICES, format!("{device} {weight}")),
            None => (self.kind.field, weight.to_string()),
        };
        Setting::new(field, controller, file, value).of_item(self.item())
    }
}

/// The files of BFQ with a line for each device that has a weight of its own, in v1 and in v2.
pub(in crate::cgroups) const OF_DEVICES: [&str; 2] = [BFQ[1], "io.bfq.weight"];

/// Whether there is a weight for all devices. BFQ then forgets those of single devices.
pub(in crate::cgroups) fn replace_all(weights: &[Weight]) -> bool {
    let mut weights = weights.iter();
    weights.any(|weight| *weight.kind == WEIGHT && weight.device.is_none())
}

/// Adds the present weights of single devices, from the `text` of a file of [`OF_DEVICES`], unless
/// there is another one for the device.
pub(in crate::cgroups) fn keep_present(weights: &mut Vec<Weight>, text: &str) {
    for (device, weight) in text.lines().filter_map(|line| line.split_once(' ')) {
        let is_given = weights
            .iter()
            .any(|it| it.device.as_deref() == Some(device));
        let (true, false, Ok(weight)) = (device.contains(':'), is_given, weight.parse()) else {
            continue;
        };
        weights.push(Weight {
            kind: &WEIGHT,
            index: None,
            device: Some(device.to_owned()),
            weight,
        });
    }
}

/// The settings for v1. Linux 5.0 has replaced the scheduler CFQ by BFQ, whose files have other
/// names, and which has no weights for leaves.
pub(in crate::cgroups) fn v1(weights: &[Weight]) -> Vec<Setting> {
    let mut all = Vec::new();
    for weight in weights {
        let of_device = usize::from(weight.device.is_some());
        let value = weight.weight.into();
        let setting = weight.setting("blkio", weight.kind.files[of_device], value);
        if *weight.kind == WEIGHT {
            all.push(setting.on_refusal(OnRefusal::NextIfMissing));
            all.push(weight.setting("blkio", BFQ[of_device], value));
        } else {
            all.push(setting);
        }
    }
    all
}

/// The settings for v2: for BFQ, which has weights of 1 to 1000, or for the cost model, where
/// they reach from 1 to 10000.
///
/// # Errors
/// When there is a weight for leaves, which v2 does not know.
pub(in crate::cgroups) fn v2(weights: &[Weight]) -> Result<Vec<Setting>> {
    let mut all = Vec::new();
    for weight in weights {
        ensure!(
            *weight.kind == WEIGHT,
            "{}: cgroup v2, which this host uses, has no such limit",
            weight.place()
        );
        let value = u64::from(weight.weight);
        let of_bfq = weight.setting("io", "io.bfq.weight", value);
        all.push(of_bfq.on_refusal(OnRefusal::NextIfMissing));
        all.push(weight.setting("io", "io.weight", 1 + value.saturating_sub(10) * 9999 / 990));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_of_other_devices_are_kept() {
        let json = r#"{"weight": 400, "weightDevice": [{"major": 8, "minor": 0, "weight": 500}]}"#;
        let mut weights = plan(&serde_json::from_str(json).unwrap()).unwrap();
        assert!(replace_all(&weights) && !replace_all(&weights[1..]));
        keep_present(&mut weights, "default 300\n8:0 200\n8:16 200");
        let settings = v2(&weights).unwrap();
        let values = settings.iter().filter(|one| one.file == OF_DEVICES[1]);
        let values: Vec<_> = values.map(|one| one.value.as_ref()).collect();
        assert_eq!(values, ["400", "8:0 500", "8:16 200"]);
    }
}
