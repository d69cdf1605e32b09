#!/usr/bin/env bash
# python.sh ARGS…: the Python of an activated virtual environment, else of `make install`, else of
# conda or the system.
if [ -n "${VIRTUAL_ENV:-}" ]; then
    exec python "$@"
fi
venv="$(dirname "$0")/../.venv/bin/python"
if [ -x "$venv" ]; then
    exec "$venv" "$@"
fi
exec "$(command -v python || command -v python3)" "$@"
