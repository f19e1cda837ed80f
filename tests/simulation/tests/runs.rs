//! Every plan with one fault and with two, and random seeds: no invariant is broken in any of them.

// `cfg(test)` is always true here. It tells clippy that helpers, too, may end a test by `unwrap`.
#[cfg(test)]
mod runs {
    use std::process::{Command, Stdio};

    /// Random seeds of each run of the tests. The long runs are the command's: `simulation seeds 1000000`.
    const SEEDS: &str = "20000";

    fn simulation(arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_simulation"))
            .args(arguments)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        text
    }

    #[test]
    fn every_invariant_holds_in_every_plan_with_one_fault_and_with_two() {
        let text = simulation(&["enumerate"]);
        println!("{text}");
        assert!(text.contains("0 failed"), "{text}");
    }

    #[test]
    fn every_invariant_holds_in_random_runs() {
        let text = simulation(&["seeds", SEEDS]);
        println!("{text}");
        assert!(text.starts_with(&format!("{SEEDS} of {SEEDS} seeds")), "{text}");
    }
}
