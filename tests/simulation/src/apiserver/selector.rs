//! Field and label selectors.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{kind::Kind, status::Failure};

/// What a listing or a watch selects.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    fields: Vec<FieldTerm>,
    labels: Vec<LabelTerm>,
}

#[derive(Clone, Debug)]
struct FieldTerm {
    path: Vec<String>,
    value: String,
    equal: bool,
}

#[derive(Clone, Debug)]
enum LabelTerm {
    Equal(String, String),
    /// An absent label is not equal to anything.
    NotEqual(String, String),
    Exists(String),
    Absent(String),
}

impl Selector {
    /// Reads the selectors of a query.
    pub(super) fn read(kind: &Kind, fields: &str, labels: &str) -> Result<Self, Failure> {
        let terms = |text: &str| -> Vec<String> {
            text.split(',')
                .filter(|term| !term.is_empty())
                .map(str::to_owned)
                .collect()
        };
        Ok(Self {
            fields: terms(fields)
                .iter()
                .map(|term| field_term(kind, fields, term))
                .collect::<Result<_, _>>()?,
            labels: terms(labels).iter().map(|term| label_term(term)).collect(),
        })
    }

    /// The same, of one object alone.
    pub(super) fn and_name(mut self, name: &str) -> Self {
        self.fields.push(FieldTerm {
            path: vec!["metadata".to_owned(), "name".to_owned()],
            value: name.to_owned(),
            equal: true,
        });
        self
    }

    /// The one name that is selected, if it is one.
    pub(super) fn name(&self) -> Option<&str> {
        let mut terms = self.fields.iter();
        let term = terms.find(|term| term.equal && term.path == ["metadata", "name"])?;
        Some(&term.value)
    }

    /// Whether everything is selected.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.labels.is_empty()
    }

    /// Whether the object is selected.
    pub(super) fn matches(&self, object: &Value) -> bool {
        self.fields.iter().all(|term| term.matches(object)) && self.labels.iter().all(|term| term.matches(object))
    }
}

fn field_term(kind: &Kind, all: &str, term: &str) -> Result<FieldTerm, Failure> {
    let (label, value, equal) = if let Some((label, value)) = term.split_once("!=") {
        (label, value, false)
    } else if let Some((label, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        (label, value, true)
    } else {
        return Err(Failure::bad_request(format!(
            "invalid selector: '{all}'; can't understand '{term}'"
        )));
    };
    let path = match label {
        "metadata.name" | "metadata.namespace" => Some(label.split('.').map(str::to_owned).collect()),
        label => kind
            .selectable
            .iter()
            .find(|(name, _)| name == label)
            .map(|(_, path)| path.clone()),
    };
    let path = path.ok_or_else(|| Failure::bad_request(format!("field label not supported: {label}")))?;
    Ok(FieldTerm {
        path,
        value: value.to_owned(),
        equal,
    })
}

impl FieldTerm {
    /// An absent field reads as the empty text.
    fn matches(&self, object: &Value) -> bool {
        let found = self.path.iter().try_fold(object, |value, name| value.get(name));
        let equal = match found {
            None | Some(Value::Null) => self.value.is_empty(),
            Some(Value::String(text)) => *text == self.value,
            Some(Value::Bool(true)) => self.value == "true",
            Some(Value::Bool(false)) => self.value == "false",
            Some(Value::Number(number)) => number.to_string() == self.value,
            Some(_) => false,
        };
        equal == self.equal
    }
}

fn label_term(term: &str) -> LabelTerm {
    let pair = |label: &str, value: &str| (label.trim().to_owned(), value.trim().to_owned());
    if let Some((label, value)) = term.split_once("!=") {
        let (label, value) = pair(label, value);
        LabelTerm::NotEqual(label, value)
    } else if let Some((label, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        let (label, value) = pair(label, value);
        LabelTerm::Equal(label, value)
    } else if let Some(label) = term.strip_prefix('!') {
        LabelTerm::Absent(label.trim().to_owned())
    } else {
        LabelTerm::Exists(term.trim().to_owned())
    }
}

impl LabelTerm {
    fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let label = |name: &str| labels.get(name).and_then(Value::as_str);
        match self {
            Self::Equal(name, value) => label(name) == Some(value),
            Self::NotEqual(name, value) => label(name) != Some(value),
            Self::Exists(name) => label(name).is_some(),
            Self::Absent(name) => label(name).is_none(),
        }
    }
}

/// Takes the encoding of a query away.
pub(super) fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " "))
        .decode_utf8_lossy()
        .into_owned()
}
