//! The three cores are pure: no clock, no randomness, no client, no runtime, no map with a random order. Their sources are
//! read, and every path in them must be one that is allowed.

// `cfg(test)` is always true here. It tells clippy that helpers, too, may end a test by `unwrap`.
#[cfg(test)]
mod purity {
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    /// Where a path may begin, and no further than that it may lead anywhere.
    const ALLOWED: &[&str] = &[
        // Names of lints.
        "clippy",
        "std::cmp",
        "std::collections::BTreeMap",
        "std::collections::BTreeSet",
        "std::collections::VecDeque",
        "std::error::Error",
        "std::fmt",
        "std::iter",
        "std::mem",
        "std::ops",
        "std::sync::Arc",
        "std::time::Duration",
        "k8s_openapi::api::coordination::v1",
        "k8s_openapi::apimachinery::pkg::apis::meta::v1",
        "k8s_openapi::jiff::SignedDuration",
        "k8s_openapi::jiff::Timestamp",
        "serde_json::Map",
        "serde_json::Value",
        "serde_json::json",
        "crate::api",
        // Data alone.
        "crate::clock::Reading",
        "crate::leadership",
        "crate::schedule",
        "crate::termination",
    ];
    /// Types whose associated functions need no import.
    const PRIMITIVES: &[&str] = &[
        "bool", "char", "f64", "i32", "i64", "str", "u16", "u32", "u64", "u8", "usize",
    ];
    /// Words that no pure core needs, however they come in.
    const FORBIDDEN: &[&str] = &[
        "HashMap",
        "HashSet",
        "Instant",
        "Once",
        "OnceLock",
        "RandomState",
        "RefCell",
        "SystemTime",
        "Zoned",
        "async",
        "await",
        "dbg",
        "env",
        "extern",
        "include_str",
        "print",
        "println",
        "static",
        "thread_local",
        "unsafe",
    ];

