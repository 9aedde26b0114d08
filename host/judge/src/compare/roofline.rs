//! What a model reaches of what one core of its unit can do: the roofline (Williams, Waterman, Patterson 2009), so that "slow" has a reason.
//!
//! It says why and never whether: no rule looks at it. Two times are held against the median latency: what the multiply-accumulates would
//! take at the measured peak of their datatype, and what weights and activations would take if each crossed the main memory once a use.

use super::operators::OperatorLine;
use boardproof_record::observation::Facts;
use serde::Serialize;

/// A roof is the reason where it alone would make at least this share of the time.
const REASON_SHARE: f64 = 0.5;

/// A model under the roofs of its unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Roofline {
    /// Multiply-accumulates of one inference.
    pub macs: u64,
    /// Multiply-accumulates in a second, at the median latency.
    pub reached_mac_per_s: f64,
    /// The same at the measured peak of one core; of a model that multiplies floats and integers, of its mix.
    pub peak_mac_per_s: f64,
    /// What is reached of the peak; more than 1 where the probe saw a busier unit.
    pub share_of_peak: f64,
    /// Bytes of the weights, and of the operators' outputs written once and read once.
    pub bytes: u64,
    /// Multiply-accumulates per byte.
    pub mac_per_byte: f64,
    /// Bytes in a second that one core reads out of main memory.
    pub peak_read_bytes_per_s: f64,
    /// Share of the latency that the arithmetic takes at its peak.
    pub compute_share: f64,
    /// Share of the latency that the bytes take at the peak of main memory; more than 1 where a cache holds them.
    pub memory_share: f64,
    /// What bounds the model.
    pub bound: Bound,
    /// Instructions that gave the peaks.
    pub by: Option<String>,
    /// What was read for the peak of main memory, and whether a cache may have held some of it.
    pub read_of: Option<String>,
}

/// What bounds a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The arithmetic of the core.
    Compute,
    /// The main memory.
    Memory,
    /// Neither: what is not arithmetic, or arithmetic that is far from the peak.
    Overhead,
}

impl Bound {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Memory => "memory",
            Self::Overhead => "neither: overhead",
        }
    }
}

impl Roofline {
    /// From the operators that ran, the size of the weights in bytes, the median latency in nanoseconds and the environment of the unit.
    ///
    /// # Errors
    /// What is not known, in words.
    pub fn of(lines: &[OperatorLine], weights: u64, p50_ns: f64, unit: &Facts) -> Result<Self, String> {
        let sum = |integer: bool| -> u64 {
            let alike = lines.iter().filter(|line| line.integer.unwrap_or(false) == integer);
            alike.filter_map(|line| line.macs).fold(0, u64::saturating_add)
        };
        let (integers, floats) = (sum(true), sum(false));
        let macs = integers.saturating_add(floats);
        if macs == 0 {
            return Err("the engine counts no multiply-accumulates".into());
        }
        if !(p50_ns.is_finite() && p50_ns > 0.0) {
            return Err("no latency was measured".into());
        }
        let seconds_of = |macs: u64, key: &str| -> Result<f64, String> {
            // The peak of what is not used need not be known.
            if macs == 0 { Ok(0.0) } else { Ok(macs as f64 / peak(unit, key)?) }
        };
        let arithmetic_s = seconds_of(integers, "peak_i8_mac_per_s")? + seconds_of(floats, "peak_f32_mac_per_s")?;
        let peak_read_bytes_per_s = peak(unit, "peak_read_bytes_per_s")?;
        let outputs = lines.iter().filter_map(|line| line.output_bytes).fold(0, u64::saturating_add);
        let bytes = weights.saturating_add(outputs.saturating_mul(2)).max(1);
        let latency_s = p50_ns / 1e9;
        let (compute_share, memory_share) =
            (arithmetic_s / latency_s, bytes as f64 / peak_read_bytes_per_s / latency_s);
        Ok(Self {
            macs,
            reached_mac_per_s: macs as f64 / latency_s,
            peak_mac_per_s: macs as f64 / arithmetic_s,
            share_of_peak: compute_share,
            bytes,
            mac_per_byte: macs as f64 / bytes as f64,
            peak_read_bytes_per_s,
            compute_share,
            memory_share,
            bound: bound(compute_share, memory_share),
            by: unit.texts.get("peak_by").cloned(),
            read_of: unit.texts.get("peak_read_of").cloned(),
        })
    }

