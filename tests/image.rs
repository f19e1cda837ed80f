//! The image's build sees the workspace that it is part of: cargo refuses one whose members are not all there. No
//! container engine is needed for that: what `Dockerfile` copies before it builds the dependencies is copied here.

// `cfg(test)` is always true here. It tells clippy that helpers, too, may end a test by `unwrap`.
#[cfg(test)]
mod image {
    use std::{
        fs,
        path::{Path, PathBuf},
        process::Command,
    };

    /// The lines of a Dockerfile's first stage, each instruction one line.
    fn instructions(dockerfile: &str) -> Vec<String> {
        let joined = dockerfile.replace("\\\n", " ");
        let build = joined.split("\nFROM ").nth(1).unwrap();
        build
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    }

    /// What `.dockerignore` lets through of a folder of tests.
    fn manifests(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                manifests(&path, found);
            } else if entry.file_name() == "Cargo.toml" {
                found.push(path);
            }
        }
    }

    fn copy(root: &Path, image: &Path, source: &str) {
        let mut files = vec![root.join(source)];
        if files[0].is_dir() {
            files.clear();
            manifests(&root.join(source), &mut files);
        }
        for file in files {
            let to = image.join(file.strip_prefix(root).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&file, to).unwrap();
        }
    }

    #[test]
    fn the_build_of_the_dependencies_sees_every_member_of_the_workspace() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let ignored = fs::read_to_string(root.join(".dockerignore")).unwrap();
        assert!(ignored.lines().any(|line| line == "!tests/**/Cargo.toml"));
        let image = tempfile::tempdir().unwrap();
        let dockerfile = fs::read_to_string(root.join("Dockerfile")).unwrap();
        let mut ran = false;
        for instruction in instructions(&dockerfile) {
            if let Some(copied) = instruction.strip_prefix("COPY ") {
                let mut sources: Vec<&str> = copied.split_whitespace().collect();
                sources.pop();
                for source in sources {
                    copy(root, image.path(), source);
                }
            } else if let Some(script) = instruction.strip_prefix("RUN ") {
                let empty_sources = script.split("&& cargo build").next().unwrap();
                let mut shell = Command::new("sh");
                let run = shell.args(["-euc", empty_sources]).current_dir(image.path()).status();
                assert!(run.unwrap().success(), "{empty_sources}");
                ran = true;
                break;
            }
        }
        assert!(ran, "the Dockerfile builds the dependencies in a layer of their own");
        let cargo = Command::new(env!("CARGO"))
            .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
            .current_dir(image.path())
            .output()
            .unwrap();
        assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    }
}
