#!/usr/bin/env bash
# Resolves requirements.lock (to run) and requirements-dev.lock (to run, test and lint).
# Both carry hashes and name no package index: pip takes whichever it is set up for.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v uv >/dev/null || { echo "lock.sh needs uv: https://docs.astral.sh/uv/" >&2; exit 1; }

compile=(uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes
  --no-header --no-annotate --no-emit-index-url --quiet)
"${compile[@]}" --extra build --extra test --extra lint --extra otel "$@" --output-file requirements-dev.lock
"${compile[@]}" --extra build --constraint requirements-dev.lock "$@" --output-file requirements.lock
