//! Copies the operator's sources and plants the bugs in them: each of `../bugs` replaces one or more places, and each
//! replacement asks its own switch. What cannot be planted any more fails the build, so that no bug rots unseen.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write,
    fs,
    ops::Range,
    path::{Path, PathBuf},
    process::ExitCode,
};

const SOURCES: &str = "../../../src";
const BUGS: &str = "../bugs";
/// Stands in a replacement that asks the switch itself.
const SWITCH: &str = "BUG";

/// One place that a bug replaces.
struct Change {
    file: String,
    right: String,
    wrong: String,
}

/// One file of `../bugs`.
struct Bug {
    name: String,
    title: String,
    fields: BTreeMap<String, String>,
    changes: Vec<Change>,
}

/// Where a change goes, and whose it is.
type Place<'a> = (Range<usize>, &'a Bug, &'a Change);

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed={SOURCES}");
    println!("cargo:rerun-if-changed={BUGS}");
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|_| "cargo sets OUT_DIR")?);
    let mut bugs = Vec::new();
    for path in files(Path::new(BUGS))? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let bug = parse(&name, &read(&path)?).map_err(|why| format!("bug {name}: {why}"))?;
        bugs.push(bug);
    }
    let mut sources = BTreeMap::new();
    for path in files(Path::new(SOURCES))? {
        let name = path
            .strip_prefix(SOURCES)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        sources.insert(format!("src/{name}"), read(&path)?);
    }
    plant(&bugs, &mut sources)?;
    if let Some(root) = sources.get_mut("src/lib.rs") {
        // What is included cannot carry attributes and documentation of the whole crate.
        let inner = |line: &&str| !line.starts_with("//!") && !line.starts_with("#![");
        *root = root.lines().filter(inner).collect::<Vec<_>>().join("\n");
    }
    let failed = |error: std::io::Error| format!("{}: {error}", out.display());
    if out.join("src").exists() {
        fs::remove_dir_all(out.join("src")).map_err(failed)?;
    }
    for (name, text) in sources {
        let path = out.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&out)).map_err(failed)?;
        // The sources' own tests stay where they are; `--all-targets` asks for them all the same.
        fs::write(path, text.replace("cfg(test)", "cfg(any())")).map_err(failed)?;
    }
    fs::write(out.join("bugs.rs"), table(&bugs)).map_err(failed)
}

/// Reads a bug: a title, `- field: value` lines, and for each change a line that names the file in backticks, a block
/// with the right text and a block with the wrong one.
fn parse(name: &str, text: &str) -> Result<Bug, String> {
    let mut bug = Bug {
        name: name.to_owned(),
        title: String::new(),
        fields: BTreeMap::new(),
        changes: Vec::new(),
    };
    let (mut file, mut block, mut blocks) = (None, None::<String>, Vec::new());
    for line in text.lines() {
        match (&mut block, line) {
            (Some(_), "```") => blocks.extend(block.take()),
            (Some(code), line) => {
                code.push_str(line);
                code.push('\n');
            }
            (None, line) if line.starts_with("```") => block = Some(String::new()),
            (None, line) => {
                if let Some(title) = line.strip_prefix("# ") {
                    title.clone_into(&mut bug.title);
                } else if let Some((field, value)) = line.strip_prefix("- ").and_then(|line| line.split_once(": ")) {
                    bug.fields.insert(field.to_owned(), value.to_owned());
                } else if let Some(path) = line.split('`').find(|part| part.starts_with("src/")) {
                    file = Some(path.to_owned());
                }
            }
        }
        if let [right, wrong] = blocks.as_slice() {
            let file = file
                .clone()
                .ok_or("a block of code comes before the name of its file")?;
            bug.changes.push(Change {
                file,
                right: right.clone(),
                wrong: wrong.clone(),
            });
            blocks.clear();
        }
    }
    if bug.title.is_empty() || bug.changes.is_empty() || !blocks.is_empty() || block.is_some() {
        return Err("it must have a title, and a right and a wrong block for each change".to_owned());
    }
    Ok(bug)
}

/// Replaces every change's right text by both texts and the switch between them.
fn plant(bugs: &[Bug], sources: &mut BTreeMap<String, String>) -> Result<(), String> {
    let mut places: BTreeMap<&str, Vec<Place<'_>>> = BTreeMap::new();
    let mut lost = Vec::new();
    for (bug, change) in bugs
        .iter()
        .flat_map(|bug| bug.changes.iter().map(move |change| (bug, change)))
    {
        let (name, file) = (&bug.name, &change.file);
        let source = sources.get(file).ok_or(format!("bug {name}: there is no {file}"))?;
        match occurrences(source, &change.right).as_slice() {
            [one] => places.entry(file).or_default().push((one.clone(), bug, change)),
            many => {
                let (times, right) = (many.len(), &change.right);
                lost.push(format!("bug {name}: {times} times instead of once in {file}:\n{right}"));
            }
        }
    }
    if !lost.is_empty() {
        return Err(lost.join("\n"));
    }
    for (file, mut places) in places {
        places.sort_by_key(|(range, ..)| range.start);
        if let Some([(_, one, _), (_, other, _)]) = places
            .array_windows()
            .find(|[(one, ..), (other, ..)]| other.start < one.end && other != one)
        {
            return Err(format!("bugs {} and {} overlap in {file}", one.name, other.name));
        }
        let Some(source) = sources.get_mut(file) else { continue };
        for same in places.chunk_by(|(one, ..), (other, ..)| one == other).rev() {
            let Some((range, ..)) = same.first() else { continue };
            let planted = switched(&source[range.clone()], same)?;
            source.replace_range(range.clone(), &planted);
        }
    }
    Ok(())
}

/// The text of a place: the right one unless a switch is on.
fn switched(right: &str, bugs: &[Place<'_>]) -> Result<String, String> {
    let mut text = String::new();
    for (_, bug, change) in bugs {
        let is = format!("crate::planted::is({:?})", bug.name);
        if change.wrong.contains(SWITCH) {
            if bugs.len() > 1 {
                return Err(format!(
                    "bug {}: it shares its place with another one and asks its switch itself",
                    bug.name
                ));
            }
            return Ok(change.wrong.replace(SWITCH, &is));
        }
        let _ = write!(text, "if {is} {{ {} }} else ", change.wrong.trim());
    }
    Ok(format!("{text}{{ {right} }}"))
}

/// Where `wanted` stands in `source`, however either is broken into lines and indented.
fn occurrences(source: &str, wanted: &str) -> Vec<Range<usize>> {
    let mut words = wanted.split_whitespace();
    let Some(first) = words.next() else { return Vec::new() };
    let end = |start: usize| {
        words.clone().try_fold(start + first.len(), |end, word| {
            let rest = source[end..].trim_start();
            rest.starts_with(word).then(|| source.len() - rest.len() + word.len())
        })
    };
    source
        .match_indices(first)
        .filter_map(|(start, _)| Some(start..end(start)?))
        .collect()
}

/// The bugs, as a table for whoever switches them.
fn table(bugs: &[Bug]) -> String {
    let mut text = "/// Every planted bug, by name.\npub const BUGS: &[Bug] = &[\n".to_owned();
    for Bug {
        name, title, fields, ..
    } in bugs
    {
        let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
        let (breaks, plan) = (field("breaks"), field("plan"));
        let _ = writeln!(
            text,
            "    Bug {{ name: {name:?}, title: {title:?}, breaks: {breaks:?}, plan: {plan:?} }},"
        );
    }
    text + "];\n"
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The files below a folder, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
