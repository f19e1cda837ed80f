//! Fuzzing from a corpus: a property of bytes is held against every file of `tests/fuzz/corpus/<target>/`, and against
//! inputs that are made of those files by changing, moving, cutting and joining bytes. What breaks the property is made
//! small before it is shown; put into the corpus, it is tried for ever after.
//!
//! `FUZZ_CASES` says how many inputs are made for each target: few by default, millions by `make fuzz`. There is no
//! coverage to guide it, on purpose: cargo-fuzz wants a nightly toolchain, and bolero brings second versions of rand,
//! rand_core, hashbrown and a TOML parser of 2023 into a tree that holds one version of each.

use std::{fs, path::Path};

use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestCaseError, TestRunner},
};

/// Inputs for each target, where nothing else is said.
const CASES: u32 = 1_500;

/// What is done to an input, at some place in it.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index, usize),
    Repeat(Index, usize),
    /// The rest is another input's.
    Join(Index, Index, Index),
    /// A word that such inputs hold.
    Word(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    prop_oneof![
        1 => (place(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => (place(), 0u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        1 => (place(), proptest::collection::vec(any::<u8>(), 1..6)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (place(), 1usize..16).prop_map(|(at, length)| Change::Cut(at, length)),
        1 => (place(), 1usize..64).prop_map(|(at, length)| Change::Repeat(at, length)),
        1 => (place(), place(), place()).prop_map(|(at, input, from)| Change::Join(at, input, from)),
        3 => (place(), place()).prop_map(|(at, word)| Change::Word(at, word)),
    ]
}

impl Change {
    fn apply(&self, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
        let place = |at: &Index, input: &Vec<u8>| at.index(input.len() + 1);
        match self {
            Self::Set(at, byte) => {
                let at = place(at, input);
                match input.get_mut(at) {
                    Some(old) => *old = *byte,
                    None => input.push(*byte),
                }
            }
            Self::Flip(at, bit) => {
                let at = place(at, input);
                if let Some(old) = input.get_mut(at) {
                    *old ^= 1 << bit;
                }
            }
            Self::Insert(at, bytes) => {
                let at = place(at, input);
                input.splice(at..at, bytes.iter().copied());
            }
            Self::Cut(at, length) => {
                let at = place(at, input);
                input.drain(at..(at + length).min(input.len()));
            }
            Self::Repeat(at, length) => {
                let at = place(at, input);
                let piece = input[at..(at + length).min(input.len())].to_vec();
                input.splice(at..at, piece);
            }
            Self::Join(at, other, from) => {
                let other = &corpus[other.index(corpus.len())];
                input.truncate(place(at, input));
                input.extend(&other[from.index(other.len() + 1)..]);
            }
            Self::Word(at, word) if !words.is_empty() => {
                let at = place(at, input);
                input.splice(at..at, words[word.index(words.len())].bytes());
            }
            Self::Word(..) => {}
        }
    }
}

/// Holds `property` against the corpus of `target` and what is made of it with `words`. It fails by a panic.
pub(crate) fn fuzz(target: &str, words: &[&str], property: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(!corpus.is_empty(), "{} is empty", folder.display());
    for (file, input) in files.iter().zip(&corpus) {
        eprintln!("{}", file.display());
        property(input);
    }
    let cases = std::env::var("FUZZ_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    });
    let changes = (any::<Index>(), proptest::collection::vec(change(), 0..12));
    let run = runner.run(&changes, |(base, changes)| {
        let mut input = corpus[base.index(corpus.len())].clone();
        for change in &changes {
            change.apply(&mut input, &corpus, words);
        }
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| property(&input)));
        held.map_err(|panic| {
            let why = panic.downcast_ref::<String>().cloned();
            let why = why.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            TestCaseError::fail(format!("b\"{}\": {}", input.escape_ascii(), why.unwrap_or_default()))
        })
    });
    if let Err(broken) = run {
        panic!("{target}: {broken}");
    }
}
