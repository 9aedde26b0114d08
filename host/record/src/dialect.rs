//! Firmware that somebody else built and flashed, with its model inside: what it speaks, and what is known of it without asking.

use serde::{Deserialize, Serialize};

/// A protocol that is not ours, and what a target's file says of the firmware that speaks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "speaks", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Dialect {
    /// The text protocol of MLPerf Tiny and EEMBC, performance and accuracy mode.
    MlperfTiny {
        /// What the firmware must call its model; another one is not measured.
        model: String,
        /// What a sample's bytes are.
        #[serde(default)]
        input: SampleForm,
        /// Where a sample's channels stand.
        #[serde(default)]
        channels: Channels,
        /// Read every sample back before it is used: the protocol has no checksum.
        #[serde(default = "yes")]
        confirm_samples: bool,
        /// The device hangs behind an interface board.
        #[serde(default)]
        relay: bool,
    },
    /// The packets of ST's validation firmware, 3.0 and 3.1. It tells itself what its inputs are.
    Stm32msg {
        /// What the firmware must call its model; another one is not measured.
        model: String,
        /// Signature that it must tell of the model, where one is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
        /// Where a sample's channels stand.
        #[serde(default)]
        channels: Channels,
        /// What packets look like.
        #[serde(default)]
        packets: Packets,
        /// Somebody has held the board's clock against another. It cannot be done over this protocol, and without it nothing is timed.
        #[serde(default)]
        clock_believed: bool,
    },
}

impl Dialect {
    /// Its name in sentences.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MlperfTiny { .. } => "MLPerf Tiny",
            Self::Stm32msg { .. } => "stm32msg",
        }
    }

    /// What the firmware must call its model.
    pub fn model(&self) -> &str {
        match self {
            Self::MlperfTiny { model, .. } | Self::Stm32msg { model, .. } => model,
        }
    }

    /// Where a sample's channels stand.
    pub fn channels(&self) -> Channels {
        match self {
            Self::MlperfTiny { channels, .. } | Self::Stm32msg { channels, .. } => *channels,
        }
    }

    /// Can timings be taken that the judge may believe?
    pub fn is_timed(&self) -> bool {
        match self {
            Self::MlperfTiny { .. } => true,
            Self::Stm32msg { clock_believed, .. } => *clock_believed,
        }
    }
}

fn yes() -> bool {
    true
}

/// What the bytes of a sample are. All little endian.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SampleForm {
    /// Signed 8-bit values, with scale and zero point of the variant's own input.
    #[default]
    I8,
    /// The same values counted from 0: each 128 more.
    U8,
    /// The numbers that the float model reads, as 32-bit floats.
    F32,
    /// The evalset's own elements: the firmware prepares them itself.
    Stored,
}

/// Where the channels of a sample stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Channels {
    /// As in the evalset: first.
    #[default]
    First,
    /// Behind height and width, as most firmware made from TensorFlow Lite has them.
    Last,
}

/// Size of stm32msg's packets. A device of the other kind stays silent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Packets {
    /// 33 bytes.
    #[default]
    Byte,
    /// 34 bytes: firmware of later tools.
    Word,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_the_cautious_choice_and_what_is_misspelt_is_refused() {
        let tiny: Dialect = serde_json::from_str(r#"{"speaks": "mlperf-tiny", "model": "ic01"}"#).unwrap();
        let (input, channels) = (SampleForm::I8, Channels::First);
        let expected =
            Dialect::MlperfTiny { model: "ic01".into(), input, channels, confirm_samples: true, relay: false };
        assert_eq!(tiny, expected);
        let stm: Dialect = serde_json::from_str(r#"{"speaks": "stm32msg", "model": "network"}"#).unwrap();
        assert!(!stm.is_timed());
        for wrong in [
            r#"{"speaks": "mlperf-tiny"}"#,
            r#"{"speaks": "mlperf-tiny", "model": "ic01", "confirm": false}"#,
            r#"{"speaks": "stm32msg", "model": "network", "input": "u8"}"#,
            r#"{"speaks": "tvm", "model": "network"}"#,
        ] {
            assert!(serde_json::from_str::<Dialect>(wrong).is_err(), "{wrong}");
        }
    }
}
