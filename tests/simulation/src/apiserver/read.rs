//! Requests that read, and the starts of watches.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

use super::{
    ApiServer, Reply,
    kind::{Kind, Strategy},
    route::{Place, Query},
    selector::Selector,
    status::{Cause, Failure, answer},
    store::{Collection, Object},
    watch::{Start, Watch},
};

/// Whether an answer holds whole objects, or their metadata alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    Metadata,
}

impl Form {
    /// An object in this form.
    pub(super) fn of(self, object: &Object) -> Bytes {
        match self {
            Self::Whole => object.encoded().clone(),
            Self::Metadata => metadata_of(&object.value).to_string().into(),
        }
    }
}

pub(super) fn metadata_of(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
    })
}

impl ApiServer {
    pub(super) fn get(&self, view: u64, place: &Place, kind: &Kind, form: Form) -> Result<Response<Bytes>, Failure> {
        let key = place.key(&place.name);
        let found = self.collection(kind).and_then(|collection| collection.at(&key, view));
        match found {
            Some(object) => Ok(answer(200, form.of(object))),
            None => Err(Failure::not_found(kind, &place.name)),
        }
    }

    pub(super) fn list(
        &self,
        view: u64,
        place: &Place,
        kind: &Kind,
        query: &Query,
        form: Form,
    ) -> Result<Response<Bytes>, Failure> {
        let selector = Selector::read(kind, &query.field_selector, &query.label_selector)?;
        let limit = query.limit()?;
        let (version, start) = if query.next.is_empty() {
            (self.listed_version(view, query)?, String::new())
        } else {
            self.continued(view, query)?
        };
        let Some(collection) = self.collection(kind) else {
            return Err(Failure::not_found(kind, ""));
        };
        let page = page(collection, place, &selector, version, &start, limit);
        Ok(answer(200, listing(kind, form, version, &page)))
    }

    /// The version that a listing without a continue token shows.
    fn listed_version(&self, view: u64, query: &Query) -> Result<u64, Failure> {
        let text = &query.resource_version;
        if text.is_empty() {
            return Ok(view);
        }
        let wanted: u64 = text.parse().map_err(|_| {
            Failure::bad_request(format!(
                "invalid resource version: resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \
                 \"{text}\": invalid syntax"
            ))
        })?;
        if wanted > view {
            return Err(Failure::too_large(wanted, view));
        }
        if query.version_match != "Exact" {
            return Ok(view);
        }
        if self.is_compacted(wanted) {
            return Err(Failure::expired(wanted, self.compacted));
        }
        Ok(wanted)
    }

