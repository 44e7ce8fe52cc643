# The Network-Application Interface, a retrospective: `make` measures this machine and writes it, `make test` checks it.
#
# Everything is installed below this folder (.venv/, build/); only `make system` touches the machine, and needs root.

PYTHON ?= python3
VENV   := .venv
BIN    := $(CURDIR)/$(VENV)/bin
HOUSE  := $(CURDIR)/build/home
STAMP  := $(VENV)/.installed

# Tools find no home but ours: an unset or unwritable HOME does no harm, and nothing is left in the reader's.
IN_HOUSE := env HOME="$(HOUSE)" XDG_CACHE_HOME="$(HOUSE)/cache" XDG_CONFIG_HOME="$(HOUSE)/config" \
	XDG_DATA_HOME="$(HOUSE)/data" XDG_RUNTIME_DIR="$(HOUSE)/run" MPLCONFIGDIR="$(HOUSE)/matplotlib" \
	IPYTHONDIR="$(HOUSE)/ipython" JUPYTER_CONFIG_DIR="$(HOUSE)/jupyter" JUPYTER_DATA_DIR="$(HOUSE)/jupyter-data" \
	JUPYTER_RUNTIME_DIR="$(HOUSE)/run" PATH="$(BIN):$$PATH"
RUN := $(IN_HOUSE) "$(BIN)/python" -m retrospective

.DEFAULT_GOAL := quick
.PHONY: quick test figures lab bench conformance reference system environment clean

quick: environment      ## build, run every chapter quickly, write the retrospective (HTML + PDF)
	@$(RUN) quick

test: environment       ## ruff, C tests under sanitizers, pytest, nbval, smoke run of every notebook, assembly
	@$(RUN) test

figures: environment    ## the retrospective from the recorded data: no server runs
	@$(RUN) figures

lab: environment        ## JupyterLab on the notebooks
	@$(RUN) lab

bench: environment      ## every number the README promises, as a ratio on this machine: make bench IDS="cpu-epoll-floor"
	@$(RUN) bench $(IDS)

conformance: environment ## packetdrill's public scripts, ours beside the kernel: make conformance SCRIPTS=DIR (a clone of it)
	@$(RUN) conformance "$(SCRIPTS)"

reference: environment  ## the paper profile (long): records data/reference and re-executes the notebooks
	@$(RUN) reference

environment: $(STAMP)

$(STAMP): pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { echo "make: no $(PYTHON) found; as root: make system"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: Python 3.11 or newer is needed, this is $$("$(PYTHON)" -V 2>&1); say which with: make PYTHON=python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "make: Python's venv module is missing; as root: make system (or: apt-get install python3-venv)"; exit 1; }
	@command -v cc >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null || \
	  { echo "make: no C compiler found; as root: make system (or: apt-get install build-essential)"; exit 1; }
	@echo "Installing the environment into $(VENV)/ (once; about a minute, 1.1 GB)"
	@mkdir -p "$(HOUSE)" "$(HOUSE)/run" && chmod 700 "$(HOUSE)/run"
	@test -x "$(VENV)/bin/pip" && "$(VENV)/bin/python" -c '' 2>/dev/null || "$(PYTHON)" -m venv --clear "$(VENV)"
	@PIP_CACHE_DIR="$(HOUSE)/cache/pip" "$(BIN)/python" -m pip install --disable-pip-version-check --progress-bar on \
	  --editable . || { echo "make: the environment could not be installed; the lines above say why, then: make"; exit 1; }
	@touch "$@"

system:                 ## as root: Debian packages for the peers and clients (apt.txt), without starting services
	@sh .ci/system.sh

clean:                  ## remove everything generated, the recorded trials of this machine included
	rm -rf build "$(VENV)"
