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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        api::{GenesysConnection, GuestTermination},
        cluster::testing::{Answer, cluster, termination, termination_json},
    };

    #[tokio::test(start_paused = true)]
    async fn reads_from_etcd_and_not_from_a_cache() {
        let (cluster, log) = cluster(|_| Answer::json(200, &termination_json("a", "7")));
        let object: GuestTermination = cluster.get("care", "a").await.unwrap().unwrap();
        assert_eq!(object.spec, termination("a", "7").spec);
        let target = log.lock().unwrap()[0].target.clone();
        assert_eq!(
            target,
            "/apis/guestops.dev/v1alpha1/namespaces/care/guestterminations/a"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_servers_word_about_the_object_is_absence() {
        let (cluster, _) = cluster(|asked| match asked.target.rsplit('/').next() {
            Some("gone") => Answer::status(404, "NotFound", &json!({"name": "gone"})),
            _ => Answer::text(404, "404 page not found"),
        });
        assert!(matches!(
            cluster.get::<GuestTermination>("care", "gone").await,
            Ok(None)
        ));
        let other = cluster.get::<GuestTermination>("care", "other").await;
        assert!(matches!(other, Err(ReadError::Refused { code: 404, .. })), "{other:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_would_leave_its_place_is_never_sent() {
        let (cluster, log) = cluster(|_| Answer::json(200, &termination_json("a", "7")));
        for name in ["../secrets/genesys", "a/status", "a?watch=true", ""] {
            assert!(
                matches!(cluster.get::<GenesysConnection>("care", name).await, Ok(None)),
                "{name}"
            );
        }
        assert!(log.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_of_another_shape_says_where() {
        let (cluster, _) = cluster(|_| {
            let mut object = termination_json("a", "7");
            object["spec"]["reason"] = json!("because");
            Answer::json(200, &object)
        });
        let result = cluster.get::<GuestTermination>("care", "a").await;
        assert!(
            matches!(&result, Err(ReadError::Undecodable(why)) if why.contains("because")),
            "{result:?}"
        );
    }
}
