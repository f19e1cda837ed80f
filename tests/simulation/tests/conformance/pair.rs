//! The real server and the model, asked the same.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use control_plane::ControlPlane;
use futures::StreamExt as _;
use guest_termination_operator::api::crds;
use http::Request;
use http_body_util::{BodyExt, BodyStream};
use k8s_openapi::{apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition, jiff::Timestamp};
use kube::{Api, Client, ResourceExt as _, api::PostParams, client::Body};
use serde_json::Value;
use simulation::apiserver::{
    ApiServer, Reply, Watch,
    requests::{self, Resource},
};
use tokio::sync::OnceCell;

use crate::compare::{self, Names};

/// How long the real server may take to tell an event.
const PATIENCE: Duration = Duration::from_secs(30);

/// What one server said of the objects so far.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    names: Names,
    objects: BTreeMap<String, Vec<Value>>,
    next: Option<String>,
}

impl Memory {
    /// The last versions of an object, newest first: `back` 0 is the newest. As the operator sends them, without managed
    /// fields.
    pub(crate) fn object(&self, name: &str, back: usize) -> Option<&Value> {
        self.objects.get(name)?.iter().rev().nth(back)
    }

    /// Where the last listing goes on.
    pub(crate) fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }

    /// Takes out where the last listing goes on, so that another request can come between.
    pub(crate) fn take_next(&mut self) -> Option<String> {
        self.next.take()
    }

    /// Puts it back.
    pub(crate) fn go_on_from(&mut self, token: Option<String>) {
        self.next = token;
    }

    fn hear(&mut self, code: u16, body: &[u8]) -> Value {
        let list: Value = serde_json::from_slice(body).unwrap_or_default();
        let next = list["metadata"]["continue"].as_str();
        self.next = next.filter(|token| !token.is_empty()).map(str::to_owned);
        if let Ok(mut object) = serde_json::from_slice::<Value>(body)
            && (200..300).contains(&code)
            && let Some(name) = object["metadata"]["name"].as_str().map(str::to_owned)
        {
            object["metadata"].as_object_mut().unwrap().remove("managedFields");
            let versions = self.objects.entry(name).or_default();
            if versions.last() != Some(&object) {
                versions.push(object);
            }
        }
        compare::answer(&mut self.names, code, body)
    }

    /// Forgets the objects, not the names.
    pub(crate) fn forget(&mut self) {
        self.objects.clear();
        self.next = None;
    }
}

/// A watch at both servers.
pub(crate) struct Watches {
    what: String,
    real: BodyStream<Body>,
    rest: Vec<u8>,
    model: Watch,
    real_names: Names,
    model_names: Names,
}

/// Both servers.
pub(crate) struct Pair {
    pub(crate) client: Client,
    pub(crate) model: ApiServer,
    pub(crate) real_memory: Memory,
    pub(crate) model_memory: Memory,
    /// What was asked, and the real server's code, for whoever looks for a difference's cause.
    pub(crate) log: Vec<String>,
    /// How often the real server's cache was behind: see [`Pair::is_late_repetition`].
    pub(crate) late_repetitions: usize,
    /// How many answers were compared.
    pub(crate) answers: usize,
    /// How many events were compared.
    pub(crate) events: usize,
}

impl Pair {
    /// The real server of this process and a new model, with a namespace of that name at both.
    pub(crate) async fn new(namespace: &str) -> Self {
        let mut pair = Self {
            client: cluster().await.admin_client().await.unwrap(),
            model: ApiServer::new(now(), &[]),
            real_memory: Memory::default(),
            model_memory: Memory::default(),
            log: Vec::new(),
            late_repetitions: 0,
            answers: 0,
            events: 0,
        };
        let body = serde_json::json!({"metadata": {"name": namespace}});
        pair.ask(&requests::create(&requests::NAMESPACES, "", &body))
            .await
            .unwrap();
        pair
    }

    /// Sends a request to both.
    pub(crate) async fn ask(&mut self, request: &Request<Bytes>) -> Result<Value, String> {
        self.ask_each(|_| request.clone()).await
    }

    /// Sends a request to both, made of what each said before. `Err` tells how the answers differ.
    pub(crate) async fn ask_each(&mut self, request: impl Fn(&Memory) -> Request<Bytes>) -> Result<Value, String> {
        let real = request(&self.real_memory);
        let model = request(&self.model_memory);
        let (code, body) = self.send(&real).await;
        self.log.push(format!("{code}: {}", line(&real)));
        let expected = self.real_memory.hear(code, &body);
        let Reply::Answer(answer) = self.model.handle(now(), None, &model) else {
            return Err(format!("{} is a watch to the model", line(&model)));
        };
        let said = self.model_memory.hear(answer.status().as_u16(), answer.body());
        self.answers += 1;
        let compared = differ(&line(&real), &expected, &said);
        if compared.is_err() && self.is_late_repetition(&model, &expected, &said) {
            self.late_repetitions += 1;
            return Ok(expected);
        }
        compared?;
        Ok(expected)
    }

