//! The published schemas: the committed files are what the code gives, and what a real run writes is valid by them.
//!
//! After a change of a format: `BOARDPROOF_BLESS=1 cargo test --package boardproof-tests schemas`, and a new version if the change takes
//! something away or gives it another meaning (see docs/formats.md).

use crate::tool::root;
use boardproof_judge::gate::JUDGEMENT_VERSION;
use boardproof_judge::report::json;
use boardproof_record::calibration::{self, Calibration};
use boardproof_record::verdict::Judgement;
use boardproof_record::{ab, record};
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Format, its version, its schema.
fn schemas() -> [(&'static str, u32, Value); 5] {
    [
        ("record", record::VERSION, schema::<record::Record>("record.json", record::VERSION)),
        ("judgement", JUDGEMENT_VERSION, schema::<Judgement>("judgement.json", JUDGEMENT_VERSION)),
        ("ab", ab::VERSION, schema::<ab::AbRun>("ab.json", ab::VERSION)),
        ("calibration", calibration::VERSION, schema::<Calibration>("a unit's calibration", calibration::VERSION)),
        ("report", json::VERSION, schema::<json::Document<'static>>("boardproof report --format json", json::VERSION)),
    ]
}

/// The schema of what is written, with the version that it is of.
fn schema<T: schemars::JsonSchema>(title: &str, version: u32) -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    schema["title"] = json!(title);
    schema["properties"]["version"] = json!({ "description": "Version of the format.", "const": version });
    schema
}

fn file(name: &str) -> PathBuf {
    root().join("docs/schema").join(format!("{name}.schema.json"))
}

#[test]
fn the_committed_schemas_are_those_of_the_code() {
    for (name, _, schema) in schemas() {
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("BOARDPROOF_BLESS").is_some() {
            std::fs::create_dir_all(file(name).parent().unwrap()).unwrap();
            std::fs::write(file(name), &text).unwrap();
        }
        let committed = std::fs::read_to_string(file(name)).unwrap_or_default();
        assert!(committed == text, "{} is not what the code gives; see the head of this test", file(name).display());
    }
}

/// Asserts that a document is valid by the committed schema of its format, and that the schema would notice if it were not.
#[track_caller]
pub fn assert_valid(name: &str, text: &str) {
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(file(name)).unwrap()).unwrap();
    let document: Value = serde_json::from_str(text).unwrap();
    let validity = |document: &Value| Validator { root: &schema }.check(&schema, document, "");
    assert_eq!(validity(&document), Ok(()), "{name}");
    for (field, value) in [("version", json!(999)), ("version", Value::Null), ("cells", json!(1)), ("plan", json!([]))]
    {
        let mut other = document.clone();
        if other.get(field).is_some() {
            other[field] = value;
            assert!(validity(&other).is_err(), "{name}: {field} may be anything");
        }
    }
    let mut other = document;
    other.as_object_mut().unwrap().remove("version");
    assert!(validity(&other).is_err(), "{name}: the version may be missing");
}

/// The part of JSON Schema that the schemas use. A keyword that it does not know is an error, so that none goes unchecked. (A library that
/// knows all of it brings seventy crates with it.)
struct Validator<'s> {
    root: &'s Value,
}

impl Validator<'_> {
    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let Some(keywords) = schema.as_object() else {
            return if *schema == json!(true) { Ok(()) } else { Err(format!("{at}: nothing is allowed here")) };
        };
        keywords.iter().try_for_each(|(keyword, wanted)| self.keyword(keyword, wanted, keywords, value, at))
    }

    fn keyword(
        &self,
        keyword: &str,
        wanted: &Value,
        all: &serde_json::Map<String, Value>,
        value: &Value,
        at: &str,
    ) -> Result<(), String> {
        let ensure =
            |holds: bool| if holds { Ok(()) } else { Err(format!("{at}: {value} against {keyword} {wanted}")) };
        let schemas = || wanted.as_array().into_iter().flatten();
        let number = |of: &Value| of.as_f64().unwrap_or(f64::NAN);
        match keyword {
            // Words about the schema. A format narrows nothing that a type and a minimum have not; patterns are the reader's to check.
            "$schema" | "$defs" | "title" | "description" | "default" | "format" | "pattern" => Ok(()),
            "$ref" => {
                let path = wanted.as_str().and_then(|r| r.strip_prefix('#')).ok_or("a reference to elsewhere")?;
                self.check(self.root.pointer(path).ok_or(format!("no {path}"))?, value, at)
            }
            "const" => ensure(value == wanted),
            "enum" => ensure(schemas().any(|known| known == value)),
            "type" if wanted.is_array() => ensure(schemas().any(|kind| is(kind, value))),
            "type" => ensure(is(wanted, value)),
            "minimum" => ensure(!value.is_number() || number(value) >= number(wanted)),
            "maximum" => ensure(!value.is_number() || number(value) <= number(wanted)),
            "allOf" => schemas().try_for_each(|schema| self.check(schema, value, at)),
            "anyOf" => ensure(schemas().any(|schema| self.check(schema, value, at).is_ok())),
            "oneOf" => ensure(schemas().filter(|schema| self.check(schema, value, at).is_ok()).count() == 1),
            "required" => ensure(schemas().all(|key| key.as_str().is_some_and(|key| value.get(key).is_some()))),
            "properties" => wanted.as_object().into_iter().flatten().try_for_each(|(key, schema)| {
                value.get(key).map_or(Ok(()), |value| self.check(schema, value, &format!("{at}/{key}")))
            }),
            "additionalProperties" => self.others(wanted, all, value, at),
            "items" => {
                let first = all.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
                let rest = value.as_array().into_iter().flatten().enumerate().skip(first);
                rest.into_iter().try_for_each(|(i, value)| self.check(wanted, value, &format!("{at}/{i}")))
            }
            "prefixItems" => schemas()
                .zip(value.as_array().into_iter().flatten())
                .enumerate()
                .try_for_each(|(i, (schema, value))| self.check(schema, value, &format!("{at}/{i}"))),
            "minItems" => ensure(value.as_array().is_none_or(|items| items.len() as f64 >= number(wanted))),
            "maxItems" => ensure(value.as_array().is_none_or(|items| items.len() as f64 <= number(wanted))),
            "patternProperties" => ensure(value.is_object()).and_then(|()| {
                let schema = wanted.as_object().and_then(|patterns| patterns.values().next());
                let all = value.as_object().into_iter().flatten();
                all.into_iter().try_for_each(|(key, value)| {
                    schema.map_or(Ok(()), |schema| self.check(schema, value, &format!("{at}/{key}")))
                })
            }),
            _ => Err(format!("{at}: the keyword {keyword} is not known here")),
        }
    }

    /// The keys that no other keyword speaks of.
    fn others(
        &self,
        wanted: &Value,
        all: &serde_json::Map<String, Value>,
        value: &Value,
        at: &str,
    ) -> Result<(), String> {
        // Keys of a map fit its pattern or the reader refuses them: they are not others.
        let map = all.contains_key("patternProperties");
        let named = |key: &String| all.get("properties").is_some_and(|known| known.get(key).is_some());
        let known = |key: &String| map || named(key);
        let others = value.as_object().into_iter().flatten().filter(|(key, _)| !known(key));
        others.into_iter().try_for_each(|(key, value)| self.check(wanted, value, &format!("{at}/{key}")))
    }
}

fn is(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap_or_default() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        _ => false,
    }
}
