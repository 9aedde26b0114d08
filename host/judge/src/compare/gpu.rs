//! What a cell tells of the GPU that it ran on: where the time of an inference goes, its memory, its state around the passes, and who else
//! was there.

use boardproof_record::observation::{Facts, Observation, Operator, PassObservation};
use boardproof_record::plan::{CUDA, Cell, Pass};
use serde::Serialize;

/// The GPU of a cell.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Gpu {
    /// As its driver names it.
    pub name: String,
    /// Version of the driver.
    pub driver: String,
    /// Where the time of an inference goes; `None` where it was not split.
    pub split: Option<Split>,
    /// Operators that ran, copies included.
    pub operators: usize,
    /// Those of them that the CPU ran, because the engine has no kernel for them.
    pub operators_on_cpu: usize,
    /// Memory by name, in bytes. What is in use is so by whomever.
    pub memory: Vec<(String, u64)>,
    /// State around the pass that was timed, by name.
    pub state: Vec<State>,
    /// Processes on the GPU beside the runner.
    pub others: Others,
}

/// Medians over a few inferences of their own, in nanoseconds. All but the last by the GPU's clock.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Split {
    /// Copies to the GPU.
    pub to_device_ns: f64,
    /// Kernels, with the gaps between them.
    pub compute_ns: f64,
    /// Copies back.
    pub to_host_ns: f64,
    /// The GPU waited while operators ran on the CPU.
    pub on_cpu_ns: f64,
    /// The host handed the kernels over; it overlaps with the others.
    pub enqueue_ns: f64,
}

/// One reading around a pass.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct State {
    /// What was read.
    pub name: String,
    /// Before the pass, in words; why not where it could not be read.
    pub before: String,
    /// After it.
    pub after: String,
}

/// Processes on the GPU beside the runner.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Others {
    /// The most that were seen before or after a pass.
    Seen(u64),
    /// Nobody could see, in words.
    Unknown(String),
}

const OTHERS: &str = "gpu_other_processes";

/// The GPU of a cell; `None` where its engine runs on none, or nothing was measured.
pub fn gpu(cell: &Cell, seen: &Observation) -> Option<Gpu> {
    let latency = seen.pass(Pass::Latency);
    let text = |name: &str| seen.passes.iter().find_map(|pass| pass.facts.texts.get(name)).cloned();
    let name = text("gpu_name").filter(|_| cell.engine.as_str() == CUDA)?;
    let operators = seen.pass(Pass::Inspect).map(|pass| pass.operators.as_slice()).unwrap_or_default();
    Some(Gpu {
        name,
        driver: text("gpu_driver").unwrap_or_default(),
        split: latency.and_then(split),
        operators: operators.len(),
        operators_on_cpu: operators.iter().filter(|operator| on_cpu(operator)).count(),
        memory: seen.pass(Pass::Memory).map(memory).unwrap_or_default(),
        state: latency.map(|pass| state(&pass.facts)).unwrap_or_default(),
        others: others(cell, seen),
    })
}

/// The unit is the first word of an operator's kernel.
fn on_cpu(operator: &Operator) -> bool {
    operator.kernel.split_whitespace().next() == Some("CPU")
}

/// The most that any planned pass has seen. A pass that could not see, or did not tell, makes it unknown.
pub fn others(cell: &Cell, seen: &Observation) -> Others {
    let mut most = 0;
    for plan in &cell.passes {
        let Some(facts) = seen.pass(plan.pass).map(|pass| &pass.facts) else {
            return Others::Unknown("a pass is missing".into());
        };
        if let Some(why) = facts.missing.get(OTHERS) {
            return Others::Unknown(why.clone());
        }
        let both = facts.numbers.get(OTHERS).zip(facts.numbers.get(&format!("{OTHERS}[1]")));
        let Some((before, after)) = both else { return Others::Unknown("the runner did not tell".into()) };
        most = most.max(*before).max(*after);
    }
    Others::Seen(most)
}

/// Values of a fact of several indices, in their order.
fn all(facts: &Facts, key: &str) -> Vec<f64> {
    let named = |index: usize| if index == 0 { key.to_owned() } else { format!("{key}[{index}]") };
    (0..).map_while(|index| facts.numbers.get(&named(index)).map(|value| *value as f64)).collect()
}

