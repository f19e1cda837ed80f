//! Writing the Lease of a leader election. It is read by [`Cluster::get`].

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Resource, api::PostParams, core::Request};

use super::{Cluster, call::CallError, text::clean};

/// What came of writing a Lease.
#[derive(Clone, Debug, PartialEq)]
pub enum LeaseWrite {
    /// It is stored, as the server gave it back.
    Stored(Box<Lease>),
    /// Somebody else created, wrote or deleted it: nothing was stored.
    Overtaken,
    /// It was not stored, or it is not known whether it was; the text says why.
    Failed(String),
}

impl Cluster {
    /// Creates the Lease, which names its namespace.
    pub async fn create_lease(&self, lease: &Lease) -> LeaseWrite {
        let path = Lease::url_path(&(), lease.metadata.namespace.as_deref());
        let request = encode(lease).and_then(|body| {
            let request = Request::new(path).create(&PostParams::default(), body);
            request.map_err(|error| error.to_string())
        });
        self.write_lease(request, lease).await
    }

    /// Replaces the Lease by one PUT. Without a resourceVersion it would be unconditional and is refused here.
    pub async fn replace_lease(&self, lease: &Lease) -> LeaseWrite {
        let metadata = &lease.metadata;
        let (Some(name), Some(_)) = (&metadata.name, &metadata.resource_version) else {
            return LeaseWrite::Failed("the Lease has no name or resourceVersion".to_owned());
        };
        let path = Lease::url_path(&(), metadata.namespace.as_deref());
        let request = encode(lease).and_then(|body| {
            let request = Request::new(path).replace(name, &PostParams::default(), body);
            request.map_err(|error| error.to_string())
        });
        self.write_lease(request, lease).await
    }

    async fn write_lease(&self, request: Result<http::Request<Vec<u8>>, String>, lease: &Lease) -> LeaseWrite {
        let request = match request {
            Ok(request) => request,
            Err(why) => return LeaseWrite::Failed(clean(&why, 512)),
        };
        let name = lease.metadata.name.as_deref().unwrap_or_default();
        match self.call(request).await {
            Ok(stored) => match serde_json::from_slice(&stored) {
                Ok(stored) => LeaseWrite::Stored(Box::new(stored)),
                Err(error) => LeaseWrite::Failed(clean(&error.to_string(), 512)),
            },
            Err(CallError::Refused(refusal)) if refusal.code == 409 || refusal.is_absence_of(name) => {
                LeaseWrite::Overtaken
            }
            Err(error) => LeaseWrite::Failed(super::ReadError::from(error).to_string()),
        }
    }
}

fn encode(lease: &Lease) -> Result<Vec<u8>, String> {
    let mut body = lease.clone();
    // The server keeps its own when a request brings none.
    body.metadata.managed_fields = None;
    serde_json::to_vec(&body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::ObjectMeta};
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::{Answer, cluster};

    fn lease(version: Option<&str>) -> Lease {
        Lease {
            metadata: ObjectMeta {
                namespace: Some("system".to_owned()),
                name: Some("operator".to_owned()),
                resource_version: version.map(str::to_owned),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some("me/1".to_owned()),
                ..LeaseSpec::default()
            }),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_created_and_replaced_under_its_version() {
        let (cluster, log) = cluster(|asked| {
            let mut stored = asked.body.clone();
            stored["metadata"]["resourceVersion"] = json!("8");
            Answer::json(200, &stored)
        });
        for write in [
            cluster.create_lease(&lease(None)).await,
            cluster.replace_lease(&lease(Some("7"))).await,
        ] {
            let LeaseWrite::Stored(stored) = write else {
                panic!("{write:?}");
            };
            assert_eq!(*stored, lease(Some("8")));
        }
        assert!(matches!(
            cluster.replace_lease(&lease(None)).await,
            LeaseWrite::Failed(_)
        ));
        let log = log.lock().unwrap();
        let asked: Vec<_> = log
            .iter()
            .map(|asked| format!("{} {}", asked.method, asked.target.split('?').next().unwrap()))
            .collect();
        let leases = "/apis/coordination.k8s.io/v1/namespaces/system/leases";
        assert_eq!(asked, [format!("POST {leases}"), format!("PUT {leases}/operator")]);
        assert_eq!(log[1].body["metadata"]["resourceVersion"], "7");
    }

    #[rstest]
    #[case::conflict(409, "Conflict", true)]
    #[case::deleted(404, "NotFound", true)]
    #[case::forbidden(403, "Forbidden", false)]
    #[case::throttled(429, "TooManyRequests", false)]
    #[case::broken(500, "InternalError", false)]
    #[tokio::test(start_paused = true)]
    async fn only_the_servers_word_on_the_object_says_that_somebody_else_wrote(
        #[case] code: u16,
        #[case] reason: &'static str,
        #[case] overtaken: bool,
    ) {
        let (cluster, _) = cluster(move |_| Answer::status(code, reason, &json!({"name": "operator"})));
        let write = cluster.replace_lease(&lease(Some("7"))).await;
        assert_eq!(write == LeaseWrite::Overtaken, overtaken, "{write:?}");
    }
}