    /// Whether the real server took a PUT with an old version because it would change nothing.
    ///
    /// It compares the version with its cache, which can be some milliseconds behind; then it finds that etcd holds
    /// exactly what is to be written, and answers with that. The model, which has no such cache, says 409.
    fn is_late_repetition(&mut self, request: &Request<Bytes>, real: &Value, model: &Value) -> bool {
        if request.method() != http::Method::PUT || real["code"] != 200 || model["body"]["reason"] != "Conflict" {
            return false;
        }
        let path = request.uri().path();
        let get = Request::get(path.trim_end_matches("/status"))
            .body(Bytes::new())
            .unwrap();
        let Reply::Answer(answer) = self.model.handle(now(), None, &get) else {
            return false;
        };
        self.model_memory.hear(answer.status().as_u16(), answer.body()) == *real
    }

    pub(crate) async fn send(&self, request: &Request<Bytes>) -> (u16, Bytes) {
        let response = self.open(request).await;
        let code = response.status().as_u16();
        (code, response.into_body().collect().await.unwrap().to_bytes())
    }

    /// A server that is not ready for a new kind says 429.
    async fn open(&self, request: &Request<Bytes>) -> http::Response<Body> {
        loop {
            let sent = request.clone().map(|body| Body::from(body.to_vec()));
            let response = self.client.send(sent).await.unwrap();
            if response.status() != 429 {
                return response;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts a watch at both, from a version that each told, or from what there is.
    pub(crate) async fn watch(
        &mut self,
        resource: &Resource,
        namespace: &str,
        parameters: &[(&str, &str)],
        from: impl Fn(&Memory) -> Option<String>,
    ) -> Watches {
        let request = |memory: &Memory| {
            let version = from(memory);
            let mut all = vec![("watch", "true")];
            all.extend(parameters);
            if let Some(version) = &version {
                all.push(("resourceVersion", version));
            }
            requests::list(resource, namespace, &all)
        };
        let real = request(&self.real_memory);
        let response = self.open(&real).await;
        assert_eq!(response.status(), 200, "{}", line(&real));
        let Reply::Watch(model) = self.model.handle(now(), None, &request(&self.model_memory)) else {
            panic!("{} is no watch to the model", line(&real));
        };
        Watches {
            what: line(&real),
            real: BodyStream::new(response.into_body()),
            rest: Vec::new(),
            model,
            real_names: Names::default(),
            model_names: Names::default(),
        }
    }

    /// How many lines the model tells its watch now.
    pub(crate) fn told_by_the_model(&self, watches: &mut Watches) -> usize {
        watches.model.next_lines(&self.model, self.model.version()).len()
    }

    /// Reads from the real watch as much as the model's was told, and compares.
    pub(crate) async fn compare_events(&mut self, watches: &mut Watches) -> Result<(), String> {
        let lines = watches.model.next_lines(&self.model, self.model.version());
        for (index, line) in lines.iter().enumerate() {
            let said = compare::event(&mut watches.model_names, line);
            let Some(real) = watches.next_line().await else {
                return Err(format!("{}: event {index} is not told: {said:#}", watches.what));
            };
            let expected = compare::event(&mut watches.real_names, &real);
            self.events += 1;
            differ(&format!("{}: event {index}", watches.what), &expected, &said)?;
        }
        Ok(())
    }
}

impl Watches {
    /// The next line of the real watch; `None` at its end, or when it is silent.
    pub(crate) async fn next_line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(line);
            }
            let frame = tokio::time::timeout(PATIENCE, self.real.next()).await.ok()??;
            self.rest.extend_from_slice(frame.unwrap().data_ref()?);
        }
    }

    /// Whether the model has ended its watch.
    pub(crate) fn model_has_ended(&self) -> bool {
        self.model.has_ended()
    }
}

/// `Err` tells what only one of the two has.
fn differ(what: &str, real: &Value, model: &Value) -> Result<(), String> {
    if real == model {
        return Ok(());
    }
    let (real, model) = (format!("{real:#}"), format!("{model:#}"));
    let only = |one: &str, other: &str| {
        let lines = one.lines().filter(|line| !other.lines().any(|known| known == *line));
        lines.map(|line| format!("\n    {}", line.trim())).collect::<String>()
    };
    Err(format!(
        "{what}\n  the real server alone:{}\n  the model alone:{}",
        only(&real, &model),
        only(&model, &real)
    ))
}

fn line(request: &Request<Bytes>) -> String {
    let body = String::from_utf8_lossy(request.body());
    format!("{} {} {body}", request.method(), request.uri())
}

/// The model's time: it is not compared.
pub(crate) fn now() -> Timestamp {
    "2026-03-01T10:00:00Z".parse().unwrap()
}

/// The real server of this process, with the kinds installed.
pub(crate) async fn cluster() -> &'static ControlPlane {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let cluster = ControlPlane::shared().await.unwrap();
    let install = || async {
        let client = cluster.admin_client().await.unwrap();
        let api: Api<CustomResourceDefinition> = Api::all(client);
        for crd in crds() {
            api.create(&PostParams::default(), &crd).await.unwrap();
            wait_until_established(&api, &crd.name_any()).await;
        }
    };
    INSTALLED.get_or_init(install).await;
    cluster
}

/// Waits until a definition is served.
pub(crate) async fn wait_until_established(api: &Api<CustomResourceDefinition>, name: &str) {
    let established = kube::runtime::conditions::is_crd_established();
    let waited = kube::runtime::wait::await_condition(api.clone(), name, established);
    tokio::time::timeout(Duration::from_secs(60), waited)
        .await
        .unwrap()
        .unwrap();
}
