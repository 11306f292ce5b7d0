//! Checks a value against a schema while its text is passed.

use core::fmt::Display;

use crate::schema::{Bounds, Member, Others, Scalar, Schema, Type};
use sedge_plugin_sdk::{
    String, ToOwned, Vec, format,
    json::{Cursor, Kind, Malformed, Text},
};

/// A value that breaks a rule, and the names on the way to it, the last first.
struct Broken {
    rule: String,
    path: Vec<String>,
}

impl From<Malformed> for Broken {
    fn from(malformed: Malformed) -> Self {
        Self::new(malformed)
    }
}

impl Broken {
    fn new(rule: impl Display) -> Self {
        let rule = format!("{rule}");
        let path = Vec::new();
        Self { rule, path }
    }

    fn within(mut self, name: impl Display) -> Self {
        let name = format!("{name}").replace('~', "~0").replace('/', "~1");
        self.path.push(name);
        self
    }

    /// Returns the JSON Pointer of the value and the rule.
    fn text(self) -> String {
        let path = self
            .path
            .iter()
            .rev()
            .fold(String::new(), |mut path, name| {
                path.push('/');
                path.push_str(name);
                path
            });
        if path.is_empty() {
            return self.rule;
        }
        format!("{path}: {}", self.rule)
    }
}

/// Checks a value.
///
/// # Errors
/// The path and the rule that is broken.
pub fn check(schema: &Schema, value: &[u8]) -> Result<(), String> {
    let cursor = Cursor::over(value);
    let mut cursor = cursor.ok_or_else(|| "the value is not UTF-8".to_owned())?;
    let checked = value_of(schema, &mut cursor).and_then(|()| Ok(cursor.end()?));
    checked.map_err(Broken::text)
}

fn value_of(schema: &Schema, cursor: &mut Cursor<'_>) -> Result<(), Broken> {
    let kind = cursor.kind()?;
    match kind {
        Kind::Object => {
            is_of(schema, Type::Object)?;
            is_listed(schema, || None)?;
            object(schema, cursor)
        }
        Kind::Array => {
            is_of(schema, Type::Array)?;
            is_listed(schema, || None)?;
            array(schema, cursor)
        }
        Kind::String => {
            is_of(schema, Type::String)?;
            string(schema, cursor.text()?)
        }
        Kind::Number => number(schema, cursor.raw()?),
        Kind::Bool => {
            is_of(schema, Type::Boolean)?;
            let is = cursor.raw()? == "true";
            is_listed(schema, || Some(Scalar::Bool(is)))
        }
        Kind::Null => {
            cursor.value()?;
            is_of(schema, Type::of(kind))?;
            is_listed(schema, || Some(Scalar::Null))
        }
    }
}

fn object(schema: &Schema, cursor: &mut Cursor<'_>) -> Result<(), Broken> {
    let mut missing = schema.required;
    cursor.members(|cursor, name| {
        let mut members = schema.members.iter();
        let known = members.find(|member| name.is(&member.name));
        let checked = match (known, &schema.others) {
            (Some(member), _) => {
                missing &= !member.required.map_or(0, |bit| 1 << bit);
                value_of(&member.schema, cursor)
            }
            (None, Others::Allowed) => cursor.value().map(|_| ()).map_err(Broken::from),
            (None, Others::Checked(others)) => value_of(others, cursor),
            (None, Others::Forbidden) => {
                Err(Broken::new("is not in the schema (additionalProperties)"))
            }
        };
        checked.map_err(|broken| broken.within(name))
    })?;
    if missing == 0 {
        return Ok(());
    }
    let is_missing = |member: &&Member| member.required.is_some_and(|bit| missing >> bit & 1 == 1);
    let first = schema.members.iter().find(is_missing);
    let name = first.map_or("", |member| member.name.as_str());
    Err(Broken::new("is missing (required)").within(name))
}

fn array(schema: &Schema, cursor: &mut Cursor<'_>) -> Result<(), Broken> {
    let mut count = 0;
    cursor.elements(|cursor, index| {
        count += 1;
        let checked = match &schema.item {
            Some(item) => value_of(item, cursor),
            None => cursor.value().map(|_| ()).map_err(Broken::from),
        };
        checked.map_err(|broken| broken.within(index))
    })?;
    within(schema.items, count, "items", ["minItems", "maxItems"])
}

fn string(schema: &Schema, text: Text<'_>) -> Result<(), Broken> {
    let Bounds { min, max } = schema.length;
    if min.is_some() || max.is_some() {
        let characters = text.chars().count();
        within(
            schema.length,
            characters,
            "characters",
            ["minLength", "maxLength"],
        )?;
    }
    let Some(values) = &schema.values else {
        return Ok(());
    };
    let is = |value: &Scalar| matches!(value, Scalar::String(value) if text.is(value));
    if values.iter().any(is) {
        return Ok(());
    }
    Err(not_listed())
}

fn number(schema: &Schema, text: &str) -> Result<(), Broken> {
    // A text without a fraction and an exponent needs no parsing, unless the value matters.
    let is_plain = !text.contains(['.', 'e', 'E']);
    let bounds = [
        schema.minimum,
        schema.maximum,
        schema.exclusive_minimum,
        schema.exclusive_maximum,
    ];
    let needs_value = schema.values.is_some() || bounds.iter().any(Option::is_some);
    if is_plain && !needs_value {
        return is_of(schema, Type::Integer);
    }
    let value: f64 = text.parse().map_err(Broken::new)?;
    let is_integer = is_plain || is_whole(value);
    is_of(
        schema,
        if is_integer {
            Type::Integer
        } else {
            Type::Number
        },
    )?;
    let [minimum, maximum, above, below] = bounds;
    let broken = |what: &str, bound: f64, keyword: &str| {
        Err(Broken::new(format!(
            "is {text}, must be {what} {bound} ({keyword})"
        )))
    };
    match (minimum, maximum, above, below) {
        (Some(min), ..) if value < min => broken("at least", min, "minimum"),
        (_, Some(max), ..) if value > max => broken("at most", max, "maximum"),
        (_, _, Some(above), _) if value <= above => broken("above", above, "exclusiveMinimum"),
        (.., Some(below)) if value >= below => broken("below", below, "exclusiveMaximum"),
        _ => is_listed(schema, || Some(Scalar::Number(value))),
    }
}

