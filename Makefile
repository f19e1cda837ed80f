# What a developer and a curious user need. `make` alone lists it.
.DEFAULT_GOAL := help
.PHONY: help demo demo-stop test simulate chaos fuzz mutants lint crds control-plane need-cargo need-go
.SILENT:

CARGO ?= cargo
# Named here, so that the programs are found where cargo puts them.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
BIN := $(CARGO_TARGET_DIR)/debug
# As in tests/control-plane: where the programs of the control plane are kept that were built once.
CACHE := $(or $(GUEST_OPERATOR_CACHE),$(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME)/guest-termination-operator),$(HOME)/.cache/guest-termination-operator)
# Where .ci/run puts it, if it did.
DENY := $(or $(wildcard $(CACHE)/tools/bin/cargo-deny),cargo-deny)

help: ## list the targets
	sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r target text; do printf '  make %-14s %s\n' "$$target" "$$text"; done

demo: need-cargo $(if $(CONTEXT),,need-go) ## show the main job on a real API server; KEEP=1 leaves it running, CONTEXT=name uses a cluster of your kubeconfig
	echo 'building the operator, the simulator and the demo (the first time takes some minutes)'
	$(CARGO) build --locked --package guest-termination-operator --package simulator --package control-plane --package demo
	$(if $(CONTEXT),,$(BIN)/control-plane build)
	$(BIN)/demo run $(if $(filter-out 0,$(KEEP)),--keep) $(if $(CONTEXT),--context '$(CONTEXT)')

demo-stop: need-cargo ## stop what `make demo KEEP=1` left running, and remove what it made
	[ -x $(BIN)/demo ] || $(CARGO) build --locked --package demo
	$(BIN)/demo stop

# Tests against the API server wait far more than they compute: more of them than cores at a time.
test: need-cargo need-go ## pass every test, after all the set-up that they need
	echo '1/3 building the programs and the tests (the first time takes some minutes)'
	$(CARGO) test --workspace --locked --no-run
	echo '2/3 building etcd, kube-apiserver, kubectl and kube-controller-manager, unless that was done before (the first time takes about 7 minutes)'
	$(BIN)/control-plane build etcd kubectl kube-apiserver kube-controller-manager
	echo '3/3 testing'
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-8} $(CARGO) test --workspace --locked

# Every seed is a run of the whole operator; a failure prints its seed, which `simulation shrink` cuts down.
simulate: need-cargo ## run the whole operator in a world of models, SEEDS=1000000 times, on all cores
	$(CARGO) run --locked --release --package simulation -- seeds $(or $(SEEDS),1000000)

# The long forms of what `make test` plays for some seconds. A table at the end of each, and exit code 1 if a promise broke.
chaos: need-cargo need-go ## disturb the operator's API server, then kill the operator; KILLS=1000, OBJECTS=2000, SEED=1 (about an hour)
	$(CARGO) run --locked --release --package chaos -- scenarios
	$(CARGO) run --locked --release --package chaos -- kills --count $(or $(KILLS),1000) --objects $(or $(OBJECTS),2000) --seed $(or $(SEED),1)

# `make test` makes 1,500 inputs of each corpus; what breaks a property belongs into tests/fuzz/corpus.
fuzz: need-cargo ## fuzz what reads the vendor's answers, ids, URLs and statuses; CASES=1000000 says how long
	FUZZ_CASES=$(or $(CASES),200000) $(CARGO) test --locked --package guest-termination-operator --lib -- fuzz::

# A mutant that breaks a random run is found at once; making the run small takes minutes and tells nothing.
mutants: need-cargo ## change the pure cores in every way and see the tests fail (hours); MUTANTS='-F termination/fence' picks
	command -v cargo-mutants >/dev/null || { echo 'cargo-mutants is needed: cargo install --locked cargo-mutants' >&2; exit 1; }
	PROPTEST_MAX_SHRINK_ITERS=1 $(CARGO) mutants $(MUTANTS)

lint: need-cargo ## formatting, clippy, documentation and dependencies, each without a warning
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) check --lib --no-default-features --locked
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps --locked
	command -v $(DENY) >/dev/null || { echo 'cargo-deny is needed: cargo install --locked cargo-deny' >&2; exit 1; }
	$(DENY) --locked check bans licenses sources

crds: need-cargo ## write crds/ anew from the Rust types
	$(CARGO) run --locked --quiet --package guest-termination-operator -- crd --output crds

control-plane: need-cargo need-go ## run an API server until ctrl-c; prints its kubeconfig
	$(CARGO) run --locked --quiet --package control-plane -- run

need-cargo:
	command -v $(CARGO) >/dev/null || { echo 'Rust is needed (rustup reads rust-toolchain.toml): https://rustup.rs' >&2; exit 1; }
	command -v cc >/dev/null || { echo 'A C compiler is needed as `cc`, to link and to build the TLS library: package build-essential (Debian, Ubuntu), gcc (Fedora), or xcode-select --install (macOS)' >&2; exit 1; }

need-go:
	command -v go >/dev/null || [ -n "$$KUBEBUILDER_ASSETS" ] || [ -d '$(CACHE)/programs' ] || { echo 'Go is needed to build etcd, kube-apiserver and kubectl once: https://go.dev/dl/ (or set KUBEBUILDER_ASSETS to a folder that holds the three)' >&2; exit 1; }
