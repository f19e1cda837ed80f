//! The simulator as a program.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::caller::{SCOPE, client, token};

/// Killed when the test ends, however it ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have stopped by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn it_says_where_it_listens_and_stops_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let child = Command::new(env!("CARGO_BIN_EXE_simulator"))
        .args([
            "--listen",
            "127.0.0.1:0",
            "--seed",
            "7",
            "--client",
            "demo:a:b",
            "--expires-in",
            "600",
        ])
        .args([
            "--requests-per-minute",
            "240",
            "--webhook",
            "analytics=whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        ])
        .arg("--ready-file")
        .arg(&ready)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut process = Process(child);
    let stdout = process.0.stdout.take().unwrap();
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let url = line.trim_end().strip_prefix("listening on ").unwrap().to_owned();
    for _ in 0..100 {
        if ready.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(std::fs::read_to_string(&ready).unwrap(), url);

    let http = client();
    let answer: serde_json::Value = token(&http, &url, "demo", "a:b", SCOPE).await.json().await.unwrap();
    assert_eq!(answer["expires_in"], 600);
    assert_eq!(
        token(&http, &url, simulator::CLIENT_ID, simulator::CLIENT_SECRET, SCOPE)
            .await
            .status(),
        400
    );
    let settings: serde_json::Value = http
        .get(format!("{url}/_control/settings"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(settings["requests_per_minute"], 240);
    let webhook = http
        .post(format!("{url}/webhooks/analytics"))
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(webhook.status(), 401, "the endpoint is there, and asks for a signature");

    assert!(
        Command::new("kill")
            .arg(process.0.id().to_string())
            .status()
            .unwrap()
            .success()
    );
    for _ in 0..100 {
        if let Some(status) = process.0.try_wait().unwrap() {
            assert!(status.success());
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not stop on SIGTERM");
}
