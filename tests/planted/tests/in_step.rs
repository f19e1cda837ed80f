//! The manifests of the two packages repeat dependencies of others; nothing else holds them in step.

// `cfg(test)` is always true here. It tells clippy that helpers, too, may end a test by `unwrap`.
#[cfg(test)]
mod in_step {
    use std::{collections::BTreeSet, fs, path::Path};

    use guest_termination_operator::planted;

    /// The names below `[dependencies]` of a package.
    fn dependencies(package: &str) -> BTreeSet<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(package).join("Cargo.toml");
        let manifest = fs::read_to_string(&path).unwrap();
        let below = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
        let names: BTreeSet<_> = below
            .take_while(|line| !line.starts_with('['))
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| line.split(['.', ' ', '=']).next().unwrap().to_owned())
            .collect();
        assert!(names.len() > 10, "{}: {names:?}", path.display());
        names
    }

    #[test]
    fn the_dependencies_are_those_of_the_sources() {
        assert_eq!(dependencies("operator"), dependencies("../.."));
        assert_eq!(dependencies("."), dependencies("../simulation"));
    }

    #[test]
    fn there_are_thirty_bugs_and_each_says_what_it_breaks() {
        assert!(planted::BUGS.len() >= 30, "{}", planted::BUGS.len());
        for bug in planted::BUGS {
            for invariant in bug.breaks.split(", ") {
                let number = invariant
                    .strip_prefix('I')
                    .map(|number| number.trim_end_matches(['a', 'b', 'c']));
                let number = number.and_then(|number| number.parse().ok());
                assert!(number.is_some_and(|number: u8| (1..=14).contains(&number)), "{bug:?}");
            }
        }
    }
}
