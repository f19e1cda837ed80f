//! The same seed is the same run, in every process: without that, no failure could be looked into.

// `cfg(test)` is always true here. It tells clippy that helpers, too, may end a test by `unwrap`.
#[cfg(test)]
mod replay {
    use std::process::Command;

    fn hashes(arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_simulation"))
            .arg("hashes")
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn assert_same(one: &str, other: &str) {
        let differ: Vec<_> = one
            .lines()
            .zip(other.lines())
            .filter(|(one, other)| one != other)
            .collect();
        assert!(
            differ.is_empty(),
            "{} seeds differ, the first is {:?}",
            differ.len(),
            differ[0]
        );
        assert_eq!(one.lines().count(), other.lines().count());
    }

    #[test]
    fn a_thousand_seeds_are_the_same_in_two_processes() {
        let run = || hashes(&["1000"]);
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(run);
            (run(), other.join().unwrap())
        });
        assert_eq!(one.lines().count(), 1000);
        assert_same(&one, &other);
    }

    #[test]
    fn ties_are_broken_the_same_way_in_two_processes() {
        let run = || hashes(&["1000", "--from", "500000", "--ties"]);
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(run);
            (run(), other.join().unwrap())
        });
        assert_eq!(one.lines().count(), 1000);
        assert_same(&one, &other);
    }

    #[test]
    fn one_seed_is_the_same_in_a_hundred_processes() {
        let first = hashes(&["1", "--from", "77"]);
        for _ in 1..100 {
            assert_same(&first, &hashes(&["1", "--from", "77"]));
        }
    }

    #[test]
    fn different_seeds_are_different_runs() {
        let hashes = hashes(&["200", "--from", "900000"]);
        let distinct: std::collections::BTreeSet<_> =
            hashes.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(distinct.len(), 200);
    }
}
