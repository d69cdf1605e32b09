#!/usr/bin/env bash
# torchrun.sh NPROC SCRIPT ARGS…: what dist_train.sh and dist_test.sh share.
set -euo pipefail
if [ "${NNODES:-1}" = 1 ]; then
    # on one machine torchrun finds a free port by itself, unless one is wished
    rendezvous=(--nnodes 1 --rdzv-backend c10d --rdzv-endpoint "localhost:${PORT:-0}")
else
    rendezvous=(--nnodes "$NNODES" --node-rank "${NODE_RANK:-0}"
        --master-addr "${MASTER_ADDR:?the address of node 0}" --master-port "${PORT:-29500}")
fi
# torchrun's own default, set here so that it need not warn about it
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$(dirname "$0")/python.sh" -m torch.distributed.run "${rendezvous[@]}" \
    --nproc-per-node "$1" "${@:2}" --launcher pytorch
