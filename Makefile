# `make verify` only reads the tree and says whether it is good; `make fix` may write.

CARGO ?= cargo

.PHONY: verify format lint docs test fix fuzz deny profiled bench bench-micro bench-instructions \
	bench-disk side-by-side

verify: format lint docs test

format:
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) fmt --check --manifest-path benches/Cargo.toml
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
	$(CARGO) fmt --manifest-path benches/Cargo.toml
	$(CARGO) fmt --manifest-path benches/side_by_side/Cargo.toml
	$(CARGO) clippy --all-targets --fix --allow-dirty --allow-staged

# Not part of `verify`: everything is compiled once more, with coverage. FUZZ_SECONDS for each target.
fuzz:
	fuzz/run

# Not part of `verify`: cargo-deny is a tool of its own and fetches the advisory database.
deny:
	$(CARGO) deny check

# Not part of `verify`, here and below: what measures is a crate of its own (benches/README.md).
TARGET = $${CARGO_TARGET_DIR:-$$PWD/target}
# QUORATE names a binary to be measured; without it the release build is.
BUILD = $(if $(QUORATE),,$(CARGO) build --locked --release)
BINARY = "$${QUORATE:-$(TARGET)/release/quorate}"

# The release build laid out by what it does under load, target/profiled/quorate: a fifth less
# processor time. Two builds; needs `rustup component add llvm-tools`.
profiled:
	CARGO="$(CARGO)" benches/profiled.sh

# Whole clusters, into docs/performance.md: about an hour in which nothing else should run.
# ONLY=voting,alone for some sections, ROUNDS and SECONDS of each, MORE="--quick" or "--full".
bench:
	$(BUILD)
	CARGO_TARGET_DIR="$(TARGET)" $(CARGO) build --locked --release --manifest-path benches/Cargo.toml \
		--no-default-features --bin system
	QUORATE=$(BINARY) "$(TARGET)/release/system" \
		$(if $(ONLY),--only $(ONLY)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(SECONDS),--seconds $(SECONDS)) $(MORE)

# Times of the parts of a replica; ONLY=log for those whose names have that.
bench-micro:
	CARGO_TARGET_DIR="$(TARGET)" $(CARGO) bench --locked --manifest-path benches/Cargo.toml \
		--bench micro -- $(ONLY)

# Their instructions, which do not depend on what else the machine does; needs valgrind.
# ONLY="request log" for some parts, ONLY=--top for the most expensive functions.
bench-instructions:
	benches/instructions.sh $(ONLY)

# The figures of docs/performance.md about the disk, on this machine: about twenty minutes in which
# nothing else should run.
bench-disk:
	$(BUILD)
	QUORATE=$(BINARY) benches/disk.sh

# etcd, Redis and Quorate under the same load, in turns: about forty minutes in which nothing else
# should run. Installs etcd-server and redis-server on Debian if they are missing.
side-by-side:
	$(BUILD)
	QUORATE=$(BINARY) benches/side_by_side/run $(SIDE_BY_SIDE)
