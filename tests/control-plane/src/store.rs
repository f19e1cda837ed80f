//! What is asked of the store itself, through its JSON gateway (<https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/>).

use crate::control_plane::ControlPlane;
use crate::start;
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// A defragmentation of a small store takes well under a second; a busy machine takes longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

impl ControlPlane {
    /// Asks the store something, such as `/v3/kv/put`. Keys and values are base64. An error if it refuses, or does not
    /// answer within 30 s.
    pub async fn ask_etcd(&self, path: &str, question: &Value) -> anyhow::Result<Value> {
        let exchange = async {
            let mut stream = UnixStream::connect(start::socket_file(self.data_dir())).await?;
            let body = question.to_string();
            let request = format!(
                "POST {path} HTTP/1.0\r\nHost: etcd\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        let answer = tokio::time::timeout(ANSWER_WITHIN, exchange)
            .await
            .with_context(|| format!("etcd did not answer {path} within {ANSWER_WITHIN:?}"))?
            .with_context(|| format!("etcd cannot be asked {path}"))?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .with_context(|| format!("etcd answered {path} with no HTTP"))?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(status == "200", "etcd refused {path} ({status}): {}", body.trim());
        serde_json::from_str(body).with_context(|| format!("etcd answered {path} with no JSON"))
    }

    /// Forgets all old versions of the store, so that whoever watches or lists from one of them is told 410.
    pub async fn compact(&self) -> anyhow::Result<()> {
        let answer = self.ask_etcd("/v3/kv/range", &json!({"key": "AA=="})).await?;
        let revision = &answer["header"]["revision"];
        ensure!(revision.is_string(), "etcd told no revision: {answer}");
        let question = json!({"revision": revision, "physical": true});
        self.ask_etcd("/v3/kv/compaction", &question).await.map(drop)
    }
}
