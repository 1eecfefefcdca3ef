# All that is needed: a Rust toolchain, and CPython 3.11 or newer. The rest is set up in .build/.
#
#   make test PYTHONS=python3.12              only this interpreter
#   make pytest ARGS="-k streams -x"          options for pytest; also for demo and bench

.NOTPARALLEL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export CARGO_TERM_QUIET ?= true

# Every CPython from 3.11 on, oldest first; looked for once, and only if a target asks.
PYTHONS = $(eval PYTHONS := $$(shell tools/interpreters))$(or $(PYTHONS),$(error \
	no CPython 3.11 or newer was found; install one, or name it: make PYTHONS=/path/to/python3))
PYTHON = $(firstword $(PYTHONS))
ARGS ?=

STEP = @tools/step
# $(call run,GROUP,COMMAND): with the project and that dependency group installed.
run = bin=$$($(PYTHON) tools/environment.py $(1)) && "$$bin"/$(2)

TARGET = $${CARGO_TARGET_DIR:-target}
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)
# Without cargo-nextest the same tests run under cargo's own runner, without its watchdog.
CARGO_TEST = $(if $(NEXTEST),nextest run --no-fail-fast,test --no-fail-fast)

.PHONY: help demo test bench docs fmt clean rust lint types pytest

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo:  ## one job four ways: fetch and parse the standard library over HTTP
	@$(call run,,python examples/demo.py $(ARGS))

test: rust docs lint types pytest  ## everything: Rust, its documentation, lints, types, pytest on every CPython found

rust:  ## cargo fmt, clippy, the oldest Rust, tests, doc tests, loom models
	$(STEP) "cargo fmt" cargo fmt --all -- --check --color never
	$(STEP) "cargo clippy" env PYO3_PYTHON=$(PYTHON) \
		cargo clippy --workspace --all-targets --locked -- -D warnings
	$(STEP) "cargo clippy, no features" \
		cargo clippy --package manyhands --no-default-features --locked -- -D warnings
	$(STEP) "oldest Rust" env CARGO_TARGET_DIR=$(TARGET)/msrv tools/msrv
	$(STEP) "cargo $(CARGO_TEST)" cargo $(CARGO_TEST) --locked
	$(STEP) "cargo test --doc" cargo test --doc --locked
	$(STEP) "loom models" env RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=$(TARGET)/loom \
		CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
		cargo $(CARGO_TEST) --locked --release --package manyhands --lib loom_

lint:  ## ruff check and format
	$(STEP) "ruff" sh -c '$(call run,lint --without-project,ruff check --quiet .)'
	$(STEP) "ruff format" sh -c '$(call run,lint --without-project,ruff format --quiet --check .)'

types:  ## mypy --strict, and the native module's stub against the module
	$(STEP) "mypy" sh -c '$(call run,types,mypy python/manyhands $(wildcard tests/typing))'
	$(STEP) "stubtest" sh -c '$(call run,types,stubtest manyhands._engine)'

pytest:  ## the Python tests, on every CPython found
	@tools/pytests "$(ARGS)" $(PYTHONS)

bench:  ## the table against the peers, written to benchmarks/RESULTS.md
	@$(call run,bench,python benchmarks/run.py $(ARGS))

docs:  ## the Rust documentation, in target/doc
	$(STEP) "cargo doc" env RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

fmt:  ## format Rust and Python
	$(STEP) "cargo fmt" cargo fmt --all
	$(STEP) "ruff" sh -c '$(call run,lint --without-project,ruff check --quiet --fix --exit-zero .)'
	$(STEP) "ruff format" sh -c '$(call run,lint --without-project,ruff format --quiet .)'

clean:  ## remove all that was built
	rm -rf .build target
