# The two commands of the README, and some more. Thin: the work is in `cargo xtask`.
.PHONY: run test check bench demo fault heal

run: cc
	@cargo xtask run $(ARGS)

test: cc
	@cargo xtask test

check: cc
	@cargo xtask check

bench: cc
	@cargo xtask bench

demo: cc
	@cargo xtask demo $(ARGS)

# A fault of the running demo and its end: `make fault INSTANCE=s1 BY=1s`.
INSTANCE ?= s2
BY ?= 300ms
fault:
	@cargo xtask demo fault slow $(INSTANCE) $(BY)

heal:
	@cargo xtask demo fault none $(INSTANCE)

# A C compiler is the one thing that even xtask needs.
.PHONY: cc
cc:
	@command -v cc >/dev/null || { s=; [ "$$(id -u)" = 0 ] || s=sudo; $$s apt-get update -qq && $$s apt-get install -qq -y --no-install-recommends gcc libc6-dev; }
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust with rustup (https://rustup.rs)" >&2; exit 1; }
