//! A plain client of the vendor.

use reqwest::{Client, Error, Response};
use serde_json::{Value, json};
use simulator::{CLIENT_ID, CLIENT_SECRET, Options, Simulator};

pub(crate) const SCOPE: &str = "webchat:guest:manage webchat:guest:read conversation:messaging:read";

pub(crate) async fn start() -> Simulator {
    Simulator::start(Options::default()).await.unwrap()
}

/// Calls the vendor with a token of its own.
pub(crate) struct Caller {
    pub(crate) http: Client,
    pub(crate) url: String,
    pub(crate) token: String,
}

impl Caller {
    pub(crate) async fn of(simulator: &Simulator) -> Self {
        let http = client();
        let url = simulator.url().to_owned();
        let answer = token(&http, &url, CLIENT_ID, CLIENT_SECRET, SCOPE).await;
        assert_eq!(answer.status(), 200);
        let token = body(answer).await["access_token"].as_str().unwrap().to_owned();
        Self { http, url, token }
    }

    pub(crate) async fn observe(&self, guest: &str) -> Result<Response, Error> {
        let url = format!("{}/api/v2/webmessaging/guests/{guest}", self.url);
        self.http.get(url).bearer_auth(&self.token).send().await
    }

    pub(crate) async fn terminate(&self, guest: &str) -> Result<Response, Error> {
        self.terminate_with(guest, "reason=timeout&retainData=false").await
    }

    pub(crate) async fn terminate_with(&self, guest: &str, query: &str) -> Result<Response, Error> {
        let url = format!("{}/api/v2/webmessaging/guests/{guest}?{query}", self.url);
        self.http.delete(url).bearer_auth(&self.token).send().await
    }

    /// What a look tells: the state, or the status where there is none.
    pub(crate) async fn state(&self, guest: &str) -> String {
        let answer = self.observe(guest).await.unwrap();
        let status = answer.status();
        if status == 200 {
            body(answer).await["state"].as_str().unwrap().to_owned()
        } else {
            status.as_str().to_owned()
        }
    }
}

pub(crate) fn client() -> Client {
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

pub(crate) async fn token(http: &Client, url: &str, id: &str, secret: &str, scope: &str) -> Response {
    let request = json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret, "scope": scope});
    http.post(format!("{url}/oauth/token"))
        .json(&request)
        .send()
        .await
        .unwrap()
}

pub(crate) async fn body(answer: Response) -> Value {
    answer.json().await.unwrap()
}

/// A header as text; empty where there is none.
pub(crate) fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}
