//! Arguments of an expectation. One that nobody asked for is refused at the end: it would have changed the meaning.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Arguments that say where and how to ask, and change no answer.
const OF_THE_CALLER: [&str; 5] =
    ["batch_id", "result_format", "catch_exceptions", "include_config", "condition_parser"];

/// Arguments, and which were looked at.
pub struct Arguments<'a> {
    given: &'a Map<String, Value>,
    seen: BTreeSet<&'static str>,
}

/// A range whose ends may be missing, and may be beyond it.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    min: Option<f64>,
    max: Option<f64>,
    strict_min: bool,
    strict_max: bool,
}

impl Bounds {
    /// Does it hold this value?
    pub fn hold(self, value: f64) -> bool {
        let above = self.min.is_none_or(|min| if self.strict_min { value > min } else { value >= min });
        let below = self.max.is_none_or(|max| if self.strict_max { value < max } else { value <= max });
        above && below
    }
}

impl<'a> Arguments<'a> {
    /// Of an expectation.
    pub fn new(given: &'a Map<String, Value>) -> Self {
        Self { given, seen: BTreeSet::new() }
    }

    /// An argument that is there and is something.
    pub fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        self.seen.insert(name);
        self.given.get(name).filter(|value| !value.is_null())
    }

    /// A text that must be there.
    pub fn text(&mut self, name: &'static str) -> Result<String, String> {
        let value = self.value(name);
        value.and_then(Value::as_str).map(str::to_owned).ok_or_else(|| wrong(name, "a text", value))
    }

    /// A number that may be there.
    pub fn number(&mut self, name: &'static str) -> Result<Option<f64>, String> {
        let Some(value) = self.value(name) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| wrong(name, "a number", Some(value)))
    }

    /// A yes or no that may be there.
    pub fn flag(&mut self, name: &'static str, otherwise: bool) -> Result<bool, String> {
        let Some(value) = self.value(name) else { return Ok(otherwise) };
        value.as_bool().ok_or_else(|| wrong(name, "true or false", Some(value)))
    }

    /// A list that must be there.
    pub fn list(&mut self, name: &'static str) -> Result<&'a [Value], String> {
        let value = self.value(name);
        value.and_then(Value::as_array).map(Vec::as_slice).ok_or_else(|| wrong(name, "a list", value))
    }

    /// `min_value`, `max_value`, `strict_min`, `strict_max`; one end at least.
    pub fn bounds(&mut self) -> Result<Bounds, String> {
        let (min, max) = (self.number("min_value")?, self.number("max_value")?);
        if min.is_none() && max.is_none() {
            return Err("expected min_value or max_value, got neither".into());
        }
        let (strict_min, strict_max) = (self.flag("strict_min", false)?, self.flag("strict_max", false)?);
        Ok(Bounds { min, max, strict_min, strict_max })
    }

    /// Share of the values that must be as expected: all, where nothing is said.
    pub fn mostly(&mut self) -> Result<f64, String> {
        let mostly = self.number("mostly")?.unwrap_or(1.0);
        let fits = (0.0..=1.0).contains(&mostly);
        if fits { Ok(mostly) } else { Err(format!("expected mostly in 0 to 1, got {mostly}")) }
    }

    /// Every argument was looked at.
    pub fn all_known(&self) -> Result<(), String> {
        let unknown = self.given.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str());
        let mut unknown = unknown.filter(|name| !self.seen.contains(name) && !OF_THE_CALLER.contains(name));
        unknown.next().map_or(Ok(()), |name| Err(format!("boardproof does not know the argument '{name}' of it")))
    }
}

fn wrong(name: &str, expected: &str, found: Option<&Value>) -> String {
    format!("expected {name} to be {expected}, got {}", found.unwrap_or(&Value::Null))
}
