#!/usr/bin/env bash
# Train with several processes, one per GPU (or on the CPU, where there is no GPU):
#   tools/dist_train.sh CONFIG NGPUS [options of tools/train.py]
# Several machines: NNODES, and on each NODE_RANK (0 …), MASTER_ADDR (of node 0) and one PORT.
# One machine: PORT, if it must be a certain one.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,5s/^# //p' "$0"
    exit 2
fi
"$(dirname "$0")/check_number.sh" NGPUS "$2"
"$(dirname "$0")/check_number.sh" NNODES "${NNODES:-1}"
# what is wrong is said once, not once a process
WORLD_SIZE=$((${NNODES:-1} * $2)) "$(dirname "$0")/python.sh" "$(dirname "$0")/train.py" \
    "$1" "${@:3}" --launcher pytorch --dry-run
if [[ " ${*:3} " =~ " --dry-run "|" --help "|" -h " ]]; then
    exit
fi
exec "$(dirname "$0")/torchrun.sh" "$2" "$(dirname "$0")/train.py" "$1" "${@:3}"
