# What a newcomer types. Python >= 3.11 is all it needs; `make demo` needs no key, no Docker and no account.
PYTHON_BIN := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo test truth hazards chaos fuzz soak pipeline bench-telemetry bench-acoustic bench-relay bench-admission bench-start verify-live check docs lock clean runtime dev

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: runtime ## serve, place one spoken call, print its trace; ONCE=1 ends after it
	.venv/bin/voicespan demo $(if $(ONCE),--once)

test: dev ## all tests; ARGS goes to pytest. Without a collector its tests are skipped and named
	@PYTHON=$(PYTHON_BIN) scripts/build-collector >/dev/null || test "$$VOICESPAN_REQUIRE_ALL" != 1
	$(PYTHON_BIN) -m pytest $(ARGS)

verify-live: runtime ## with real keys: one call, then Langfuse's copy of it compared field by field
	.venv/bin/voicespan verify-live $(ARGS)

truth: dev ## plays every scenario of the simulator and compares what was told with what was done; ARGS names some
	PYTHONPATH=tests $(PYTHON_BIN) -m truth $(ARGS)

hazards: dev ## what was seen to go wrong with Gemini Live, done to the server; a table of outcomes; ARGS names some (D7)
	@PYTHONPATH=tests $(PYTHON_BIN) -m hazards $(ARGS)

chaos: dev ## kills and outages under load, and a table of what they cost; ARGS goes to tests/chaos
	@PYTHONPATH=tests $(PYTHON_BIN) -m chaos $(ARGS)

pipeline: dev ## real collector, Jaeger and Prometheus: 200 calls, incidents, what each panel shows; ARGS
	PYTHON=$(PYTHON_BIN) PYTHONPATH=tests $(PYTHON_BIN) -m benchmarks.pipeline $(ARGS)

check: dev ## style, types and the arrows between the packages
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports
	.venv/bin/mypy

docs: dev ## the pages that are made from the code
	$(PYTHON_BIN) scripts/docs

soak: dev ## paced calls for five minutes, and whether anything in the server grows; JSON=FILE, ARGS
	PYTHONPATH=tests $(PYTHON_BIN) -m benchmarks.soak $(if $(JSON),--json $(JSON)) $(ARGS)

bench-telemetry: dev ## what instrumentation costs a program; JSON=FILE keeps the numbers, ARGS goes to it
	$(PYTHON_BIN) -m benchmarks.telemetry $(if $(JSON),--json $(JSON)) $(ARGS)

fuzz: dev ## hostile clients, a hostile model, hostile HTTP: 100,000 inputs; ARGS goes to tests/fuzz
	@PYTHONPATH=tests $(PYTHON_BIN) -m fuzz $(ARGS)

bench-acoustic: dev ## how well the end of the user's speech is found; needs espeak-ng; ARGS goes to it
	$(PYTHON_BIN) -m benchmarks.acoustic $(ARGS)

bench-relay: dev ## sessions per core, beside other relays; JSON=FILE keeps the numbers, ARGS=--short for a minute of it
	$(PYTHON_BIN) -m benchmarks.relay $(if $(JSON),--json $(JSON)) $(ARGS)

bench-admission: dev ## what running calls notice while twice as many are refused; ARGS="--cap 20 --seconds 20"
	PYTHONPATH=tests $(PYTHON_BIN) -m benchmarks.admission $(ARGS)

bench-start: dev ## how soon the command has answered and the server is ready; JSON=FILE keeps the numbers
	PYTHONPATH=tests $(PYTHON_BIN) -m benchmarks.start $(if $(JSON),--json $(JSON)) $(ARGS)

lock: ## both lock files anew; needs uv
	scripts/lock

clean: ## what was built and cached inside the tree, .venv too
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

runtime:
	@scripts/setup-venv requirements.lock

dev:
	@scripts/setup-venv requirements-dev.lock
