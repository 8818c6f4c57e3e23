# Settings are environment variables: `PORT=9000 make run`, `LOG_LEVEL=DEBUG make up`.
# Recipes `exec`, so that Ctrl-C and SIGTERM reach the script and it has the time to tidy up.

.DEFAULT_GOAL := help
.PHONY: help build up down logs run dev smoke readme test test-tiny fuzz soak crash check coverage bench bench-durable bench-etcd bench-history clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

build: ## Build both images
	@scripts/compose.sh version >/dev/null
	@image=$$(scripts/build-image.sh) && BUILD_IMAGE=$$image scripts/compose.sh build

up: build ## Build both images, start them and wait until they are healthy
	@exec scripts/up.sh

down: ## Stop and remove both containers
	@exec scripts/compose.sh down

logs: ## Follow both logs
	@exec scripts/compose.sh logs -f

run: ## Build and run both without Docker; Ctrl-C stops them
	@exec scripts/run.sh release

dev: ## The same, built for debugging and at log level DEBUG
	@LOG_LEVEL=$${LOG_LEVEL:-DEBUG} exec scripts/run.sh debug

smoke: ## Ask a running pair whether it works at all
	@exec scripts/smoke.sh

readme: ## Run the examples of README and docs/api.md against a running pair
	@exec scripts/readme.sh README.md docs/api.md

test: ## Run all tests, in a container where there is no cargo
	@exec scripts/test.sh

test-tiny: ## Test kv with the other engine, tiny_http
	@exec scripts/test-tiny.sh

fuzz: ## Feed mutated requests to the decoder and to kv; FUZZ_SECONDS (60)
	@exec tests/abuse/fuzz.sh

soak: ## Load kv with all kinds of clients and look at what it takes; SOAK_SECONDS (600)
	@exec tests/abuse/soak.sh

crash: ## Kill kv and cut its power among writers; CRASH_ROUNDS (200), CRASH_SECONDS (300)
	@exec tests/abuse/crash.sh

check: ## Format, lints and documentation, with warnings as errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --locked

coverage: ## Measure which lines the tests reach
	@exec scripts/coverage.sh

bench: ## Measure kv beside its peers, some ten minutes; BENCH_QUICK=1 for one
	@tests/bench/bench.py
	@tests/bench/durable.py
	@tests/bench/etcd.py
	@tests/bench/history.sh

bench-durable: ## Measure the durable store beside Redis, five minutes
	@exec tests/bench/durable.py

bench-etcd: ## Measure kv over etcd beside etcd's own gateway, two minutes
	@exec tests/bench/etcd.py

bench-history: ## Time the history checker beside porcupine
	@exec tests/bench/history.sh

clean: ## Remove what was built: target, coverage, containers, images
	rm -rf target coverage
	@if docker info >/dev/null 2>&1; then scripts/compose.sh down --rmi all --remove-orphans; fi