fn split(pass: &PassObservation) -> Option<Split> {
    let median = |key: &str| -> Option<f64> {
        let mut values = all(&pass.facts, key);
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    Some(Split {
        to_device_ns: median("gpu_to_device_ns")?,
        compute_ns: median("gpu_compute_ns")?,
        to_host_ns: median("gpu_to_host_ns")?,
        on_cpu_ns: median("gpu_on_cpu_ns")?,
        enqueue_ns: median("gpu_enqueue_ns")?,
    })
}

fn memory(pass: &PassObservation) -> Vec<(String, u64)> {
    const NAMES: [(&str, &str); 6] = [
        ("peak of this process, by the driver's pool", "gpu_pool_peak_bytes"),
        ("in use before the model", "gpu_used_start_bytes"),
        ("in use after loading", "gpu_used_after_load_bytes"),
        ("in use after first inference", "gpu_used_after_first_bytes"),
        ("in use at the end", "gpu_used_end_bytes"),
        ("in all", "gpu_total_bytes"),
    ];
    NAMES.iter().filter_map(|(name, key)| Some(((*name).to_owned(), *pass.facts.numbers.get(*key)?))).collect()
}

fn state(facts: &Facts) -> Vec<State> {
    const NAMES: [(&str, &str, f64, &str); 7] = [
        ("clock", "gpu_clock_hz", 1e6, "MHz"),
        ("highest clock", "gpu_clock_max_hz", 1e6, "MHz"),
        ("memory clock", "gpu_memory_clock_hz", 1e6, "MHz"),
        ("power", "gpu_power_milli_w", 1e3, "W"),
        ("power limit", "gpu_power_limit_milli_w", 1e3, "W"),
        ("temperature", "gpu_temperature_milli_c", 1e3, "degrees Celsius"),
        ("utilisation", "gpu_utilization_milli", 10.0, "%"),
    ];
    let why = |key: &str| facts.missing.get(key).map_or("not told", String::as_str).to_owned();
    let number = |key: &str, at: &str, each: f64, unit: &str| match facts.numbers.get(&format!("{key}{at}")) {
        Some(value) => format!("{:.0} {unit}", *value as f64 / each),
        None => why(key),
    };
    let of = |(name, key, each, unit): &(&str, &str, f64, &str)| State {
        name: (*name).to_owned(),
        before: number(key, "", *each, unit),
        after: number(key, "[1]", *each, unit),
    };
    let text = |at: &str| match facts.texts.get(&format!("gpu_throttle{at}")).map(String::as_str) {
        None => "not told".to_owned(),
        Some("") => "nothing".to_owned(),
        Some(words) => words.to_owned(),
    };
    let held_back = State { name: "clocks held back by".into(), before: text(""), after: text("[1]") };
    NAMES.iter().map(of).chain([held_back]).collect()
}

/// Words of NVML for clocks that heat or supply hold back; a GPU with nothing to do and clocks that somebody has set are none of them.
const THROTTLES: [&str; 5] =
    ["sw power cap", "hw slowdown", "sw thermal slowdown", "hw thermal slowdown", "hw power brake slowdown"];

/// Did the GPU hold its clocks back around the pass that was timed? In words.
pub fn throttled(seen: &Observation) -> Option<String> {
    let facts = &seen.pass(Pass::Latency)?.facts;
    let texts = ["gpu_throttle", "gpu_throttle[1]"].map(|key| facts.texts.get(key).map_or("", String::as_str));
    let found = THROTTLES.iter().find(|word| texts.iter().flat_map(|text| text.split(", ")).any(|t| t == **word))?;
    Some(format!("the GPU held its clocks back around the timed pass ({found}): its times may be too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(numbers: &[(&str, u64)], texts: &[(&str, &str)]) -> Facts {
        Facts {
            numbers: numbers.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect(),
            texts: texts.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..Facts::default()
        }
    }

    #[test]
    fn what_could_not_be_read_has_its_reason_and_no_number() {
        let mut told =
            facts(&[("gpu_clock_hz", 1_980_000_000), ("gpu_clock_hz[1]", 345_000_000)], &[("gpu_throttle", "")]);
        told.missing.insert("gpu_power_milli_w".into(), "NVML: not supported".into());
        let state = state(&told);
        assert_eq!((state[0].before.as_str(), state[0].after.as_str()), ("1980 MHz", "345 MHz"));
        assert_eq!((state[3].name.as_str(), state[3].before.as_str()), ("power", "NVML: not supported"));
        assert_eq!((state[7].before.as_str(), state[7].after.as_str()), ("nothing", "not told"));
    }

    #[test]
    fn indices_are_read_in_their_order_and_up_to_the_first_hole() {
        let told = facts(&[("k", 1), ("k[1]", 2), ("k[10]", 9)], &[]);
        assert_eq!(all(&told, "k"), [1.0, 2.0]);
    }
}
