# Two commands are enough: `make demo` and `make test`. Each sets up what it needs and is quick when nothing changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
S3_VENV := .venv-s3
CLIENT_VENV := .venv-client
GPU_VENV := .venv-gpu
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long test-all test-s3 test-interleavings check format bench bench-decode bench-embed bench-table bench-backfill bench-index bench-index-peers bench-query bench-serve test-index-gpu clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

setup: $(VENV)/.stamp ## the virtual environment, with .venv/bin/shotlake

$(VENV)/.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "shotlake needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	@echo "installing (about a minute with a warm cache) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[cpu,dev]"
	@touch $@

# moto pins another botocore than s3fs, so the S3 server of the tests lives apart; without it those tests skip and say so
$(S3_VENV)/.stamp: tests/s3-requirements.txt
	-@$(PYTHON) -m venv $(S3_VENV) && $(S3_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $< && touch $@

# the generator wants other versions of what is pinned; without it its test skips and says so
$(CLIENT_VENV)/.stamp: tests/client-requirements.txt
	-@$(PYTHON) -m venv $(CLIENT_VENV) && $(CLIENT_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $< && touch $@

demo: setup ## paint a small archive, index it, answer eight queries
	$(BIN)/shotlake demo --seed 7

test: setup $(S3_VENV)/.stamp ## the tests, in two processes
	$(BIN)/python -m pytest -n 2 --dist loadscope

test-long: setup $(S3_VENV)/.stamp $(CLIENT_VENV)/.stamp ## the tests of whole demos, trainings, notebooks, submitted jobs and lost clusters, in two processes
	$(BIN)/python -m pytest -n 2 --dist loadscope -m long

test-all: setup $(S3_VENV)/.stamp $(CLIENT_VENV)/.stamp ## these, those of `test-long` and the slow ones, and those with S3 against a second server
	$(BIN)/python -m pytest -m 'not bench'
	$(MAKE) test-s3

test-interleavings: setup ## every two commands on one lake, stopped and killed at each kind of request; up to 90 minutes
	$(BIN)/python tests/faults/interleave.py --minutes $(or $(MINUTES),80) --shards 2 --seed $(or $(SEED),1)

test-s3: setup ## the tests that need an S3 server, against Ceph's radosgw; installed from Debian's packages if it is not there
	@command -v radosgw >/dev/null && command -v ceph-osd >/dev/null || \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends radosgw ceph-mon ceph-osd ceph-common >/dev/null || \
	  echo "radosgw cannot be installed here (apt-get, as root); its tests will skip and say so"
	SHOTLAKE_TEST_S3=radosgw $(BIN)/python -m pytest -m 's3 and not slow'

# faiss-cpu and faiss-gpu own the same folder, so the second lives apart; it imports and searches without a GPU
$(GPU_VENV)/.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(GPU_VENV)
	$(GPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[gpu,dev]"
	@touch $@

test-index-gpu: $(GPU_VENV)/.stamp ## the tests of the index under the extra `gpu`, with or without a GPU; a download of 1.5 GB
	$(GPU_VENV)/bin/python -m pytest tests/index

check: setup ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: setup ## rewrite the code as `make check` wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bench-decode bench-embed bench-table bench-backfill bench-index bench-query bench-serve ## values against the limit of the same work, as JSON lines

bench-decode: setup ## the decode room against a bare decode of the same files
	$(BIN)/python tests/bench/bench_decode.py

bench-embed: setup ## the embedding stage against the bare network on the same clips
	$(BIN)/python tests/bench/bench_embed.py

bench-table: setup ## files and committer against plain Parquet; the anti-join of a large archive
	$(BIN)/python tests/bench/bench_table.py

bench-backfill: setup ## a backfill against its bare rooms; its driver over a million videos; a million keys listed
	$(BIN)/python tests/bench/bench_backfill.py

bench-index-peers: setup ## the index beside other libraries on the same rows, each in an environment of its own
	$(BIN)/python tests/bench/bench_index_peers.py

bench-index: setup ## the index against bare faiss on the same rows
	$(BIN)/python tests/bench/bench_index.py
	$(BIN)/python tests/bench/bench_truth.py

bench-query: setup ## on demo archives: whether a hit is called a match, and the spaces against each other
	$(BIN)/python tests/bench/bench_query.py

bench-serve: demo ## the service on the demo's lake: after attacks, beside uploads, its memory, its start
	$(BIN)/python tests/bench/bench_serve.py demo-lake $$(find demo-archive -name '*.mp4' -size -600k | sort | head -1)

clean: ## remove the environments, caches and the demo
	rm -rf $(VENV) $(S3_VENV) $(CLIENT_VENV) $(GPU_VENV) .venv-peers* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache demo-lake demo-archive
