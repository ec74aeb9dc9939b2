# refreshd: what there is to make. Needs make (GNU make 3.81 and later) and Python 3.11 or later; no root.

SHELL = /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:

# Where it is set, each of the many processes of a demo, and of the tests, compiles everything anew.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
RUNTIME = @GOAL=$@ PYTHON="$(PYTHON)" sh deploy/venv.sh requirements.lock
DEV = @GOAL=$@ PYTHON="$(PYTHON)" sh deploy/venv.sh requirements-dev.lock

PICTURES := docs/images

# Resolves the lock files; nothing but `make lock` needs it.
UV_VERSION := 0.13.9
# Keeps every pin that still fits; `make lock UPGRADE=--upgrade` takes the newest of everything.
UPGRADE :=
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-package refreshd-reader --custom-compile-command "make lock" $(UPGRADE)

.PHONY: help
help:  ## What you are reading
	@echo "Run 'make demo' first. PYTHON=/path/to/python3.12 chooses the interpreter that .venv is made with."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Ctrl-C is the demo's way out. It reaches make, this shell and the demo at once: the shell waits for the demo
# (a trap, which unlike an ignored signal is not handed down), and 130 is no failure.
.PHONY: demo
demo:  ## See tokens being refreshed, live, with everything it needs; Ctrl-C ends it
	$(RUNTIME)
	@trap : INT; $(BIN)/refreshd demo || [ $$? -eq 130 ]

.PHONY: install
install:  ## Make .venv and install what is locked for running; `. .venv/bin/activate` puts refreshd on PATH
	$(RUNTIME)

# tests/oidc needs an authorization server that nobody here wrote: npm's oidc-provider. CI has Node.js, and fails
# without it; a machine that has none runs all other tests, and is told.
OIDC := tests/oidc/node_modules/.package-lock.json
EXPRESS := examples/platform_express/node_modules/.package-lock.json
ifneq ($(CI)$(shell command -v node >/dev/null && command -v npm >/dev/null && echo here),)
WITH_OIDC := $(OIDC) $(EXPRESS)
else
LEFT_OUT := @echo "LEFT OUT: tests/oidc, the tests against oidc-provider: they need Node.js 20 or later with npm"
endif

# Those that lock files are made for; CI runs the oldest.
PYTHONS := python3.12 python3.13 python3.14 python3.15

# A process a core and two more, for many tests wait. Tests of one file stay together, for they share servers and fleets,
# and files begin in the order of tests/conftest.py: the long ones first.
AT_ONCE := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)
IN_PARALLEL := --numprocesses=$(AT_ONCE) --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

