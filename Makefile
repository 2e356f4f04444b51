# Frameloom: every command of the house. `make` alone lists them; CONTRIBUTING.md explains them.
# Needs Python 3.11 or newer with pip; everything else is put into .venv from the locks in requirements/.

PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v "$$name" && break; done)
BIN := .venv/bin

# Taken as typed ($(value) keeps a `$` in a password) and handed on in the environment (`frameloom up --source` reads
# FRAMELOOM_SOURCE): neither `make -n` nor a list of processes shows it.
override SOURCE := $(value SOURCE)
override PORT := $(value PORT)
export SOURCE PORT

# Tests and benchmarks call commands by name, as a user does in an activated environment.
in_venv = PATH="$(CURDIR)/$(BIN):$$PATH" exec

environment = @$(if $(PYTHON),$(PYTHON) tools/environment.py $(1),\
	echo "Frameloom needs Python 3.11 or newer, and none was found. Debian 12 and later:" >&2; \
	echo "  sudo apt-get install python3 python3-pip python3-venv" >&2; exit 1)

# The page is built where it is not there yet, or not of today.
web = @$(BIN)/python tools/web_build.py

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test test-v4l2 test-long check bench lock format clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Start the demo site and open it in the browser (SOURCE=rtsp://... your own camera, PORT=9000)
	$(call environment,run)
	$(web)
	@[ -z "$$SOURCE" ] || export FRAMELOOM_SOURCE="$$SOURCE"; \
	exec $(BIN)/frameloom up --demo $${PORT:+--port "$$PORT"}

test: ## Run the tests (ARGS="-k bus" for some of them)
	$(call environment,dev)
	$(web)
	@tools/debian-packages.sh test
	@$(in_venv) $(BIN)/python -m pytest $(ARGS)

test-v4l2: ## Test cameras (V4L2) in a QEMU guest with the kernel's vivid driver
	$(call environment,dev)
	@tools/debian-packages.sh test v4l2
	@$(in_venv) $(BIN)/python -m pytest -m qemu tests/v4l2 $(ARGS)

test-long: ## Run the tests that take minutes
	$(call environment,dev)
	$(web)
	@tools/debian-packages.sh test
	@$(in_venv) $(BIN)/python -m pytest -m long $(ARGS)

check: ## Check style, types, imports and the house rules
	$(call environment,dev)
	@failed=; \
	$(BIN)/ruff check --quiet . || failed="$$failed ruff-check"; \
	$(BIN)/ruff format --quiet --diff . || failed="$$failed ruff-format(make format mends it)"; \
	$(BIN)/mypy --strict src tools || failed="$$failed mypy"; \
	$(BIN)/lint-imports --no-logo || failed="$$failed lint-imports"; \
	$(BIN)/python tools/house_check.py || failed="$$failed house_check"; \
	$(BIN)/python tools/web_build.py --check || failed="$$failed web_build"; \
	if [ -n "$$failed" ]; then echo "make check failed:$$failed" >&2; exit 1; fi

bench: ## Measure Frameloom beside its peers (writes benchmarks/RESULTS.md)
	$(call environment,bench)
	$(web)
	@$(in_venv) $(BIN)/python -m benchmarks $(ARGS)

lock: ## Pin the dependencies anew (UPGRADE=1 takes the newest versions)
	$(call environment,lock)
	@$(BIN)/python tools/lock.py $(if $(UPGRADE),--upgrade)

format: ## Format the code and mend what can be mended
	$(call environment,dev)
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format --quiet .

clean: ## Remove caches and build results (.venv stays)
	@rm -rf build dist src/frameloom/web/built web/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .cache
	@find . -path ./.venv -prune -o -path ./.git -prune -o -type d -name __pycache__ -print0 | xargs -0 rm -rf
