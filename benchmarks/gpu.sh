#!/usr/bin/env bash
# What a meta-update takes on this machine's GPU, by several ways, and where its time goes. Needs this tree and an
# environment with torch in which the package can be imported, nothing else: teachers are random. Not measured so far.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
export PYTHONPATH="src${PYTHONPATH:+:$PYTHONPATH}"
exec "$PYTHON" benchmarks/gpu.py "$@"
