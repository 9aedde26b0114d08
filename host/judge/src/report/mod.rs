//! Reports: the same facts in several forms. Pure text out of a record and its judgement.

pub mod beginning;
pub mod calibration;
mod engines;
pub mod html;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod shown;
pub mod steps;
pub mod summary;
pub mod text;

use crate::compare::latency::LatencySummary;
use crate::compare::latency::course::Movement;

/// A number with its unit, as people write it.
pub fn amount(value: f64, unit: &str) -> String {
    match unit {
        // No "-0.00": a loss of nothing has no sign.
        "share" => format!("{:.2} %", if value.abs() < 5e-5 { 0.0 } else { value * 100.0 }),
        "dB" if value == f64::INFINITY => "infinite (identical)".into(),
        "dB" => format!("{value:.1} dB"),
        "ratio" => format!("{value:.2}"),
        "instructions" => instructions(value),
        "count" | "step" => format!("{value:.0}"),
        "bytes" => bytes(value),
        "ns" => duration_ns(value),
        _ => format!("{value:.4}"),
    }
}

/// The middle of what an inference takes on the cell's unit, time or instructions; `-` where neither was measured.
fn middle(cell: &summary::CellSummary) -> String {
    match (&cell.latency, &cell.instructions) {
        (Some(latency), _) => duration_ns(latency.quantiles[0].value_ns),
        (None, Some(counts)) => instructions(counts.median),
        (None, None) => "-".into(),
    }
}

/// Inferences per second with their bounds, or how many inferences those need; `None` where time stood still.
fn throughput(latency: &LatencySummary) -> Option<String> {
    let digits = |rate: f64| if rate < 100.0 { format!("{rate:.1}") } else { format!("{rate:.0}") };
    let bounds = match (latency.throughput_lower_per_s, latency.throughput_upper_per_s) {
        (Some(lower), Some(upper)) => format!("{} to {}", digits(lower), digits(upper)),
        _ => format!("bounds need {} inferences", latency.throughput_samples_needed),
    };
    Some(format!("{} per second ({bounds})", digits(latency.throughput_per_s?)))
}

/// A number of instructions of an emulated processor, in the largest unit that leaves a number above 1.
pub fn instructions(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.3} G instructions", v / 1e9),
        v if v >= 1e6 => format!("{:.3} M instructions", v / 1e6),
        v if v >= 1e3 => format!("{:.2} k instructions", v / 1e3),
        v => format!("{v:.0} instructions"),
    }
}

/// Bytes in the largest unit that leaves a number above 1.
pub fn bytes(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.2} GB", v / 1e9),
        v if v >= 1e6 => format!("{:.2} MB", v / 1e6),
        v if v >= 1e3 => format!("{:.1} kB", v / 1e3),
        v => format!("{v:.0} B"),
    }
}

/// Nanoseconds in the largest unit that leaves a number above 1.
pub fn duration_ns(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.2} s", v / 1e9),
        v if v >= 1e6 => format!("{:.2} ms", v / 1e6),
        v if v >= 1e3 => format!("{:.1} µs", v / 1e3),
        v => format!("{v:.0} ns"),
    }
}

/// What a latency pass that left its level is called, in every sentence about it.
pub fn not_stationary(movement: &Movement) -> String {
    format!("not stationary: {movement}")
}

/// Name of a metric in sentences.
pub fn metric_name(metric: &str) -> &str {
    match metric {
        "sqnr_db" => "SQNR",
        "psnr_db" => "PSNR",
        "agreement_top1" => "top-1 agreement",
        "nonfinite_mismatch" => "non-finite mismatches",
        other => other,
    }
}

/// Seconds since 1970 as date and minute in UTC. Howard Hinnant's algorithm for days of the proleptic Gregorian calendar
/// (<https://howardhinnant.github.io/date_algorithms.html>), for days from 1970 on.
pub fn date(unix_s: u64) -> String {
    let (days, minutes) = (unix_s / 86_400 + 719_468, unix_s % 86_400 / 60);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, expected) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_799, "2000-02-29 23:59 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_704_067_199, "2023-12-31 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(date(unix_s), expected);
        }
        // A record may say anything.
        assert!(date(u64::MAX).ends_with(" UTC"));
    }
}
