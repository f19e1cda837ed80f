//! What the control plane gives to tests: users under RBAC, service accounts, kubectl, the audit log.

use control_plane::{AuditEvent, ControlPlane, Identity, run};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams};

/// Two service accounts, of which one may create ConfigMaps.
const WRITER: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: writer}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: nobody}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: writer}
rules:
- {apiGroups: [''], resources: [configmaps], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: writer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: writer}
subjects:
- {kind: ServiceAccount, name: writer}
";

fn config_map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

fn code(error: kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("no answer of the API server: {other}"),
    }
}

#[tokio::test]
async fn a_user_without_rules_is_refused_and_the_admin_is_not() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace("rbac").await.unwrap();
    let alice = control_plane.client(&Identity::user("alice")).await.unwrap();
    let refused = Api::<ConfigMap>::namespaced(alice, &namespace)
        .list(&ListParams::default())
        .await
        .unwrap_err();
    assert_eq!(code(refused), 403);
    let admin = control_plane.admin_client().await.unwrap();
    Api::<ConfigMap>::namespaced(admin, &namespace)
        .list(&ListParams::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_group_counts() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace("group").await.unwrap();
    let rights = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: readers}
rules:
- {apiGroups: [''], resources: [configmaps], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: readers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: readers}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: readers}
";
    control_plane.apply_yaml(rights, &namespace).await.unwrap();
    let bob = Identity::User {
        name: "bob".to_owned(),
        group: Some("readers".to_owned()),
    };
    control_plane
        .wait_until_allowed(&bob, "list", "", "configmaps", &namespace)
        .await
        .unwrap();
    let bob = Api::<ConfigMap>::namespaced(control_plane.client(&bob).await.unwrap(), &namespace);
    bob.list(&ListParams::default()).await.unwrap();
    assert_eq!(
        code(bob.create(&PostParams::default(), &config_map("x")).await.unwrap_err()),
        403
    );
}

#[tokio::test]
async fn an_unknown_token_is_refused() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let stranger = control_plane
        .client(&Identity::Token("made-up".to_owned()))
        .await
        .unwrap();
    let refused = Api::<ConfigMap>::namespaced(stranger, "default")
        .list(&ListParams::default())
        .await
        .unwrap_err();
    assert_eq!(code(refused), 401);
}

#[tokio::test]
async fn a_service_account_acts_under_its_role_and_the_audit_log_has_its_writes() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace("audit").await.unwrap();
    let applied = control_plane.apply_yaml(WRITER, &namespace).await.unwrap();
    assert_eq!(applied.lines().count(), 4, "{applied}");

    let user = format!("system:serviceaccount:{namespace}:writer");
    let writer = control_plane.service_account(&namespace, "writer").await.unwrap();
    control_plane
        .wait_until_allowed(&writer, "patch", "", "configmaps", &namespace)
        .await
        .unwrap();
    let before = control_plane.audit_position();
    let writer = Api::<ConfigMap>::namespaced(control_plane.client(&writer).await.unwrap(), &namespace);
    writer.create(&PostParams::default(), &config_map("one")).await.unwrap();
    writer
        .create(&PostParams::default(), &config_map("one"))
        .await
        .unwrap_err();
    let patch = Patch::Merge(serde_json::json!({ "data": { "key": "value" } }));
    writer.patch("one", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(code(writer.list(&ListParams::default()).await.unwrap_err()), 403);

    let seen = |events: Vec<AuditEvent>| -> Vec<(String, String, u16, bool)> {
        let of_writer = events.into_iter().filter(|event| event.user == user);
        of_writer
            .map(|event| (event.verb.clone(), event.name.clone(), event.code, event.is_write()))
            .collect()
    };
    let row = |verb: &str, name: &str, code, write| (verb.to_owned(), name.to_owned(), code, write);
    let expected = [
        row("create", "one", 201, true),
        row("create", "one", 409, true),
        row("patch", "one", 200, true),
        row("list", "", 403, false),
    ];
    assert_eq!(seen(control_plane.audit_events_since(before).unwrap()), expected);
    assert_eq!(
        seen(
            control_plane
                .audit_events_since(control_plane.audit_position())
                .unwrap()
        ),
        []
    );

    let all = control_plane.audit_events().unwrap();
    let token = all
        .iter()
        .find(|event| event.subresource == "token" && event.namespace == namespace)
        .unwrap();
    assert_eq!(
        (token.user.as_str(), token.resource.as_str(), token.name.as_str()),
        ("admin", "serviceaccounts", "writer")
    );
    let role = all
        .iter()
        .find(|event| event.resource == "roles" && event.namespace == namespace)
        .unwrap();
    assert_eq!(role.group, "rbac.authorization.k8s.io");
}

#[tokio::test]
async fn kubectl_speaks_for_whom_its_kubeconfig_names() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace("kubectl").await.unwrap();
    control_plane.apply_yaml(WRITER, &namespace).await.unwrap();
    let nobody = control_plane.service_account(&namespace, "nobody").await.unwrap();
    let kubeconfig = control_plane.kubeconfig(&nobody, &namespace).unwrap();

    let mut who = control_plane.kubectl_with(&kubeconfig);
    let who = run(who.args(["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]))
        .await
        .unwrap();
    assert_eq!(who, format!("system:serviceaccount:{namespace}:nobody"));
    let mut create = control_plane.kubectl_with(&kubeconfig);
    let refused = run(create.args(["create", "configmap", "mine"]))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("forbidden") && refused.contains(&namespace),
        "{refused}"
    );

    let mut version = control_plane.kubectl();
    let version = run(version.args(["version", "-o", "json"])).await.unwrap();
    let version: serde_json::Value = serde_json::from_str(&version).unwrap();
    assert!(
        version["serverVersion"]["gitVersion"]
            .as_str()
            .unwrap()
            .starts_with("v1."),
        "{version}"
    );
    assert!(
        version["clientVersion"]["gitVersion"]
            .as_str()
            .unwrap()
            .starts_with("v1."),
        "{version}"
    );
}

#[tokio::test]
async fn yaml_that_the_server_refuses_is_an_error_in_its_words() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let wrong = "{apiVersion: v1, kind: ConfigMap, metadata: {name: 'Not a name'}}";
    let refused = control_plane
        .apply_yaml(wrong, "default")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("Not a name") && refused.contains("Invalid value"),
        "{refused}"
    );
}

#[tokio::test]
async fn secrets_are_not_shown() {
    assert_eq!(
        format!("{:?}", Identity::Token("s3cret".to_owned())),
        "Token([redacted])"
    );
    let shown = format!("{:?}", ControlPlane::shared().await.unwrap());
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");
}