    /// Nothing is faster than its roof: a peak that a model beats is too low, and so is what follows from it.
    pub fn is_beaten(&self) -> bool {
        self.share_of_peak > 1.0
    }

    /// In one sentence.
    pub fn sentence(&self) -> String {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        if self.is_beaten() {
            return format!(
                "{}, more than the {} that the probe got out of a core ({}): the unit was busier or slower then, and nothing is said of what \
                 bounds the model",
                rate(self.reached_mac_per_s),
                rate(self.peak_mac_per_s),
                percent(self.share_of_peak)
            );
        }
        let why = match self.bound {
            Bound::Compute => "bounded by arithmetic".to_owned(),
            Bound::Memory => format!("bounded by main memory, which takes {} of the time", percent(self.memory_share)),
            Bound::Overhead => {
                let memory = match self.memory_share {
                    share if share > 1.0 => "a cache holds its bytes".to_owned(),
                    share => format!("main memory explains {}", percent(share)),
                };
                format!(
                    "bounded by neither: arithmetic explains {} of the time, {memory}, the rest is overhead",
                    percent(self.compute_share)
                )
            }
        };
        format!(
            "{} of the {} that one core can do ({}), {:.1} multiply-accumulates per byte: {why}",
            rate(self.reached_mac_per_s),
            rate(self.peak_mac_per_s),
            percent(self.share_of_peak),
            self.mac_per_byte
        )
    }
}

/// The nearer roof, where it is near. A model that is faster than main memory works out of a cache, and has only the other.
fn bound(compute_share: f64, memory_share: f64) -> Bound {
    let memory_share = if memory_share > 1.0 { 0.0 } else { memory_share };
    match compute_share.max(memory_share) {
        share if share < REASON_SHARE => Bound::Overhead,
        _ if compute_share >= memory_share => Bound::Compute,
        _ => Bound::Memory,
    }
}

/// A peak of the unit, above 0, or why there is none.
fn peak(unit: &Facts, key: &str) -> Result<f64, String> {
    match (unit.numbers.get(key), unit.missing.get(key)) {
        (Some(peak), _) if *peak > 0 => Ok(*peak as f64),
        (_, Some(why)) => Err(why.clone()),
        _ => Err("the peak of the unit was not measured".into()),
    }
}

