//! The figures of a container's groups, in runc's JSON.

use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use serde::Serialize;

use super::file_system::FileSystem;
use super::plan::FIELD;
use super::record::Record;

/// What is printed without a group.
pub(crate) const NO_FIGURES: &str = "{}";

/// The keys and their order are those of runc 1.5 (types/events.go). What is 0 or empty is left out, as there.
#[derive(Serialize)]
struct Figures {
    #[serde(skip_serializing_if = "Option::is_none")]
    l3_cache_info: Option<CacheInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    l3_cache_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    l3_cache_schema: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_bw_info: Option<BandwidthInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    mem_bw_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    mem_bw_schema: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    schemata: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mbm_stats: Option<Vec<BandwidthUse>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmt_stats: Option<Vec<CacheUse>>,
}

#[derive(Serialize)]
struct CacheInfo {
    #[serde(skip_serializing_if = "String::is_empty")]
    cbm_mask: String,
    #[serde(skip_serializing_if = "is_zero")]
    min_cbm_bits: u64,
    #[serde(skip_serializing_if = "is_zero")]
    num_closids: u64,
}

#[derive(Serialize)]
struct BandwidthInfo {
    #[serde(skip_serializing_if = "is_zero")]
    bandwidth_gran: u64,
    #[serde(skip_serializing_if = "is_zero")]
    delay_linear: u64,
    #[serde(skip_serializing_if = "is_zero")]
    min_bandwidth: u64,
    #[serde(skip_serializing_if = "is_zero")]
    num_closids: u64,
}

/// Bytes that were read from memory, by the processes that share a cache.
#[derive(Serialize)]
struct BandwidthUse {
    mbm_total_bytes: u64,
    mbm_local_bytes: u64,
}

/// Bytes in a cache.
#[derive(Serialize)]
struct CacheUse {
    llc_occupancy: u64,
}

#[derive(Default)]
struct Counters {
    bandwidth: Option<Vec<BandwidthUse>>,
    cache: Option<Vec<CacheUse>>,
}

impl Record {
    /// The values and counters of the groups as a JSON object, which is empty when they are gone.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn stats(&self) -> Result<String> {
        let file_system = FileSystem::open(&self.mount)?;
        file_system.map_or_else(
            || Ok(NO_FIGURES.to_owned()),
            |file_system| self.stats_in(&file_system),
        )
    }

    pub(super) fn stats_in(&self, file_system: &FileSystem) -> Result<String> {
        let files = Files(file_system);
        let Some(schemata) = files.find(&self.group.join("schemata"))? else {
            return Ok(NO_FIGURES.to_owned());
        };
        let of_root = files.text(Path::new("schemata"))?;
        let (cache, bandwidth) = (files.cache_info()?, files.bandwidth_info()?);
        let if_any = |present: bool, schemata: &str, resource| {
            let found = present.then(|| line(schemata, resource));
            found.flatten().unwrap_or_default()
        };
        let (has_cache, has_bandwidth) = (cache.is_some(), bandwidth.is_some());
        // Without a monitoring group, the counters are those of all tasks in the control group.
        let counters = self.monitoring.as_ref().unwrap_or(&self.group);
        let counters = files.counters(&counters.join("mon_data"))?;
        let figures = Figures {
            l3_cache_info: cache,
            l3_cache_schema_root: if_any(has_cache, &of_root, "L3"),
            l3_cache_schema: if_any(has_cache, &schemata, "L3"),
            mem_bw_info: bandwidth,
            mem_bw_schema_root: if_any(has_bandwidth, &of_root, "MB:"),
            mem_bw_schema: if_any(has_bandwidth, &schemata, "MB:"),
            schemata: schemata
                .lines()
                .map(|line| line.trim().to_owned())
                .collect(),
            mbm_stats: counters.bandwidth,
            cmt_stats: counters.cache,
        };
        serde_json::to_string(&figures).context(FIELD)
    }
}

/// The last line for a resource: with code and data prioritization, L3 has two.
fn line(schemata: &str, resource: &str) -> Option<String> {
    let mut lines = schemata.lines().map(str::trim);
    let last = lines.rfind(|line| line.starts_with(resource));
    last.map(str::to_owned)
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The files with figures. What this host does not have, or what is gone, is absent.
struct Files<'a>(&'a FileSystem);

impl Files<'_> {
    fn find(&self, file: &Path) -> Result<Option<String>> {
        match self.0.read(file) {
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
            text => {
                let text = text.with_context(|| format!("{FIELD}: read {}", self.0.path(file)));
                Ok(Some(text?.trim().to_owned()))
            }
        }
    }

    fn text(&self, file: &Path) -> Result<String> {
        Ok(self.find(file)?.unwrap_or_default())
    }

    /// 0 where the kernel has no number, such as `Unavailable`.
    fn number(&self, file: &Path) -> Result<u64> {
        Ok(self.text(file)?.parse().unwrap_or_default())
    }

    fn cache_info(&self) -> Result<Option<CacheInfo>> {
        let directory = Path::new("info/L3");
        let Some(cbm_mask) = self.find(&directory.join("cbm_mask"))? else {
            return Ok(None);
        };
        Ok(Some(CacheInfo {
            cbm_mask,
            min_cbm_bits: self.number(&directory.join("min_cbm_bits"))?,
            num_closids: self.number(&directory.join("num_closids"))?,
        }))
    }

    fn bandwidth_info(&self) -> Result<Option<BandwidthInfo>> {
        let directory = Path::new("info/MB");
        if self.find(&directory.join("bandwidth_gran"))?.is_none() {
            return Ok(None);
        }
        let number = |name| self.number(&directory.join(name));
        Ok(Some(BandwidthInfo {
            bandwidth_gran: number("bandwidth_gran")?,
            delay_linear: number("delay_linear")?,
            min_bandwidth: number("min_bandwidth")?,
            num_closids: number("num_closids")?,
        }))
    }

    /// The counters of each L3 cache, as far as this host has them.
    fn counters(&self, mon_data: &Path) -> Result<Counters> {
        let features = self.text(Path::new("info/L3_MON/mon_features"))?;
        let has = |name: &str| features.lines().any(|feature| feature == name);
        let (mut bandwidth, mut cache) = (Vec::new(), Vec::new());
        let has_bandwidth = has("mbm_total_bytes") || has("mbm_local_bytes");
        let has_cache = has("llc_occupancy");
        if !has_bandwidth && !has_cache {
            return Ok(Counters::default());
        }
        let caches = match self.0.directories(mon_data) {
            Err(Errno::ENOENT) => Vec::new(),
            names => names.with_context(|| format!("{FIELD}: {}", self.0.path(mon_data)))?,
        };
        for name in caches.iter().filter(|name| name.starts_with("mon_L3_")) {
            let number = |file| self.number(&mon_data.join(name).join(file));
            bandwidth.push(BandwidthUse {
                mbm_total_bytes: number("mbm_total_bytes")?,
                mbm_local_bytes: number("mbm_local_bytes")?,
            });
            cache.push(CacheUse {
                llc_occupancy: number("llc_occupancy")?,
            });
        }
        Ok(Counters {
            bandwidth: has_bandwidth.then_some(bandwidth),
            cache: has_cache.then_some(cache),
        })
    }
}