    /// The sources below a folder, without the tests.
    fn sources(folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            match (name.starts_with("tests"), path.is_dir()) {
                (true, _) => {}
                (false, true) => found.extend(sources(&path)),
                (false, false) => found.push(path),
            }
        }
        found
    }

    #[test]
    fn the_cores_are_pure() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut read = 0;
        for core in ["termination", "schedule", "leadership"] {
            for path in sources(&root.join(core)) {
                let source = fs::read_to_string(&path).unwrap();
                assert_eq!(
                    impurities(&source, path.ends_with("mod.rs")),
                    Vec::<String>::new(),
                    "{}",
                    path.display()
                );
                read += 1;
            }
        }
        assert!(read >= 15, "only {read} files were found");
    }

    #[test]
    fn what_is_impure_is_found() {
        for source in [
            "use std::time::Instant;",
            "use std::{collections::{BTreeMap, HashMap}, fmt};",
            "use tokio::time::sleep;",
            "use std::time as clock; fn f() { clock::Instant::now(); }",
            "use std::*;",
            "use k8s_openapi::jiff::Timestamp; fn f() { Timestamp::now(); }",
            "use k8s_openapi::jiff;",
            "fn f() { let x = std::env::var(\"A\"); }",
            "fn f() { rand::random::<u8>(); }",
            "fn f() { kube::Client::try_default(); }",
            "use crate::clock::Clock;",
            "use super::super::clock;",
            "fn f() { crate::transport::send(); }",
            "static COUNTER: u8 = 0;",
            "async fn f() {}",
        ] {
            assert_ne!(impurities(source, false), Vec::<String>::new(), "{source}");
        }
        assert_ne!(
            impurities("use super::clock;", true),
            Vec::<String>::new(),
            "the crate is above a core"
        );
        for source in [
            "use std::{collections::BTreeMap, fmt::{self, Debug}}; fn f() { fmt::format(); u32::from(1u8); }",
            "use super::{answer::Answer, instants}; fn f() { instants::later(); super::phase::of(); Answer::new(); }",
            "// use tokio::time;\nfn f() -> &'static str { \"tokio::spawn now\" }",
            "fn f() {}\n#[cfg(test)]\nmod tests { use proptest::prelude::*; }",
        ] {
            assert_eq!(impurities(source, false), Vec::<String>::new(), "{source}");
        }
    }

    /// What a source file of a core may not hold. `top`: it is the core's `mod.rs`, above which is the crate.
    fn impurities(source: &str, top: bool) -> Vec<String> {
        let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let tokens = tokens(source);
        let mut found = Vec::new();
        let mut imported = BTreeSet::new();
        let mut paths = Vec::new();
        let mut index = 0;
        while index < tokens.len() {
            if tokens[index] == "use" {
                let end = (index..tokens.len())
                    .find(|end| tokens[*end] == ";")
                    .unwrap_or(tokens.len());
                let mut tree = tokens[index + 1..end].iter().map(String::as_str).peekable();
                let mut used = Vec::new();
                expand(&mut tree, &mut Vec::new(), &mut used);
                for path in used {
                    let mut path = path;
                    if path.last().is_some_and(|last| last == "self") {
                        path.pop();
                    }
                    imported.extend(path.last().cloned());
                    paths.push((true, path));
                }
                index = end;
            } else if tokens.get(index + 1).is_some_and(|next| next == "::") && is_word(&tokens[index]) {
                let mut path = vec![tokens[index].clone()];
                while tokens.get(index + 1).is_some_and(|next| next == "::")
                    && tokens.get(index + 2).is_some_and(|next| is_word(next))
                {
                    path.push(tokens[index + 2].clone());
                    index += 2;
                }
                paths.push((false, path));
            } else if FORBIDDEN.contains(&tokens[index].as_str()) {
                found.push(tokens[index].clone());
            }
            index += 1;
        }
        for (import, path) in paths {
            let root = path[0].as_str();
            let local = !import
                && (root.starts_with(char::is_uppercase) || imported.contains(root) || PRIMITIVES.contains(&root));
            let above = root == "super" && !top && path.get(1).is_some_and(|next| next != "super" && next != "*");
            let full = path.join("::");
            let allowed = ALLOWED
                .iter()
                .any(|allowed| full == *allowed || full.starts_with(&format!("{allowed}::")));
            let words = path
                .iter()
                .any(|word| FORBIDDEN.contains(&word.as_str()) || word == "*" || word == "now");
            if words || !(local || above || allowed) {
                found.push(full);
            }
        }
        found
    }

    /// Every path that a tree of imports names.
    fn expand<'a>(
        tree: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
        prefix: &mut Vec<String>,
        paths: &mut Vec<Vec<String>>,
    ) {
        let depth = prefix.len();
        while let Some(token) = tree.next() {
            match token {
                "::" => {}
                "{" => {
                    while tree.peek().is_some_and(|token| *token != "}") {
                        expand(tree, prefix, paths);
                        if tree.peek() == Some(&",") {
                            tree.next();
                        }
                    }
                    tree.next();
                    prefix.truncate(depth);
                    return;
                }
                // Another name is the name under which it is looked for below.
                "as" => {}
                word => prefix.push(word.to_owned()),
            }
            if tree.peek().is_none_or(|next| matches!(*next, "," | "}")) {
                paths.push(prefix.clone());
                prefix.truncate(depth);
                return;
            }
        }
    }

    fn is_word(token: &str) -> bool {
        token.starts_with(|first: char| first.is_alphanumeric() || first == '_')
    }

    /// Words, `::` and single signs; without comments, texts, characters and lifetimes.
    fn tokens(source: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        let mut rest = source;
        while let Some(first) = rest.chars().next() {
            let length = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if first == '"' {
                let mut escaped = false;
                let end = rest.char_indices().skip(1).find(|(_, sign)| {
                    let ends = *sign == '"' && !escaped;
                    escaped = *sign == '\\' && !escaped;
                    ends
                });
                end.map_or(rest.len(), |(end, _)| end + 1)
            } else if first == '\'' {
                // A character, or a lifetime.
                let end = if rest[1..].starts_with('\\') {
                    3
                } else {
                    1 + rest[1..].chars().next().map_or(0, char::len_utf8)
                };
                if rest[end..].starts_with('\'') {
                    end + 1
                } else {
                    1 + word_length(&rest[1..])
                }
            } else if let length @ 1.. = word_length(rest) {
                tokens.push(rest[..length].to_owned());
                length
            } else if rest.starts_with("::") {
                tokens.push("::".to_owned());
                2
            } else {
                if !first.is_whitespace() {
                    tokens.push(first.to_string());
                }
                first.len_utf8()
            };
            rest = &rest[length..];
        }
        tokens
    }

    fn word_length(text: &str) -> usize {
        text.find(|sign: char| !(sign.is_alphanumeric() || sign == '_'))
            .unwrap_or(text.len())
    }
}
