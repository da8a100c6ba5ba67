# `make verify` only reads the tree and says whether it is good; `make fix` may write.

CARGO ?= cargo

.PHONY: verify format lint docs test fix fuzz deny bench-disk side-by-side

verify: format lint docs test

format:
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) fmt --check --manifest-path benches/side_by_side/Cargo.toml

# Once as tests are built, with the planted bugs, and once as it is released, without.
lint:
	$(CARGO) clippy --locked --all-targets --features plant -- -D warnings
	$(CARGO) clippy --locked --lib --bins -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

# One profile for everything, so that dependencies are compiled once.
test:
	$(CARGO) test --locked

fix:
	$(CARGO) fmt
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml
	$(CARGO) fmt --manifest-path benches/side_by_side/Cargo.toml
	$(CARGO) clippy --all-targets --fix --allow-dirty --allow-staged

# Not part of `verify`: everything is compiled once more, with coverage. FUZZ_SECONDS for each target.
fuzz:
	fuzz/run

# Not part of `verify`: cargo-deny is a tool of its own and fetches the advisory database.
deny:
	$(CARGO) deny check

# The figures of docs/performance.md about the disk, on this machine: about twenty minutes in which
# nothing else should run.
bench-disk:
	$(CARGO) build --locked --release
	QUORATE="$${CARGO_TARGET_DIR:-target}/release/quorate" benches/disk.sh

# etcd, Redis and Quorate under the same load, in turns: about forty minutes in which nothing else
# should run. Installs etcd-server and redis-server on Debian if they are missing.
side-by-side:
	$(CARGO) build --locked --release
	QUORATE="$${CARGO_TARGET_DIR:-target}/release/quorate" benches/side_by_side/run $(SIDE_BY_SIDE)
