//! The processor: model, features, cores, governor, frequencies. ARM cores have numbers instead of names in `/proc/cpuinfo`; the
//! common ones are spelt out.

use crate::facts::{Reading, read, read_number};
use std::fs;
use std::path::{Path, PathBuf};

/// Names of ARM cores by implementer and part, as the kernel's `asm/cputype.h` lists them.
const CORES: [(u32, u32, &str); 44] = [
    (0x41, 0xb76, "ARM1176"),
    (0x41, 0xc05, "Cortex-A5"),
    (0x41, 0xc07, "Cortex-A7"),
    (0x41, 0xc08, "Cortex-A8"),
    (0x41, 0xc09, "Cortex-A9"),
    (0x41, 0xc0d, "Cortex-A12"),
    (0x41, 0xc0e, "Cortex-A17"),
    (0x41, 0xc0f, "Cortex-A15"),
    (0x41, 0xd01, "Cortex-A32"),
    (0x41, 0xd03, "Cortex-A53"),
    (0x41, 0xd04, "Cortex-A35"),
    (0x41, 0xd05, "Cortex-A55"),
    (0x41, 0xd06, "Cortex-A65"),
    (0x41, 0xd07, "Cortex-A57"),
    (0x41, 0xd08, "Cortex-A72"),
    (0x41, 0xd09, "Cortex-A73"),
    (0x41, 0xd0a, "Cortex-A75"),
    (0x41, 0xd0b, "Cortex-A76"),
    (0x41, 0xd0c, "Neoverse-N1"),
    (0x41, 0xd0d, "Cortex-A77"),
    (0x41, 0xd0e, "Cortex-A76AE"),
    (0x41, 0xd40, "Neoverse-V1"),
    (0x41, 0xd41, "Cortex-A78"),
    (0x41, 0xd42, "Cortex-A78AE"),
    (0x41, 0xd44, "Cortex-X1"),
    (0x41, 0xd46, "Cortex-A510"),
    (0x41, 0xd47, "Cortex-A710"),
    (0x41, 0xd48, "Cortex-X2"),
    (0x41, 0xd49, "Neoverse-N2"),
    (0x41, 0xd4a, "Neoverse-E1"),
    (0x41, 0xd4b, "Cortex-A78C"),
    (0x41, 0xd4d, "Cortex-A715"),
    (0x41, 0xd4e, "Cortex-X3"),
    (0x41, 0xd4f, "Neoverse-V2"),
    (0x41, 0xd80, "Cortex-A520"),
    (0x41, 0xd81, "Cortex-A720"),
    (0x41, 0xd82, "Cortex-X4"),
    (0x42, 0x516, "ThunderX2"),
    (0x46, 0x001, "A64FX"),
    (0x48, 0xd01, "TaiShan v110"),
    (0x4e, 0x003, "Denver 2"),
    (0x4e, 0x004, "Carmel"),
    (0x51, 0x800, "Kryo 2xx Gold"),
    (0x51, 0x801, "Kryo 2xx Silver"),
];

/// Model of the processor: its name, or the names of its ARM cores with their counts (`4 x Cortex-A72`).
pub fn model(cpuinfo: &str) -> Reading<String> {
    let named = ["model name", "uarch", "isa"].into_iter().find_map(|name| values(cpuinfo, name).next());
    let parts: Vec<String> = cores(cpuinfo);
    if parts.is_empty() {
        let name = named.or_else(|| values(cpuinfo, "Hardware").next());
        return name.map(str::to_owned).ok_or_else(|| "/proc/cpuinfo names no model".into());
    }
    let mut counted: Vec<(String, usize)> = Vec::new();
    for part in parts {
        match counted.iter_mut().find(|(name, _)| *name == part) {
            Some((_, count)) => *count += 1,
            None => counted.push((part, 1)),
        }
    }
    let counted: Vec<String> = counted.into_iter().map(|(name, count)| format!("{count} x {name}")).collect();
    Ok(counted.join(" + "))
}

/// The ARM cores in order.
fn cores(cpuinfo: &str) -> Vec<String> {
    let implementers = values(cpuinfo, "CPU implementer");
    implementers.zip(values(cpuinfo, "CPU part")).map(|(implementer, part)| core(implementer, part)).collect()
}

fn core(implementer: &str, part: &str) -> String {
    let hex = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let known = CORES.iter().find(|(i, p, _)| Some(*i) == hex(implementer) && Some(*p) == hex(part));
    known.map_or_else(|| format!("implementer {implementer} part {part}"), |(_, _, name)| (*name).to_owned())
}

/// Features of the first core, separated by spaces.
pub fn features(cpuinfo: &str) -> Reading<String> {
    let found = ["flags", "Features", "isa"].into_iter().find_map(|name| values(cpuinfo, name).next());
    found.map(str::to_owned).ok_or_else(|| "/proc/cpuinfo lists no features".into())
}

