//! The structural schema of a custom kind: what it keeps, what it fills in, what it refuses.
//!
//! The server's own order: a `null` that a field does not allow is taken away, fields that the schema does not know are
//! pruned, defaults are filled in, and the result is validated. CEL is not run: see [`super::rules`].

use std::{collections::BTreeMap, fmt, str::FromStr};

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};

use super::status::Cause;

/// One node of a schema.
#[derive(Clone, Debug, Default)]
pub(super) struct Schema {
    kind: String,
    properties: BTreeMap<String, Schema>,
    required: Vec<String>,
    items: Option<Box<Schema>>,
    additional: Option<Box<Schema>>,
    default: Option<Value>,
    values: Vec<Value>,
    format: String,
    max_length: Option<u64>,
    max_items: Option<u64>,
    /// The keys by which a list is a map.
    list_keys: Vec<String>,
    nullable: bool,
    preserves: bool,
    /// It carries CEL rules.
    pub(super) has_rules: bool,
}

impl Schema {
    /// Reads an `openAPIV3Schema`.
    pub(super) fn read(schema: &Value) -> Self {
        let text = |name: &str| schema[name].as_str().unwrap_or_default().to_owned();
        let list = |name: &str| schema[name].as_array().cloned().unwrap_or_default();
        let texts = |name: &str| {
            list(name)
                .iter()
                .filter_map(|value| value.as_str().map(str::to_owned))
                .collect()
        };
        let child = |name: &str| schema[name].is_object().then(|| Box::new(Self::read(&schema[name])));
        let properties = schema["properties"].as_object().into_iter().flatten();
        Self {
            kind: text("type"),
            properties: properties
                .map(|(name, property)| (name.clone(), Self::read(property)))
                .collect(),
            required: texts("required"),
            items: child("items"),
            additional: child("additionalProperties"),
            default: schema.get("default").cloned(),
            values: list("enum"),
            format: text("format"),
            max_length: schema["maxLength"].as_u64(),
            max_items: schema["maxItems"].as_u64(),
            list_keys: texts("x-kubernetes-list-map-keys"),
            nullable: schema["nullable"] == true,
            preserves: schema["x-kubernetes-preserve-unknown-fields"] == true,
            has_rules: schema["x-kubernetes-validations"].is_array(),
        }
    }

    /// The node below, if there is one.
    pub(super) fn property(&self, name: &str) -> Option<&Self> {
        self.properties.get(name)
    }

    /// What an absent value of this node is stored as.
    pub(super) fn default(&self) -> Option<&Value> {
        self.default.as_ref()
    }

    /// Takes away what the schema does not keep. Returns whether something went.
    pub(super) fn prune(&self, value: &mut Value) -> bool {
        match value {
            Value::Object(fields) => self.prune_fields(fields),
            Value::Array(items) => {
                let mut went = false;
                if let Some(schema) = &self.items {
                    for item in items {
                        went |= schema.prune(item);
                    }
                }
                went
            }
            _ => false,
        }
    }

    fn prune_fields(&self, fields: &mut Map<String, Value>) -> bool {
        let before = fields.len();
        fields.retain(|name, value| match self.properties.get(name) {
            Some(schema) => !value.is_null() || schema.nullable,
            None => self.preserves || self.additional.is_some(),
        });
        let mut went = fields.len() != before;
        for (name, value) in fields {
            if let Some(schema) = self.properties.get(name).or(self.additional.as_deref()) {
                went |= schema.prune(value);
            }
        }
        went
    }

