#!/usr/bin/env bash
# Train with several processes, one per GPU (or on the CPU, where there is no GPU):
#   tools/dist_train.sh CONFIG NGPUS [options of tools/train.py]
# Environment: PORT (a free one by default), NNODES, NODE_RANK, MASTER_ADDR.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,4s/^# //p' "$0"
    exit 2
fi
# what is wrong is said once, not once a process
"$(dirname "$0")/python.sh" "$(dirname "$0")/train.py" "$1" "${@:3}" --dry-run
exec "$(dirname "$0")/torchrun.sh" "$2" "$(dirname "$0")/train.py" "$1" "${@:3}"
