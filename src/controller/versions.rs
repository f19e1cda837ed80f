//! Which of two versions of an object is the newer one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// A resourceVersion as a number. Versions of one kind on one server are decimal and ordered (KEP-5504).
pub(super) fn version(metadata: &ObjectMeta) -> Option<u64> {
    metadata.resource_version.as_deref()?.parse().ok()
}

/// Whether one version of an object is newer than another. What is no number is taken for news.
pub(super) fn is_newer(metadata: &ObjectMeta, than: &ObjectMeta) -> bool {
    match (version(metadata), version(than)) {
        (Some(version), Some(than)) => version > than,
        _ => true,
    }
}