/// Multiply-accumulates in a second, in the largest unit that leaves a number above 1.
pub fn rate(mac_per_s: f64) -> String {
    match mac_per_s {
        v if v >= 1e9 => format!("{:.2} GMAC/s", v / 1e9),
        v if v >= 1e6 => format!("{:.2} MMAC/s", v / 1e6),
        v => format!("{:.2} kMAC/s", v / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use boardproof_record::observation::Operator;

    fn line(integer: Option<bool>, macs: Option<u64>, output_bytes: u64) -> OperatorLine {
        let word = || "w".to_owned();
        OperatorLine {
            operator: Operator { index: 0, name: word(), op: word(), dtypes: word(), kernel: word() },
            time_ns: None,
            time_share: None,
            output_bytes: Some(output_bytes),
            macs,
            integer,
            fell_back_from: None,
        }
    }

    /// A unit of a million multiply-accumulates on floats, four million on integers, and a megabyte, each in a second.
    fn unit() -> Facts {
        let numbers = [("f32_mac", 1_000_000), ("i8_mac", 4_000_000), ("read_bytes", 1_000_000)];
        let numbers = numbers.map(|(name, value)| (format!("peak_{name}_per_s"), value)).into_iter().collect();
        Facts { numbers, ..Facts::default() }
    }

    #[test]
    fn the_peak_of_a_mix_is_what_its_parts_would_take() {
        let lines = [line(Some(true), Some(400_000), 500), line(Some(false), Some(100_000), 0), line(None, None, 0)];
        // 0.1 s for the integers, 0.1 s for the floats: half a million in 0.2 s; 2000 bytes in 2 ms.
        let found = Roofline::of(&lines, 1000, 0.25e9, &unit()).unwrap();
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
        assert!(near(found.peak_mac_per_s, 2_500_000.0) && near(found.reached_mac_per_s, 2_000_000.0), "{found:?}");
        assert!(near(found.share_of_peak, 0.8) && near(found.memory_share, 0.008) && found.bytes == 2000, "{found:?}");
        assert_eq!((found.bound, found.mac_per_byte), (Bound::Compute, 250.0));
        assert!(found.sentence().contains("2.00 MMAC/s of the 2.50 MMAC/s") && found.sentence().contains("80.0 %"));
    }

    #[test]
    fn the_nearer_roof_is_the_reason_and_a_far_one_is_none() {
        let of =
            |weights, p50_ns| Roofline::of(&[line(Some(false), Some(100_000), 0)], weights, p50_ns, &unit()).unwrap();
        assert_eq!(of(1000, 0.11e9).bound, Bound::Compute);
        assert_eq!(of(180_000, 0.2e9).bound, Bound::Memory);
        let far = of(1000, 1e9);
        assert_eq!(far.bound, Bound::Overhead);
        assert!(far.sentence().contains("arithmetic explains 10.0 % of the time, main memory explains 0.1 %"));
        // Faster than main memory could be: that cannot be what bounds it.
        let cached = of(1_000_000, 0.5e9);
        assert_eq!(cached.bound, Bound::Overhead);
        assert!(cached.sentence().contains("a cache holds its bytes"), "{}", cached.sentence());
    }

    #[test]
    fn a_peak_that_a_model_beats_is_said_to_be_too_low() {
        let of = |p50_ns| Roofline::of(&[line(Some(false), Some(100_000), 0)], 1000, p50_ns, &unit()).unwrap();
        assert!(!of(0.1e9).is_beaten() && of(0.1e9).sentence().contains("bounded by arithmetic"));
        let beaten = of(0.08e9);
        let said = beaten.sentence();
        assert!(beaten.is_beaten() && said.contains("125.0 %") && said.contains("busier or slower"), "{said}");
        assert!(!said.contains("bounded by"), "{said}");
    }

    #[test]
    fn what_is_not_known_is_said() {
        let lines = [line(Some(true), Some(10), 0)];
        let of = |lines: &[OperatorLine], p50_ns, unit: &Facts| Roofline::of(lines, 1, p50_ns, unit).unwrap_err();
        assert!(of(&[line(None, None, 1)], 1.0, &unit()).contains("counts no multiply-accumulates"));
        assert!(of(&lines, f64::NAN, &unit()).contains("no latency"));
        assert!(of(&lines, 1.0, &Facts::default()).contains("not measured"));
        let missing = [("peak_i8_mac_per_s".to_owned(), "a firmware has no probe for it".to_owned())];
        let firmware = Facts { missing: missing.into_iter().collect(), ..Facts::default() };
        assert_eq!(of(&lines, 1.0, &firmware), "a firmware has no probe for it");
        // A unit whose integers alone are not known says nothing of an integer model, and all of a float model.
        let floats_only =
            Facts { numbers: unit().numbers.into_iter().filter(|(n, _)| !n.contains("i8")).collect(), ..unit() };
        assert!(of(&lines, 1.0, &floats_only).contains("not measured"));
        assert!(Roofline::of(&[line(Some(false), Some(10), 0)], 1, 1.0, &floats_only).is_ok());
    }
}
