#!/usr/bin/env bash
# Evaluate with several processes, one per GPU (or on the CPU, where there is no GPU):
#   tools/dist_test.sh CONFIG CHECKPOINT NGPUS [options of tools/test.py]
# Several machines: NNODES, and on each NODE_RANK (0 …), MASTER_ADDR (of node 0) and one PORT.
# One machine: PORT, if it must be a certain one.
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,5s/^# //p' "$0"
    exit 2
fi
"$(dirname "$0")/check_number.sh" NGPUS "$3"
"$(dirname "$0")/check_number.sh" NNODES "${NNODES:-1}"
# what is wrong is said once, not once a process
"$(dirname "$0")/python.sh" "$(dirname "$0")/test.py" "$1" "$2" "${@:4}" --dry-run
if [[ " ${*:4} " =~ " --dry-run "|" --help "|" -h " ]]; then
    exit
fi
exec "$(dirname "$0")/torchrun.sh" "$3" "$(dirname "$0")/test.py" "$1" "$2" "${@:4}"