define STYLE
	$(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
endef

.PHONY: unit
unit:  ## Tests that need no server: under a minute
	$(DEV)
	$(BIN)/python -m pytest $(IN_PARALLEL) -m "not integration and not e2e" --hypothesis-profile=small

.PHONY: integration
integration:  ## Tests that need a Redis or PostgreSQL, which they start
	$(DEV)
	$(BIN)/python -m pytest $(IN_PARALLEL) -m integration

# mypy takes a minute of one core, and tests leave about as much while they wait: it runs beside them, and has its say
# when they are done.
.PHONY: test
test: $(WITH_OIDC)  ## The whole check: style, import rules, types, tests
	$(STYLE)
	$(LEFT_OUT)
	@said=$$(mktemp); nice $(BIN)/mypy >"$$said" 2>&1 & types=$$!; \
	trap 'kill $$types 2>/dev/null; rm -f "$$said"; exit 130' INT; \
	$(BIN)/python -m pytest $(IN_PARALLEL) $(if $(LEFT_OUT),--ignore=tests/oidc); failed=$$?; \
	wait $$types || failed=1; echo "mypy:"; cat "$$said"; rm -f "$$said"; [ "$$failed" = 0 ]
	$(LEFT_OUT)

$(OIDC): tests/oidc/package-lock.json
	cd tests/oidc && npm ci

# The commit, not what is not committed: each in a checkout and a .venv of its own.
.PHONY: test-pythons
test-pythons:  ## `make test` with each later Python that is on PATH
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; failed=; \
	for python in $(PYTHONS); do \
		command -v $$python >/dev/null || { echo "$$python: not here"; continue; }; \
		echo "$$python: make test"; git clone --quiet . "$$folder/$$python"; \
		$(MAKE) --directory="$$folder/$$python" test PYTHON=$$python || failed="$$failed $$python"; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

$(EXPRESS): examples/platform_express/package-lock.json
	cd examples/platform_express && npm ci

# Each starts a provider, refreshd and the platform, has a customer connect, and leaves nothing behind. Ctrl-C is the way out.
.PHONY: example-fastapi
example-fastapi:  ## A platform with a Connect button (FastAPI), everything around it, and a first customer
	$(RUNTIME)
	@trap : INT; $(BIN)/python examples/platform/run.py examples/platform_fastapi $(OPTIONS)

.PHONY: example-express
example-express: $(EXPRESS)  ## The same with Express; needs Node.js 20 or later with npm
	$(RUNTIME)
	@trap : INT; $(BIN)/python examples/platform/run.py examples/platform_express $(OPTIONS)

.PHONY: soak
soak: $(OIDC)  ## Ten minutes of 20-second tokens against oidc-provider; exit code 1 where a reader found none
	$(DEV)
	$(BIN)/python -m tests.oidc.soak

# Node.js, npm, and Debian's apt-get where a server needs them; without them it is left out, and the report says so.
.PHONY: servers
servers:  ## Two minutes against real authorization servers, healthy accounts and sick ones; NAMES="canaille mcp" for some
	$(DEV)
	$(BIN)/python -m tests.servers $(NAMES) --minutes $(or $(MINUTES),2)
	$(BIN)/python -m tests.servers.connections $(NAMES)
	$(if $(filter-out cloudflare-workers-oauth-provider,$(NAMES)),,$(BIN)/python -m tests.servers.client_document)

.PHONY: lint
lint:  ## Style, types and import rules
	$(STYLE)
	$(BIN)/mypy

# Run each of these benchmarks, whatever the one before it said: $(call MEASURE,NAME 'NAME --OPTION')
MEASURE = @missed=; for one in $(1); do $(BIN)/python -m benchmarks.$$one || missed="$$missed $$one,"; done; \
	if [ -n "$$missed" ]; then echo "a bar is missed: $${missed%,}" >&2; exit 1; fi

.PHONY: bench
bench:  ## Refreshes, reads, reports, callbacks, processes, commands, the API, a backlog, a refill; exit code 1 where a bar is missed
	$(DEV)
	$(call MEASURE,'refresh --scheme both' reader report callbacks workers commands api backlog refill)

.PHONY: bench-million
bench-million:  ## Plans, status, an idle fleet, an emptied Redis at a million accounts: long; exit code 1 where a bar is missed
	$(DEV)
	$(call MEASURE,plan status 'idle --accounts 1000000' 'refill --rounds 1 --accounts 1000000')

.PHONY: chaos
chaos:  ## An hour of kills, outages and faults at random; a report of what was lost, and why
	$(DEV)
	$(BIN)/python -m benchmarks.chaos --minutes 60

.PHONY: isolation
isolation:  ## Ten minutes of sick accounts beside healthy ones; exit code 1 where those pay; MINUTES=1 for less
	$(DEV)
	$(BIN)/python -m benchmarks.isolation --minutes $(or $(MINUTES),10)

# Two of the targets start a Redis and a worker of their own.
.PHONY: simulate
simulate:  ## A simulated day of ten million accounts on fifty workers, with the real policy; what scaling it down changes
	$(DEV)
	$(BIN)/python -m benchmarks.simulate --errors

.PHONY: fuzz
fuzz:  ## Ten minutes of cases at random for each thing that parses; MINUTES=1 for less
	$(DEV)
	$(BIN)/python -m tests.contract.fuzz --minutes $(or $(MINUTES),10)

.PHONY: screenshots
screenshots:  ## Take the docs' pictures of Flower anew, in headless Chromium; PICTURES=FOLDER puts them elsewhere
	$(DEV)
	$(BIN)/python -m tests.screenshots $(PICTURES)

.PHONY: picture
picture:  ## Draw README's picture of the demo anew, from a demo that runs for 45 seconds
	$(RUNTIME)
	@drawn=$$(mktemp); $(BIN)/python -m docs.generate.demo >"$$drawn" && cp "$$drawn" docs/demo.svg; done=$$?; rm -f "$$drawn"; exit $$done

.PHONY: env
env:  ## Write .env with new passwords and keys, for compose.yaml; an .env that is there stays
	@sh deploy/env.sh

# The commit's time: the same commit gives the same bytes, whenever it is built.
COMMITTED := $$(git log -1 --format=%ct 2>/dev/null)

.PHONY: wheel
wheel:  ## Build both wheels into dist/
	$(RUNTIME)
	SOURCE_DATE_EPOCH=$(COMMITTED) $(BIN)/python -m pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir dist ./reader .
	@ls dist/*.whl

# The same commit gives the same bill, without a network.
.PHONY: sbom
sbom: wheel  ## Build both wheels, and the bill of materials of what they run on (CycloneDX), into dist/
	SOURCE_DATE_EPOCH=$(COMMITTED) $(BIN)/python deploy/sbom.py requirements.lock >dist/refreshd.cdx.json.new
	@mv dist/refreshd.cdx.json.new dist/refreshd.cdx.json
	@ls dist/refreshd.cdx.json

.PHONY: image
image:  ## Build the image refreshd:VERSION, labelled with the commit (needs Docker)
	version=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) && docker build --tag "refreshd:$$version" \
		--build-arg "VERSION=$$version" --build-arg "REVISION=$$(git rev-parse HEAD)" \
		--build-arg "CREATED=$$(TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd)" .

# pip-audit asks pypi.org itself, whatever index pip uses, or another source of advisories: `make audit ADVISORIES=osv`.
ADVISORIES := pypi

.PHONY: audit
audit:  ## Look for known vulnerabilities in everything that is locked for running
	$(DEV)
	$(BIN)/pip-audit --vulnerability-service $(ADVISORIES) --strict --require-hashes --disable-pip -r requirements.lock

.PHONY: lock
lock:  ## Write the lock files anew from pyproject.toml
	$(DEV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(COMPILE) --group build --output-file requirements-build.lock
	$(COMPILE) pyproject.toml --output-file requirements.lock
	$(COMPILE) pyproject.toml reader/pyproject.toml --all-extras --group dev \
		--constraint requirements.lock --constraint requirements-build.lock --output-file requirements-dev.lock

.PHONY: clean
clean:  ## Remove what was built and installed; data (.refreshd) and .env stay
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache reader/src/refreshd_reader/_sync
	find . -name node_modules -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
