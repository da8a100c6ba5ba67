# `make verify` only reads the tree and says whether it is good; `make fix` may write.

CARGO ?= cargo

.PHONY: verify format lint docs test planted fix deny

verify: format lint docs test planted

format:
	$(CARGO) fmt --check

# The planted bugs are code too.
lint:
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --features plant -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

# The same profile as everywhere: overflow checks on, dependencies compiled once.
test:
	$(CARGO) test --locked

# Each planted bug must be caught. Tests of them have `planted` in their names.
planted:
	$(CARGO) test --locked --features plant --test it planted

fix:
	$(CARGO) fmt
	$(CARGO) clippy --all-targets --fix --allow-dirty --allow-staged

# Not part of `verify`: cargo-deny is a tool of its own and fetches the advisory database.
deny:
	$(CARGO) deny check
