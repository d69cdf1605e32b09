#!/usr/bin/env bash
# python.sh ARGS…: the activated environment's Python, else the one of `make install`, else python3.
if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]; then
    exec python "$@"
fi
venv="$(dirname "$0")/../.venv/bin/python"
if [ -x "$venv" ]; then
    exec "$venv" "$@"
fi
exec python3 "$@"