/// Returns whether a number has no fraction. All numbers from 2^53 have none.
fn is_whole(value: f64) -> bool {
    const ALL_WHOLE_FROM: f64 = 9_007_199_254_740_992.0;
    value.abs() >= ALL_WHOLE_FROM || value as i64 as f64 == value
}

fn is_of(schema: &Schema, of: Type) -> Result<(), Broken> {
    if schema.types == 0 || schema.types & of as u8 != 0 {
        return Ok(());
    }
    let name = |wanted: &dyn Fn(Type) -> bool| {
        let names = Type::ALL.iter().filter(|(one, _)| wanted(*one));
        let names: Vec<&str> = names.map(|(_, name)| *name).collect();
        names.join(" or ")
    };
    let is = name(&|one| one == of);
    // `number` says `integer` as well.
    let has_number = schema.types & Type::Number as u8 != 0;
    let must_be =
        name(&|one| schema.types & one as u8 != 0 && !(one == Type::Integer && has_number));
    Err(Broken::new(format!("is {is}, must be {must_be} (type)")))
}

fn is_listed(schema: &Schema, value: impl Fn() -> Option<Scalar>) -> Result<(), Broken> {
    match &schema.values {
        None => Ok(()),
        Some(values) => {
            let value = value();
            if value.is_some_and(|value| values.contains(&value)) {
                Ok(())
            } else {
                Err(not_listed())
            }
        }
    }
}

fn not_listed() -> Broken {
    Broken::new("is not one of the allowed values (enum)")
}

fn within(bounds: Bounds, has: usize, what: &str, keywords: [&str; 2]) -> Result<(), Broken> {
    let [min, max] = keywords;
    match bounds {
        Bounds {
            min: Some(least), ..
        } if has < least as usize => Err(Broken::new(format!(
            "has {has} {what}, must have at least {least} ({min})"
        ))),
        Bounds {
            max: Some(most), ..
        } if has > most as usize => Err(Broken::new(format!(
            "has {has} {what}, must have at most {most} ({max})"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READING: &str = r#"{
        "type": "object",
        "required": ["sensor", "celsius"],
        "additionalProperties": false,
        "properties": {
            "sensor": {"type": "string", "minLength": 1, "maxLength": 8},
            "celsius": {"type": "number", "minimum": -40, "exclusiveMaximum": 85},
            "unit": {"enum": ["C", "K", null]},
            "count": {"type": "integer"},
            "tags": {"type": "array", "maxItems": 2, "items": {"type": ["string", "null"]}},
            "more": {"additionalProperties": {"const": 1}}
        }
    }"#;

    fn told(value: &str) -> String {
        let schema = Schema::parse(READING).expect("a schema");
        check(&schema, value.as_bytes()).err().unwrap_or_default()
    }

    #[test]
    fn values_are_checked_and_the_first_broken_rule_is_told() {
        let with = |more: &str| format!(r#"{{"sensor":"roof","celsius":21.4{more}}}"#);
        for (more, why) in [
            ("", ""),
            (
                r#","unit":"C","count":3,"tags":["a",null],"more":{"x":1}"#,
                "",
            ),
            (r#","unit":null,"count":3.0,"more":{"x":1e0}"#, ""),
            (
                r#","count":1.5"#,
                "/count: is number, must be integer (type)",
            ),
            (
                r#","unit":"F""#,
                "/unit: is not one of the allowed values (enum)",
            ),
            (
                r#","unit":{}"#,
                "/unit: is not one of the allowed values (enum)",
            ),
            (
                r#","tags":["a","b","c"]"#,
                "/tags: has 3 items, must have at most 2 (maxItems)",
            ),
            (
                r#","tags":["a",1]"#,
                "/tags/1: is integer, must be null or string (type)",
            ),
            (r#","tags":"a""#, "/tags: is string, must be array (type)"),
            (
                r#","more":{"a/b":2}"#,
                "/more/a~1b: is not one of the allowed values (enum)",
            ),
            (
                r#","else":1"#,
                "/else: is not in the schema (additionalProperties)",
            ),
            (r#","tags":[nul]"#, "/tags/0: malformed JSON at byte 40"),
        ] {
            assert_eq!(told(&with(more)), why, "{more}");
        }
        for (value, why) in [
            ("21.4", "is number, must be object (type)"),
            ("", "malformed JSON at byte 0"),
            ("{}", "/sensor: is missing (required)"),
            (r#"{"sensor":"roof"}"#, "/celsius: is missing (required)"),
            (
                r#"{"s\u0065nsor":"","celsius":1}"#,
                "/sensor: has 0 characters, must have at least 1 (minLength)",
            ),
            (
                r#"{"sensor":"éééééééé","celsius":-41}"#,
                "/celsius: is -41, must be at least -40 (minimum)",
            ),
            (
                r#"{"sensor":"a","celsius":85.0}"#,
                "/celsius: is 85.0, must be below 85 (exclusiveMaximum)",
            ),
            (
                r#"{"sensor":"a","celsius":"1"}"#,
                "/celsius: is string, must be number (type)",
            ),
        ] {
            assert_eq!(told(value), why, "{value}");
        }
    }
}
