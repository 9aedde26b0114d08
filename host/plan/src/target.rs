//! `targets/NAME.toml`: a kind of hardware.

use crate::error::{PlanError, check_schema, from_toml};
use boardproof_record::dialect::Dialect;
use boardproof_record::plan::{
    BuildSpec, Builder, CPU_PROVIDER, Clock, FOREIGN, Firmware, Limits, LinkSpec, MICRO, Onnxruntime, PROVIDERS,
    PROVIDERS_WITHOUT_OPTIONS, PowerSpec, Probe, SimFaults, TRACT, Target,
};
use boardproof_record::{EngineName, TargetName};
use serde::Deserialize;

/// QEMU's own limit on `-icount shift=`.
const SHIFT_MAX: u8 = 10;
/// The runner takes no more.
const ACCURACY_WORKERS_MAX: u32 = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    schema: u32,
    target: RawTarget,
    build: Option<RawBuild>,
    dialect: Option<Dialect>,
    link: LinkSpec,
    #[serde(default = "no_power")]
    power: PowerSpec,
    probe: Option<Probe>,
    #[serde(default)]
    clock: Clock,
    limits: RawLimits,
}

fn no_power() -> PowerSpec {
    PowerSpec::None
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTarget {
    name: String,
    summary: String,
    architecture: String,
    proved: bool,
    proved_note: String,
    emulated: bool,
    engine: Option<String>,
    onnxruntime: Option<Onnxruntime>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBuild {
    runner_triple: Option<String>,
    agent_triple: String,
    firmware: Option<Firmware>,
    #[serde(default = "auto")]
    builder: Builder,
    linker: Option<String>,
    #[serde(default)]
    packages: Vec<String>,
}

fn auto() -> Builder {
    Builder::Auto
}

/// Nothing is built for a firmware that somebody else made.
fn nothing_built() -> BuildSpec {
    BuildSpec {
        runner_triple: String::new(),
        agent_triple: String::new(),
        builder: Builder::Auto,
        linker: None,
        packages: Vec::new(),
        firmware: None,
    }
}

fn built(raw: RawBuild) -> BuildSpec {
    BuildSpec {
        runner_triple: raw.runner_triple.unwrap_or_else(|| raw.agent_triple.clone()),
        agent_triple: raw.agent_triple,
        builder: raw.builder,
        linker: raw.linker,
        packages: raw.packages,
        firmware: raw.firmware,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    memory_bytes: Option<u64>,
    flash_bytes: Option<u64>,
    pass_deadline_s: u32,
    #[serde(default = "one")]
    slowdown: u32,
    #[serde(default = "one")]
    accuracy_workers: u32,
}

fn one() -> u32 {
    1
}

/// Parses a target file.
pub fn parse_target(file: &str, text: &str) -> Result<Target, PlanError> {
    let raw: RawFile = from_toml(file, text)?;
    check_schema(file, raw.schema)?;
    match (&raw.dialect, &raw.build) {
        (Some(dialect), _) => check_dialect(file, &raw, dialect)?,
        (None, Some(build)) => check_firmware(file, &raw, build)?,
        (None, None) => return Err(PlanError::value(file, "build", "how agent and runner are built", "nothing")),
    }
    check_clock(file, &raw)?;
    check_onnxruntime(file, &raw)?;
    let name = TargetName::new(raw.target.name).map_err(|source| PlanError::Name { file: file.into(), source })?;
    if raw.limits.pass_deadline_s == 0 {
        return Err(PlanError::value(file, "limits.pass_deadline_s", "one second or more", 0));
    }
    if raw.target.proved_note.trim().is_empty() {
        return Err(PlanError::value(file, "target.proved_note", "what was seen, or what would prove it", "nothing"));
    }
    if raw.limits.slowdown == 0 {
        return Err(PlanError::value(file, "limits.slowdown", "1 or more", 0));
    }
    if !(1..=ACCURACY_WORKERS_MAX).contains(&raw.limits.accuracy_workers) {
        let expected = format!("1 to {ACCURACY_WORKERS_MAX}");
        return Err(PlanError::value(file, "limits.accuracy_workers", expected, raw.limits.accuracy_workers));
    }
    if let LinkSpec::Sim { faults, .. } = &raw.link {
        check_faults(file, faults)?;
    }
    let usual = if raw.dialect.is_some() { FOREIGN } else { TRACT };
    let engine = EngineName::new(raw.target.engine.unwrap_or_else(|| usual.into()))
        .map_err(|source| PlanError::Name { file: file.into(), source })?;
    Ok(Target {
        name,
        summary: raw.target.summary,
        architecture: raw.target.architecture,
        proved: raw.target.proved,
        proved_note: raw.target.proved_note,
        emulated: raw.target.emulated,
        build: raw.build.map_or_else(nothing_built, built),
        link: raw.link,
        power: raw.power,
        limits: Limits {
            memory_bytes: raw.limits.memory_bytes,
            flash_bytes: raw.limits.flash_bytes,
            pass_deadline_s: raw.limits.pass_deadline_s,
            slowdown: raw.limits.slowdown,
            accuracy_workers: raw.limits.accuracy_workers,
        },
        engine,
        clock: raw.clock,
        probe: raw.probe,
        dialect: raw.dialect,
        onnxruntime: raw.target.onnxruntime,
    })
}

/// A provider that is spelt otherwise would be missing on every unit; one behind the CPU's, or named twice, would never run anything.
fn check_onnxruntime(file: &str, raw: &RawFile) -> Result<(), PlanError> {
    let what = "target.onnxruntime.providers";
    let Some(how) = &raw.target.onnxruntime else { return Ok(()) };
    let Onnxruntime { providers, .. } = how;
    let has_runner = raw.build.as_ref().is_some_and(|build| build.firmware.is_none());
    if !has_runner {
        return Err(PlanError::value(file, "target.onnxruntime", "none, for a firmware", "one"));
    }
    if providers.is_empty() {
        return Err(PlanError::value(file, what, "one or more, the first wanted first", "none"));
    }
    if let Some(unknown) = providers.iter().find(|name| !PROVIDERS.contains(&name.as_str())) {
        let mut known = crate::nearest(unknown, PROVIDERS);
        // Whose letters are only of another case is what was meant.
        known.sort_by_key(|name| !name.eq_ignore_ascii_case(unknown));
        return Err(PlanError::Unknown { kind: "execution provider", found: unknown.clone(), known });
    }
    let again = |(at, name): (usize, &String)| providers[..at].contains(name).then(|| name.clone());
    if let Some(twice) = providers.iter().enumerate().find_map(again) {
        return Err(PlanError::value(file, what, "each once", format!("{twice} twice")));
    }
    match providers.iter().position(|name| name == CPU_PROVIDER) {
        Some(at) if at + 1 < providers.len() => {
            Err(PlanError::value(file, what, format!("{CPU_PROVIDER} last: it runs everything"), &providers[at + 1]))
        }
        _ => check_library(file, how),
    }
}

/// Options of a provider that nobody asks for, or that reads none, would be in force nowhere; a library is a file and no name to look for.
fn check_library(file: &str, how: &Onnxruntime) -> Result<(), PlanError> {
    let reads_some = |name: &String| !PROVIDERS_WITHOUT_OPTIONS.contains(&name.as_str());
    let takes_them = |name: &String| how.providers.contains(name) && reads_some(name);
    if let Some(found) = how.options.keys().find(|name| !takes_them(name)) {
        let can: Vec<&str> = how.providers.iter().filter(|name| reads_some(name)).map(String::as_str).collect();
        let expected = format!("options of a provider that is wanted and reads some: {}", can.join(", "));
        return Err(PlanError::value(file, "target.onnxruntime.options", expected, found));
    }
    match how.library.as_deref().filter(|path| !path.starts_with('/')) {
        Some(path) => Err(PlanError::value(file, "target.onnxruntime.library", "a file of the unit, from / on", path)),
        None => Ok(()),
    }
}

/// A microcontroller runs a firmware, which brings its engine and needs a line for bytes; everything else runs a runner.
fn check_firmware(file: &str, raw: &RawFile, build: &RawBuild) -> Result<(), PlanError> {
    let serial = matches!(raw.link, LinkSpec::Serial { .. } | LinkSpec::Rtt);
    check_rtt(file, raw, build)?;
    let engine = raw.target.engine.as_deref().unwrap_or(TRACT);
    let micro = engine == MICRO;
    let budgets = [("limits.flash_bytes", raw.limits.flash_bytes), ("limits.memory_bytes", raw.limits.memory_bytes)];
    if build.firmware.is_some()
        && let Some((name, _)) = budgets.iter().find(|(_, budget)| budget.is_none_or(|bytes| bytes == 0))
    {
        // Without a budget anything would fit.
        return Err(PlanError::value(file, *name, "what a product has, in bytes", "nothing"));
    }
    match (&build.firmware, &build.runner_triple) {
        (Some(_), Some(triple)) => Err(PlanError::value(
            file,
            "build.runner_triple",
            "none beside build.firmware, which brings its engine",
            triple,
        )),
        (None, None) => Err(PlanError::value(file, "build.runner_triple", "a Rust target triple", "nothing")),
        (Some(_), None) if !serial => {
            Err(PlanError::value(file, "link.kind", "serial or rtt, for a firmware", "another"))
        }
        (Some(_), None) if !micro => {
            Err(PlanError::value(file, "target.engine", format!("{MICRO}, for a firmware"), engine))
        }
        (None, Some(_)) if serial => {
            Err(PlanError::value(file, "build.firmware", "a firmware, for a serial link or rtt", "nothing"))
        }
        _ => Ok(()),
    }
}

/// RTT goes through a debug probe, and is in a firmware only where it was asked for.
fn check_rtt(file: &str, raw: &RawFile, build: &RawBuild) -> Result<(), PlanError> {
    let has_feature = build.firmware.as_ref().is_none_or(|firmware| firmware.features.iter().any(|f| f == "rtt"));
    match raw.link {
        LinkSpec::Rtt if raw.probe.is_none() => Err(PlanError::value(file, "probe", "a probe, for rtt", "none")),
        LinkSpec::Rtt if !has_feature => {
            Err(PlanError::value(file, "build.firmware.features", "\"rtt\" among them, for rtt", "none"))
        }
        _ => Ok(()),
    }
}

/// A firmware of somebody else is reached by a line for bytes and left as it is: nothing is built for it, and nothing is flashed over it.
fn check_dialect(file: &str, raw: &RawFile, dialect: &Dialect) -> Result<(), PlanError> {
    let LinkSpec::Serial { faster, .. } = &raw.link else {
        return Err(PlanError::value(file, "link.kind", "serial, for a dialect", "another"));
    };
    if dialect.model().trim().is_empty() {
        return Err(PlanError::value(file, "dialect.model", "what the firmware calls its model", "nothing"));
    }
    if matches!(raw.power, PowerSpec::Qemu { .. } | PowerSpec::Machine { .. }) {
        let expected = "none or command, for firmware that somebody else flashed";
        return Err(PlanError::value(file, "power.kind", expected, "a board that boardproof starts blank"));
    }
    let of_ours = [
        ("build", raw.build.is_some(), "nothing is built"),
        ("probe", raw.probe.is_some(), "nothing is flashed"),
        ("target.engine", raw.target.engine.is_some(), "nobody knows which it is"),
        ("link.faster", !faster.is_empty(), "it stays at its rate"),
        ("limits.memory_bytes", raw.limits.memory_bytes.is_some(), "it does not tell what it takes"),
        ("limits.flash_bytes", raw.limits.flash_bytes.is_some(), "it does not tell what it takes"),
    ];
    match of_ours.into_iter().find(|(_, there, _)| *there) {
        Some((what, _, why)) => Err(PlanError::value(file, what, format!("none beside [dialect]: {why}"), "one")),
        None => Ok(()),
    }
}

/// Instructions are counted by an emulator whose clock goes by them, and nowhere else.
fn check_clock(file: &str, raw: &RawFile) -> Result<(), PlanError> {
    match (raw.clock, &raw.power) {
        (Clock::Time, PowerSpec::Machine { .. }) => {
            let expected = "counts = \"instructions\": a machine in QEMU has no clock of its own";
            Err(PlanError::value(file, "clock", expected, "time"))
        }
        (Clock::Instructions { ns_each }, PowerSpec::Machine { instruction_shift, .. }) => {
            match 1_u32.checked_shl(u32::from(*instruction_shift)) {
                Some(ns) if ns == ns_each && *instruction_shift <= SHIFT_MAX => Ok(()),
                _ => {
                    let expected = format!("two to the power of power.instruction_shift (at most {SHIFT_MAX})");
                    Err(PlanError::value(file, "clock.ns_each", expected, ns_each))
                }
            }
        }
        (Clock::Instructions { .. }, _) => {
            Err(PlanError::value(file, "clock.counts", "time, on anything but a machine in QEMU", "instructions"))
        }
        (Clock::Time, _) => Ok(()),
    }
}

fn check_faults(file: &str, faults: &SimFaults) -> Result<(), PlanError> {
    for (name, rate) in faults.rates() {
        if rate > 1000 {
            return Err(PlanError::value(file, format!("link.faults.{name}"), "frames of a thousand", rate));
        }
    }
    let rate = faults.clock_rate;
    if !(rate.is_finite() && rate > 0.0) {
        return Err(PlanError::value(file, "link.faults.clock_rate", "a number above 0 (1 is true)", rate));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use boardproof_record::plan::Fallback;

    fn sim(faults: &str) -> Result<Target, PlanError> {
        let (_, text) = crate::builtin::TARGETS.iter().find(|(name, _)| *name == "sim").expect("it is one of them");
        parse_target("sim.toml", &format!("{text}\n[link.faults]\n{faults}"))
    }

    #[test]
    fn no_worker_and_no_sample_in_time_are_refused() {
        let (_, text) = crate::builtin::TARGETS.iter().find(|(name, _)| *name == "host").expect("it is one of them");
        let limits = |line: &str| parse_target("host.toml", &format!("{text}{line}\n")).map(|target| target.limits);
        assert_eq!(limits("accuracy_workers = 64").unwrap().accuracy_workers, 64);
        assert_eq!(limits("").unwrap().accuracy_workers, 1);
        for line in ["accuracy_workers = 0", "accuracy_workers = 65", "slowdown = 0"] {
            let error = limits(line).unwrap_err().to_string();
            assert!(error.contains(line.split(' ').next().unwrap()), "{line}: {error}");
        }
    }

    #[test]
    fn providers_are_known_in_order_and_for_a_runner() {
        let (_, text) = crate::builtin::TARGETS.iter().find(|(name, _)| *name == "host").expect("it is one of them");
        let with = |lines: &str| {
            let text = text.replace("[build]", &format!("[target.onnxruntime]\n{lines}\n[build]"));
            parse_target("host.toml", &text).map(|target| target.onnxruntime)
        };
        let found = with("providers = ['CUDAExecutionProvider', 'CPUExecutionProvider']").unwrap().unwrap();
        assert_eq!((found.providers.len(), found.fallback), (2, Fallback::Refused));
        let found = with("providers = ['CUDAExecutionProvider']\nfallback = 'allowed'").unwrap().unwrap();
        assert_eq!(found.fallback, Fallback::Allowed);
        let asked =
            "providers = ['QNNExecutionProvider']\noptions.QNNExecutionProvider = { backend_path = 'libQnnHtp.so' }";
        let found = with(asked).unwrap().unwrap();
        assert_eq!(found.options["QNNExecutionProvider"]["backend_path"], "libQnnHtp.so");
        let found = with("library = '/opt/product/libonnxruntime.so'").unwrap().unwrap();
        assert_eq!(found.library.as_deref(), Some("/opt/product/libonnxruntime.so"));
        assert_eq!(found.providers, [CPU_PROVIDER]);
        for (lines, named) in [
            ("library = 'libonnxruntime.so'", "from / on"),
            ("options.CPUExecutionProvider = { x = '1' }", "reads some"),
            (
                "providers = ['XnnpackExecutionProvider']\noptions.QNNExecutionProvider = { x = '1' }",
                "QNNExecutionProvider",
            ),
            ("providers = []", "one or more"),
            ("providers = ['CudaExecutionProvider']", "known: CUDAExecutionProvider"),
            ("providers = ['CPUExecutionProvider', 'CUDAExecutionProvider']", "CPUExecutionProvider last"),
            ("providers = ['CUDAExecutionProvider', 'CUDAExecutionProvider']", "twice"),
        ] {
            let error = with(lines).unwrap_err().to_string();
            assert!(error.contains(named), "{lines}: {error}");
        }
        assert!(with("providers = ['CPUExecutionProvider']\nfallback = 'silent'").is_err());
        let onto = "engine = \"micro\"";
        let error = changed(onto, &format!("{onto}\nonnxruntime = {{ providers = ['CPUExecutionProvider'] }}"));
        assert!(error.unwrap_err().to_string().contains("target.onnxruntime"));
    }

    fn changed(from: &str, to: &str) -> Result<Target, PlanError> {
        let (_, text) = crate::builtin::TARGETS.iter().find(|(name, _)| *name == "mps2-an386").expect("one of them");
        assert!(text.contains(from), "{from}");
        parse_target("mps2-an386.toml", &text.replace(from, to))
    }

    #[test]
    fn a_firmware_needs_budgets_its_engine_and_a_clock_that_says_what_it_counts() {
        assert!(changed("slowdown = 10", "slowdown = 9").is_ok());
        for (from, to, named) in [
            ("flash_bytes = 1048576", "", "limits.flash_bytes"),
            ("memory_bytes = 262144", "memory_bytes = 0", "limits.memory_bytes"),
            ("engine = \"micro\"", "", "target.engine"),
            ("instruction_shift = 5", "instruction_shift = 4", "clock.ns_each"),
            ("[clock]\ncounts = \"instructions\"\nns_each = 32", "", "clock"),
            ("kind = \"serial\"\nbaud = 115200", "kind = \"ssh\"", "link.kind"),
            ("kind = \"serial\"\nbaud = 115200", "kind = \"rtt\"", "build.firmware.features"),
        ] {
            let error = changed(from, to).unwrap_err().to_string();
            assert!(error.contains(named), "{from}: {error}");
        }
    }

    const DIALECT: &str = r#"
schema = 1
[target]
name = "nucleo-kws"
summary = "s"
architecture = "arm"
proved = false
proved_note = "n"
emulated = false
[dialect]
speaks = "mlperf-tiny"
model = "kws01"
[link]
kind = "serial"
baud = 115200
[limits]
pass_deadline_s = 600
"#;

    #[test]
    fn a_firmware_of_somebody_else_is_neither_built_nor_flashed() {
        let target = parse_target("t.toml", DIALECT).unwrap();
        assert_eq!((target.engine.as_str(), target.build.agent_triple.as_str()), (FOREIGN, ""));
        assert!(target.dialect.is_some_and(|dialect| dialect.model() == "kws01"));
        for (from, to, named) in [
            ("[limits]", "[build]\nagent_triple = 'x'\n[limits]", "build"),
            ("[limits]", "[probe]\nchip = 'x'\n[limits]", "probe"),
            ("[limits]", "[limits]\nmemory_bytes = 1", "limits.memory_bytes"),
            ("kind = \"serial\"\nbaud = 115200", "kind = \"ssh\"", "link.kind"),
            ("emulated = false", "emulated = false\nengine = 'tract'", "target.engine"),
            ("model = \"kws01\"", "model = \"\"", "dialect.model"),
            ("[limits]", "[power]\nkind = 'machine'\nmachine = 'x'\ninstruction_shift = 1\n[limits]", "power.kind"),
        ] {
            let error = parse_target("t.toml", &DIALECT.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(named), "{from}: {error}");
        }
        let bare = DIALECT.replace("[dialect]\nspeaks = \"mlperf-tiny\"\nmodel = \"kws01\"\n", "");
        assert!(parse_target("t.toml", &bare).unwrap_err().to_string().contains("build"));
    }

    #[test]
    fn a_fault_plan_is_read_and_checked() {
        let target = sim("loss = 10\nclock_rate = 0.5\nmemory_bytes = 4096").unwrap();
        let LinkSpec::Sim { faults, .. } = target.link else { panic!("{:?}", target.link) };
        let expected = SimFaults { loss: 10, clock_rate: 0.5, memory_bytes: Some(4096), ..SimFaults::default() };
        assert_eq!(faults, expected);
        for (wrong, named) in [
            ("loss = 1001", "loss"),
            ("clock_rate = 0.0", "clock_rate"),
            ("clock_rate = nan", "clock_rate"),
            ("losses = 1", "losses"),
        ] {
            let error = sim(wrong).unwrap_err();
            let said: Vec<_> = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source())
                .map(ToString::to_string)
                .collect();
            assert!(said.join(": ").contains(named), "{wrong}: {said:?}");
        }
    }
}