/// Values of all lines with this name.
fn values<'t>(cpuinfo: &'t str, name: &'t str) -> impl Iterator<Item = &'t str> {
    cpuinfo.lines().filter_map(move |line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// Cores that are online.
pub fn online(root: &Path) -> Reading<Vec<usize>> {
    let text = read(&root.join("online"))?;
    ranges(&text).ok_or_else(|| format!("{}: expected ranges of cores, got '{text}'", root.join("online").display()))
}

fn ranges(text: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        // No unit has more; a file that says so is not to be believed.
        if last >= 4096 {
            return None;
        }
        cores.extend(first..=last);
    }
    Some(cores)
}

/// The one core that the agent and its runners may use, when there is only one.
pub fn pinned() -> Reading<u64> {
    let set = rustix::thread::sched_getaffinity(None).map_err(|e| format!("sched_getaffinity: {e}"))?;
    let allowed: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|c| set.is_set(*c)).collect();
    match allowed[..] {
        [core] => Ok(core as u64),
        _ => Err(format!("not pinned: {} cores are allowed", allowed.len())),
    }
}

fn cpufreq(root: &Path, core: usize) -> PathBuf {
    root.join(format!("cpu{core}/cpufreq"))
}

/// Governor of a core.
pub fn governor(root: &Path, core: usize) -> Reading<String> {
    read(&cpufreq(root, core).join("scaling_governor"))
}

/// Frequency of a core now. x86 without a frequency driver says it in `/proc/cpuinfo`.
pub fn frequency_hz(root: &Path, core: usize, cpuinfo: &str) -> Reading<u64> {
    let folder = cpufreq(root, core);
    if fs::exists(&folder).unwrap_or(false) {
        return read_number::<u64>(&folder.join("scaling_cur_freq")).map(|khz| khz * 1000);
    }
    let mhz = values(cpuinfo, "cpu MHz").nth(core).and_then(|t| t.parse::<f64>().ok()).filter(|m| *m > 0.0);
    mhz.map(|m| (m * 1e6).round() as u64).ok_or_else(|| NO_DRIVER.to_owned())
}

/// Highest frequency of a core.
pub fn frequency_max_hz(root: &Path, core: usize) -> Reading<u64> {
    let folder = cpufreq(root, core);
    if !fs::exists(&folder).unwrap_or(false) {
        return Err(NO_DRIVER.to_owned());
    }
    read_number::<u64>(&folder.join("cpuinfo_max_freq")).map(|khz| khz * 1000)
}

const NO_DRIVER: &str = "the kernel has no frequency driver for the cores";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arm_cores_are_named_and_counted() {
        let big = "processor : 0\nFeatures : fp asimd\nCPU implementer : 0x41\nCPU part : 0xd08\n\n";
        let little = "processor : 1\nFeatures : fp asimd\nCPU implementer : 0x41\nCPU part : 0xd03\n\n";
        let odd = "processor : 2\nCPU implementer : 0x99\nCPU part : 0x001\n";
        let text = [big, big, little, odd].concat();
        assert_eq!(model(&text).unwrap(), "2 x Cortex-A72 + 1 x Cortex-A53 + 1 x implementer 0x99 part 0x001");
        assert_eq!(features(&text).unwrap(), "fp asimd");
    }

    #[test]
    fn others_have_a_name_of_their_own_or_a_reason() {
        assert_eq!(model("model name\t: Some CPU @ 2GHz\nflags\t: fpu vme\n").unwrap(), "Some CPU @ 2GHz");
        assert_eq!(model("uarch : thead,c910\nisa : rv64imafdc\n").unwrap(), "thead,c910");
        assert!(model("").is_err());
        assert!(features("").is_err());
    }

    #[test]
    fn ranges_of_cores_are_read_and_nonsense_is_not() {
        assert_eq!(ranges("0-2,5"), Some(vec![0, 1, 2, 5]));
        for text in ["", "a", "0-", "0-99999999999", "0-5000"] {
            assert_eq!(ranges(text), None, "{text}");
        }
    }

    #[test]
    fn frequencies_come_from_the_driver_in_hertz() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("cpu0/cpufreq");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("scaling_cur_freq"), "600000\n").unwrap();
        fs::write(folder.join("cpuinfo_max_freq"), "1500000\n").unwrap();
        fs::write(folder.join("scaling_governor"), "ondemand\n").unwrap();
        assert_eq!(frequency_hz(root.path(), 0, ""), Ok(600_000_000));
        assert_eq!(frequency_max_hz(root.path(), 0), Ok(1_500_000_000));
        assert_eq!(governor(root.path(), 0).as_deref(), Ok("ondemand"));
        assert_eq!(frequency_hz(root.path(), 1, "cpu MHz : 1.0\ncpu MHz : 2500.5\n"), Ok(2_500_500_000));
        assert_eq!(frequency_hz(root.path(), 1, ""), Err(NO_DRIVER.to_owned()));
    }
}
