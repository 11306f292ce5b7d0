//! The supported part of JSON Schema (2020-12), read once when the filter starts.

use sedge_plugin_sdk::{
    String, ToOwned, Vec, format,
    json::{Cursor, Kind, Malformed},
};

/// Nesting of a schema, and so of the calls that check a value.
const DEPTH_MAX: usize = 32;
/// Required members of an object, as many as a `u64` has bits.
pub const REQUIRED_MAX: usize = u64::BITS as usize;

/// What a value has to be. The default allows everything.
#[derive(Debug, Default)]
pub struct Schema {
    /// Bits of the allowed [`Type`]s; 0 allows all.
    pub types: u8,
    /// The allowed values, if `enum` or `const` names them.
    pub values: Option<Vec<Scalar>>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub exclusive_minimum: Option<f64>,
    pub exclusive_maximum: Option<f64>,
    pub length: Bounds,
    pub items: Bounds,
    pub item: Option<SchemaBox>,
    pub members: Vec<Member>,
    /// Required names that are not in `members` are there with a schema that allows everything.
    pub required: u64,
    pub others: Others,
}

type SchemaBox = sedge_plugin_sdk::Box<Schema>;

/// A member of an object.
#[derive(Debug)]
pub struct Member {
    pub name: String,
    pub schema: Schema,
    /// The member's bit in `required`, if it is required.
    pub required: Option<u32>,
}

/// Members that `properties` does not name.
#[derive(Debug, Default)]
pub enum Others {
    #[default]
    Allowed,
    Forbidden,
    Checked(SchemaBox),
}

/// The least and the most of a length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    pub min: Option<u32>,
    pub max: Option<u32>,
}

/// A type of JSON Schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Type {
    Null = 1,
    Boolean = 2,
    Integer = 4,
    Number = 8,
    String = 16,
    Array = 32,
    Object = 64,
}

impl Type {
    pub const ALL: [(Self, &str); 7] = [
        (Self::Null, "null"),
        (Self::Boolean, "boolean"),
        (Self::Integer, "integer"),
        (Self::Number, "number"),
        (Self::String, "string"),
        (Self::Array, "array"),
        (Self::Object, "object"),
    ];

    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Null => Self::Null,
            Kind::Bool => Self::Boolean,
            Kind::Number => Self::Number,
            Kind::String => Self::String,
            Kind::Array => Self::Array,
            Kind::Object => Self::Object,
        }
    }
}

/// A value that is compared.
#[derive(Debug, PartialEq)]
pub enum Scalar {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
}

/// Why a text is no schema.
#[derive(Debug)]
pub struct Wrong(pub String);

impl From<Malformed> for Wrong {
    fn from(malformed: Malformed) -> Self {
        Self(format!("{malformed}"))
    }
}

impl Schema {
    /// Parses a schema.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut cursor = Cursor::new(text);
        let schema = schema(&mut cursor, 0).and_then(|schema| {
            cursor.end()?;
            Ok(schema)
        });
        schema.map_err(|Wrong(why)| why)
    }
}

fn schema(cursor: &mut Cursor<'_>, depth: usize) -> Result<Schema, Wrong> {
    if depth == DEPTH_MAX {
        return Err(Wrong(format!("is nested deeper than {DEPTH_MAX}")));
    }
    if cursor.kind()? != Kind::Object {
        return Err(Wrong("a schema is an object".to_owned()));
    }
    let mut schema = Schema::default();
    let mut required: Vec<String> = Vec::new();
    cursor.members(|cursor, keyword| {
        let keyword = format!("{keyword}");
        keyword_of(&mut schema, &mut required, &keyword, cursor, depth)
            .map_err(|Wrong(why)| Wrong(format!("{keyword}: {why}")))
    })?;
    if required.len() > REQUIRED_MAX {
        let why = format!("required: names more than {REQUIRED_MAX} members");
        return Err(Wrong(why));
    }
    for (bit, name) in required.into_iter().enumerate() {
        schema.required |= 1 << bit;
        let known = schema.members.iter_mut().find(|member| member.name == name);
        let bit = Some(bit as u32);
        match known {
            Some(member) => member.required = bit,
            None => schema.members.push(Member {
                name,
                schema: Schema::default(),
                required: bit,
            }),
        }
    }
    Ok(schema)
}

