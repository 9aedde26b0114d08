//! Reports: the same facts in several forms. Pure text out of a record and its judgement.

pub mod html;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod summary;
pub mod text;

/// A number with its unit, as people write it.
pub fn amount(value: f64, unit: &str) -> String {
    match unit {
        // No "-0.00": a loss of nothing has no sign.
        "share" => format!("{:.2} %", if value.abs() < 5e-5 { 0.0 } else { value * 100.0 }),
        "dB" if value == f64::INFINITY => "infinite (identical)".into(),
        "dB" => format!("{value:.1} dB"),
        "ratio" => format!("{value:.2}"),
        "count" | "step" => format!("{value:.0}"),
        "bytes" => bytes(value),
        "ns" => duration_ns(value),
        _ => format!("{value:.4}"),
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