    /// Fills in the defaults.
    pub(super) fn fill(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, schema) in &self.properties {
                    match (fields.get_mut(name), &schema.default) {
                        (Some(value), _) => schema.fill(value),
                        (None, Some(default)) => {
                            let mut value = default.clone();
                            schema.fill(&mut value);
                            fields.insert(name.clone(), value);
                        }
                        (None, None) => {}
                    }
                }
                if let Some(schema) = &self.additional {
                    for (name, value) in fields {
                        if !self.properties.contains_key(name) {
                            schema.fill(value);
                        }
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    items.iter_mut().for_each(|item| schema.fill(item));
                }
            }
            _ => {}
        }
    }

    /// Collects why the value is refused.
    pub(super) fn validate(&self, value: &Value, causes: &mut Vec<Cause>) {
        self.validate_at(value, Path::Root, causes);
    }

    fn validate_at(&self, value: &Value, path: Path<'_>, causes: &mut Vec<Cause>) {
        if !self.is_of_type(value) {
            causes.push(Cause {
                reason: "FieldValueTypeInvalid",
                field: path.to_string(),
                message: format!(
                    "Invalid value: \"{}\": {path} in body must be of type {}",
                    type_of(value),
                    self.kind
                ),
            });
            return;
        }
        if !self.values.is_empty() && !self.values.contains(value) {
            let known: Vec<String> = self.values.iter().map(Value::to_string).collect();
            causes.push(Cause {
                reason: "FieldValueNotSupported",
                field: path.to_string(),
                message: format!("Unsupported value: {value}: supported values: {}", known.join(", ")),
            });
        }
        match value {
            Value::Object(fields) => self.validate_fields(fields, path, causes),
            Value::Array(items) => self.validate_items(items, path, causes),
            Value::String(text) => self.validate_text(text, path, causes),
            Value::Number(_) => self.validate_number(value, path, causes),
            _ => {}
        }
    }

    fn is_of_type(&self, value: &Value) -> bool {
        match (self.kind.as_str(), value) {
            ("", _) => true,
            (_, Value::Null) => self.nullable,
            ("integer", Value::Number(number)) => number.is_i64() || number.is_u64(),
            ("number", Value::Number(_)) => true,
            (kind, value) => kind == type_of(value),
        }
    }

    fn validate_fields(&self, fields: &Map<String, Value>, path: Path<'_>, causes: &mut Vec<Cause>) {
        for name in &self.required {
            if !fields.contains_key(name) {
                causes.push(Cause::required(Path::Field(&path, name).to_string()));
            }
        }
        for (name, value) in fields {
            if let Some(schema) = self.properties.get(name).or(self.additional.as_deref()) {
                schema.validate_at(value, Path::Field(&path, name), causes);
            }
        }
    }

    fn validate_items(&self, items: &[Value], path: Path<'_>, causes: &mut Vec<Cause>) {
        if self.max_items.is_some_and(|max| items.len() as u64 > max) {
            causes.push(Cause {
                reason: "FieldValueTooMany",
                field: path.to_string(),
                message: format!(
                    "Too many: {}: must have at most {:?} items",
                    items.len(),
                    self.max_items
                ),
            });
        }
        for (index, item) in items.iter().enumerate() {
            let path = Path::Item(&path, index);
            if let Some(schema) = &self.items {
                schema.validate_at(item, path, causes);
            }
            if self.repeats(&items[..index], item) {
                causes.push(Cause {
                    reason: "FieldValueDuplicate",
                    field: path.to_string(),
                    message: format!("Duplicate value: {item}"),
                });
            }
        }
    }

    /// Whether the list is a map, and an earlier item has the same key.
    fn repeats(&self, earlier: &[Value], item: &Value) -> bool {
        !self.list_keys.is_empty()
            && earlier
                .iter()
                .any(|other| self.list_keys.iter().all(|key| other.get(key) == item.get(key)))
    }

    fn validate_text(&self, text: &str, path: Path<'_>, causes: &mut Vec<Cause>) {
        if self.max_length.is_some_and(|max| text.chars().count() as u64 > max) {
            causes.push(Cause {
                reason: "FieldValueTooLong",
                field: path.to_string(),
                message: format!(
                    "Too long: may not be more than {} bytes",
                    self.max_length.unwrap_or_default()
                ),
            });
        }
        if self.format == "date-time" && Timestamp::from_str(text).is_err() {
            causes.push(Cause {
                reason: "FieldValueTypeInvalid",
                field: path.to_string(),
                message: format!("Invalid value: \"{text}\": {path} in body must be of type date-time"),
            });
        }
    }

    /// The server reports a number beyond its format at the object that holds it.
    fn validate_number(&self, value: &Value, path: Path<'_>, causes: &mut Vec<Cause>) {
        let fits = match self.format.as_str() {
            "int32" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            "int64" => value.as_i64().is_some(),
            _ => true,
        };
        if !fits {
            let path = path.to_string();
            let (holder, name) = path.rsplit_once('.').unwrap_or(("", &path));
            causes.push(Cause::invalid(
                holder,
                format!(
                    "\"\": Checked value must be of type integer with format {} in {name}",
                    self.format
                ),
            ));
        }
    }
}

/// Where a value is. It is written out only if the value is refused.
#[derive(Clone, Copy)]
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Path::Root, name) => formatter.write_str(name),
            Self::Field(holder, name) => write!(formatter, "{holder}.{name}"),
            Self::Item(list, index) => write!(formatter, "{list}[{index}]"),
        }
    }
}

/// The type of a value, in the words of OpenAPI.
pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