fn keyword_of(
    schema: &mut Schema,
    required: &mut Vec<String>,
    keyword: &str,
    cursor: &mut Cursor<'_>,
    depth: usize,
) -> Result<(), Wrong> {
    match keyword {
        "type" => schema.types = types(cursor)?,
        "enum" => schema.values = Some(list(cursor, scalar)?),
        "const" => schema.values = Some([scalar(cursor)?].into()),
        "minimum" => schema.minimum = Some(number(cursor)?),
        "maximum" => schema.maximum = Some(number(cursor)?),
        "exclusiveMinimum" => schema.exclusive_minimum = Some(number(cursor)?),
        "exclusiveMaximum" => schema.exclusive_maximum = Some(number(cursor)?),
        "minLength" => schema.length.min = Some(count(cursor)?),
        "maxLength" => schema.length.max = Some(count(cursor)?),
        "minItems" => schema.items.min = Some(count(cursor)?),
        "maxItems" => schema.items.max = Some(count(cursor)?),
        "items" => schema.item = Some(self::schema(cursor, depth + 1)?.into()),
        "properties" => {
            if cursor.kind()? != Kind::Object {
                return Err(Wrong("must be an object".to_owned()));
            }
            cursor.members(|cursor, name| {
                let name = format!("{name}");
                let schema_of = self::schema(cursor, depth + 1);
                let member = schema_of.map_err(|Wrong(why)| Wrong(format!("{name}: {why}")))?;
                schema.members.push(Member {
                    name,
                    schema: member,
                    required: None,
                });
                Ok::<(), Wrong>(())
            })?;
        }
        "required" => *required = list(cursor, string)?,
        "additionalProperties" => {
            schema.others = match cursor.kind()? {
                Kind::Bool if cursor.raw()? == "true" => Others::Allowed,
                Kind::Bool => Others::Forbidden,
                _ => Others::Checked(self::schema(cursor, depth + 1)?.into()),
            };
        }
        "$schema" | "$id" | "$comment" | "title" | "description" | "default" | "examples"
        | "format" | "deprecated" | "readOnly" | "writeOnly" => {
            cursor.value()?;
        }
        _ => {
            return Err(Wrong("this keyword is not supported".to_owned()));
        }
    }
    Ok(())
}

fn types(cursor: &mut Cursor<'_>) -> Result<u8, Wrong> {
    let names = if cursor.kind()? == Kind::Array {
        list(cursor, string)?
    } else {
        [string(cursor)?].into()
    };
    names.iter().try_fold(0, |types, name| {
        let known = Type::ALL.iter().find(|(_, is)| is == name);
        match known {
            // An integer is a number.
            Some((Type::Number, _)) => Ok(types | Type::Number as u8 | Type::Integer as u8),
            Some((of, _)) => Ok(types | *of as u8),
            None => Err(Wrong(format!("{name:?} is no type"))),
        }
    })
}

fn list<T>(
    cursor: &mut Cursor<'_>,
    read: impl Fn(&mut Cursor<'_>) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    if cursor.kind()? != Kind::Array {
        return Err(Wrong("must be an array".to_owned()));
    }
    let mut list = Vec::new();
    cursor.elements(|cursor, _| {
        list.push(read(cursor)?);
        Ok::<(), Wrong>(())
    })?;
    Ok(list)
}

fn string(cursor: &mut Cursor<'_>) -> Result<String, Wrong> {
    if cursor.kind()? != Kind::String {
        return Err(Wrong("must be a string".to_owned()));
    }
    Ok(format!("{}", cursor.text()?))
}

fn number(cursor: &mut Cursor<'_>) -> Result<f64, Wrong> {
    if cursor.kind()? != Kind::Number {
        return Err(Wrong("must be a number".to_owned()));
    }
    let number = cursor.raw()?.parse();
    number.map_err(|error| Wrong(format!("{error}")))
}

fn count(cursor: &mut Cursor<'_>) -> Result<u32, Wrong> {
    let wrong = |_| Wrong("must be a whole number from 0".to_owned());
    cursor.raw()?.parse().map_err(wrong)
}

fn scalar(cursor: &mut Cursor<'_>) -> Result<Scalar, Wrong> {
    Ok(match cursor.kind()? {
        Kind::Null => {
            cursor.value()?;
            Scalar::Null
        }
        Kind::Bool => Scalar::Bool(cursor.raw()? == "true"),
        Kind::Number => Scalar::Number(number(cursor)?),
        Kind::String => Scalar::String(string(cursor)?),
        Kind::Array | Kind::Object => {
            return Err(Wrong("arrays and objects are not supported".to_owned()));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_that_is_not_understood_is_refused() {
        for (text, why) in [
            ("", "malformed JSON at byte 0"),
            ("1", "a schema is an object"),
            ("{} {}", "malformed JSON at byte 3"),
            (r#"{"type":"float"}"#, r#"type: "float" is no type"#),
            (r#"{"type":1}"#, "type: must be a string"),
            (
                r#"{"pattern":"a+"}"#,
                "pattern: this keyword is not supported",
            ),
            (r#"{"minimum":"1"}"#, "minimum: must be a number"),
            (
                r#"{"minLength":1.5}"#,
                "minLength: must be a whole number from 0",
            ),
            (
                r#"{"enum":[{}]}"#,
                "enum: arrays and objects are not supported",
            ),
            (
                r#"{"properties":{"a":{"items":{"oneOf":[]}}}}"#,
                "properties: a: items: oneOf: this keyword is not supported",
            ),
        ] {
            assert_eq!(Schema::parse(text).expect_err(text), why);
        }
        let (open, close) = (r#"{"items":"#, "}");
        let deep = |depth: usize| format!("{}{{}}{}", open.repeat(depth), close.repeat(depth));
        assert!(Schema::parse(&deep(DEPTH_MAX - 1)).is_ok());
        assert!(Schema::parse(&deep(DEPTH_MAX)).is_err());
    }
}
