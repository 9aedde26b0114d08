//! Heat: temperatures of the thermal zones, and counters of throttling where a kernel has any.

use crate::facts::{Reading, read, read_number};
use std::fs;
use std::path::{Path, PathBuf};

/// A thermal zone.
#[derive(Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its number.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Its temperature in thousandths of a degree Celsius.
    pub milli_c: Reading<u64>,
}

/// All zones, by number.
pub fn zones(root: &Path) -> Vec<Zone> {
    let zone = |(index, folder): (usize, PathBuf)| {
        let name = read(&folder.join("type")).unwrap_or_else(|reason| format!("unknown ({reason})"));
        Zone { index, name, milli_c: milli_c(&folder.join("temp")) }
    };
    numbered(root, "thermal_zone").into_iter().map(zone).collect()
}

fn milli_c(path: &Path) -> Reading<u64> {
    let value: i64 = read_number(path)?;
    u64::try_from(value).map_err(|_| format!("{}: {value} is below 0 degrees", path.display()))
}

/// Throttling counted since boot, by core or cooling device. The first source that exists is taken:
///
/// 1. `thermal_throttle/core_throttle_count` of each core (x86);
/// 2. `get_throttled` of the Raspberry Pi's firmware: how many of its four sticky conditions (under-voltage, frequency capped,
///    throttled, soft temperature limit) occurred since boot;
/// 3. transitions of the cooling devices that slow processors down, where the kernel keeps statistics of them.
pub fn throttles(sys: &Path) -> Vec<(usize, Reading<u64>)> {
    let cores = numbered(&sys.join("devices/system/cpu"), "cpu");
    let counters = cores.into_iter().map(|(i, p)| (i, p.join("thermal_throttle/core_throttle_count")));
    let counters: Vec<_> = counters.filter(|(_, p)| p.exists()).map(|(i, p)| (i, read_number(&p))).collect();
    if !counters.is_empty() {
        return counters;
    }
    let firmware = sys.join("devices/platform/soc/soc:firmware/get_throttled");
    if firmware.exists() {
        return vec![(0, sticky_conditions(&firmware))];
    }
    let devices = numbered(&sys.join("class/thermal"), "cooling_device").into_iter();
    devices
        .filter(|(_, p)| read(&p.join("type")).is_ok_and(|t| t.contains("cpu") || t == "Processor"))
        .map(|(i, p)| (i, p.join("stats/total_trans")))
        .filter(|(_, p)| p.exists())
        .map(|(i, p)| (i, read_number(&p)))
        .collect()
}

/// The firmware's bits 16 to 19 stay set once their condition occurred.
fn sticky_conditions(path: &Path) -> Reading<u64> {
    let text = read(path)?;
    let bits = u32::from_str_radix(text.trim_start_matches("0x"), 16);
    let bits = bits.map_err(|_| format!("{}: expected a hexadecimal number, got '{text}'", path.display()))?;
    Ok(u64::from((bits >> 16 & 0xf).count_ones()))
}

/// Entries of a folder whose names are this word and a number, by number.
fn numbered(folder: &Path, word: &str) -> Vec<(usize, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(usize, PathBuf)> =
        entries.filter_map(|e| Some((e.file_name().to_str()?.strip_prefix(word)?.parse().ok()?, e.path()))).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(root: &Path, path: &str, content: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[test]
    fn zones_are_read_by_number_and_frost_is_a_reason() {
        let root = tempfile::tempdir().unwrap();
        for (zone, temp) in [("10", "-500"), ("2", "48312\n")] {
            file(root.path(), &format!("thermal_zone{zone}/type"), "cpu-thermal\n");
            file(root.path(), &format!("thermal_zone{zone}/temp"), temp);
        }
        let zones = zones(root.path());
        assert_eq!((zones[0].index, &zones[0].milli_c), (2, &Ok(48312)));
        assert_eq!(zones[1].index, 10);
        assert!(zones[1].milli_c.as_ref().unwrap_err().contains("-500"));
    }

    #[test]
    fn each_kind_of_counter_is_found() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(throttles(root.path()), []);
        file(root.path(), "class/thermal/cooling_device0/type", "cpufreq-cpu0");
        file(root.path(), "class/thermal/cooling_device0/stats/total_trans", "7");
        file(root.path(), "class/thermal/cooling_device1/type", "pwm-fan");
        file(root.path(), "class/thermal/cooling_device1/stats/total_trans", "9");
        assert_eq!(throttles(root.path()), [(0, Ok(7))]);
        file(root.path(), "devices/platform/soc/soc:firmware/get_throttled", "50005\n");
        assert_eq!(throttles(root.path()), [(0, Ok(2))]);
        file(root.path(), "devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "3");
        file(root.path(), "devices/system/cpu/cpufreq/x", "");
        assert_eq!(throttles(root.path()), [(1, Ok(3))]);
    }
}