    /// What a continue token stands for: a version, and the key to go on from.
    fn continued(&self, view: u64, query: &Query) -> Result<(u64, String), Failure> {
        if !matches!(query.resource_version.as_str(), "" | "0") {
            return Err(Failure::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let (version, start) = token::read(&query.next).ok_or_else(|| {
            Failure::bad_request(
                "invalid continue token: continue key is not valid: illegal base64 data at input byte 0",
            )
        })?;
        match version {
            // The client took the offer to go on with what is there now.
            None => Ok((view, start)),
            Some(version) if self.is_compacted(version) => Err(Failure::continue_expired(token::write(None, &start))),
            Some(version) => Ok((version, start)),
        }
    }

    pub(super) fn watch(
        &self,
        view: u64,
        place: &Place,
        kind: &Arc<Kind>,
        query: &Query,
        form: Form,
    ) -> Result<Reply, Failure> {
        let mut selector = Selector::read(kind, &query.field_selector, &query.label_selector)?;
        if !place.name.is_empty() {
            selector = selector.and_name(&place.name);
        }
        let forbidden = |words: &str| {
            let cause = Cause {
                reason: "FieldValueForbidden",
                field: "resourceVersionMatch".to_owned(),
                message: format!("Forbidden: {words}"),
            };
            Failure::invalid_as("ListOptions", "meta.k8s.io", "", &[cause])
        };
        if query.initial_events && query.version_match != "NotOlderThan" {
            return Err(forbidden(
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if !query.initial_events && !query.version_match.is_empty() {
            return Err(forbidden(
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        let text = &query.resource_version;
        let wanted: u64 = if text.is_empty() {
            0
        } else {
            text.parse().map_err(|_| {
                Failure::internal(format!(
                    "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
                ))
            })?
        };
        let start = if wanted == 0 || query.initial_events {
            Start::Listing {
                version: view.max(wanted),
            }
        } else {
            Start::After(wanted)
        };
        if self.refuses_old_watches && matches!(start, Start::After(version) if self.is_compacted(version)) {
            return Err(Failure::expired(wanted, self.compacted));
        }
        let Some(collection) = self.collection(kind) else {
            return Err(Failure::not_found(kind, ""));
        };
        Ok(Reply::Watch(Watch::new(
            Arc::clone(kind),
            collection,
            place.namespace.clone(),
            selector,
            form,
            start,
            query.bookmarks,
            query.initial_events && query.bookmarks,
            query.timeout()?,
        )))
    }
}

/// One page of a listing.
struct Page<'a> {
    objects: Vec<&'a Arc<Object>>,
    /// Where the next page begins; empty after the last.
    next: String,
    /// How many more there are, where the server counts them.
    remaining: Option<usize>,
}

fn page<'a>(
    collection: &'a Collection,
    place: &Place,
    selector: &Selector,
    version: u64,
    start: &str,
    limit: Option<usize>,
) -> Page<'a> {
    // One name in one namespace is one key, so there is no next page.
    let only = selector
        .name()
        .filter(|_| !collection.kind.namespaced || !place.namespace.is_empty());
    let only = only.map(|name| place.key(name));
    let mut rest = collection
        .snapshot(start, version)
        .filter(|(key, object)| object.is_in(&place.namespace) && only.as_ref().is_none_or(|only| only == key));
    let mut page = Page {
        objects: Vec::new(),
        next: String::new(),
        remaining: None,
    };
    let mut last = "";
    while limit.is_none_or(|limit| page.objects.len() < limit) {
        let Some((key, object)) = rest.next() else { return page };
        last = key;
        if selector.matches(&object.value) {
            page.objects.push(object);
        }
    }
    let remaining = rest.count();
    if remaining > 0 {
        // The key after the last one.
        page.next = token::write(Some(version), &format!("{last}\0"));
        page.remaining = selector.is_empty().then_some(remaining);
    }
    page
}

fn listing(kind: &Kind, form: Form, version: u64, page: &Page<'_>) -> Bytes {
    let mut metadata = json!({"resourceVersion": version.to_string()});
    // A custom kind's listing has the field even where it is empty.
    if !page.next.is_empty() || kind.strategy == Strategy::Custom {
        metadata["continue"] = json!(page.next);
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    let (api_version, name) = match form {
        Form::Whole => (kind.api_version(), format!("{}List", kind.name)),
        Form::Metadata => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList".to_owned()),
    };
    let head = json!({"apiVersion": api_version, "kind": name, "metadata": metadata}).to_string();
    let mut text = Vec::with_capacity(head.len() + 1024 * page.objects.len());
    text.extend_from_slice(head.trim_end_matches('}').as_bytes());
    text.extend_from_slice(b"},\"items\":[");
    for (index, object) in page.objects.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        text.extend_from_slice(&item(kind, form, object));
    }
    text.extend_from_slice(b"]}");
    text.into()
}

/// An item of a built-in kind's list does not say again what it is.
fn item(kind: &Kind, form: Form, object: &Object) -> Bytes {
    if kind.strategy == Strategy::Custom || form == Form::Metadata {
        return form.of(object);
    }
    let mut value = (*object.value).clone();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    value.to_string().into()
}

/// Continue tokens. Clients must not read them; these are only as opaque as they need to be.
mod token {
    use std::fmt::Write as _;

    /// A token for the rest of a listing at that version, or at the newest one, from that key on.
    pub(super) fn write(version: Option<u64>, start: &str) -> String {
        let version = version.map_or_else(|| "now".to_owned(), |version| version.to_string());
        let mut token = format!("{version}-");
        for byte in start.bytes() {
            let _ = write!(token, "{byte:02x}");
        }
        token
    }

    /// Reads a token.
    pub(super) fn read(token: &str) -> Option<(Option<u64>, String)> {
        let (version, start) = token.split_once('-')?;
        let version = match version {
            "now" => None,
            version => Some(version.parse().ok()?),
        };
        let bytes: Option<Vec<u8>> = (0..start.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(start.get(at..at + 2)?, 16).ok())
            .collect();
        Some((version, String::from_utf8(bytes?).ok()?))
    }
}
