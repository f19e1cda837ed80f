//! The definitions of the kinds, as they are installed in a cluster.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt as _;

use super::{GenesysConnection, GuestTermination};

/// The definitions of all kinds. Install these, not `GuestTermination::crd()`: that one lets `status: null` stand.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![GuestTermination::crd(), GenesysConnection::crd()];
    let schemas = crds
        .iter_mut()
        .flat_map(|crd| &mut crd.spec.versions)
        .filter_map(|version| version.schema.as_mut())
        .filter_map(|schema| schema.open_api_v3_schema.as_mut());
    schemas.for_each(refuse_null);
    crds
}

/// Takes `nullable` out of a schema and everything in it: the server then reads a `null` as an absent field and gives
/// it the field's default, so that no rule and no promise can be nulled away.
fn refuse_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
        .for_each(refuse_null);
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => refuse_null(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(refuse_null),
        None => {}
    }
}
