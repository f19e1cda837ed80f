//! Reading one object by its name.

use k8s_openapi::NamespaceResourceScope;
use kube::{
    Resource,
    api::GetParams,
    core::{Request, request},
};
use serde::de::DeserializeOwned;

use super::{
    Cluster, ReadError,
    call::CallError,
    text::{clean, is_object_name},
};

impl Cluster {
    /// Reads the object as it is in etcd now, not as some cache had it.
    ///
    /// `None`: the server says that there is no such object. A 404 that does not name the object, from a proxy or
    /// because the kind is not served (yet), is [`ReadError::Refused`].
    pub async fn get<K>(&self, namespace: &str, name: &str) -> Result<Option<K>, ReadError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned,
    {
        if !is_object_name(name) || !is_object_name(namespace) {
            return Ok(None);
        }
        let request = Request::new(K::url_path(&(), Some(namespace)))
            .get(name, &GetParams::default())
            .map_err(|error| unsendable(&error))?;
        match self.call(request).await {
            Ok(body) => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|error| ReadError::Undecodable(clean(&error.to_string(), 512))),
            Err(CallError::Refused(refusal)) if refusal.is_absence_of(name) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A request that could not even be built.
pub(super) fn unsendable(error: &request::Error) -> ReadError {
    ReadError::Refused {
        code: 400,
        message: clean(&error.to_string(), 512),
    }
}
