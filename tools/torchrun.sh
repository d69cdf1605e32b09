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
# torch.distributed.run, which would answer Ctrl+C with a traceback after it has ended the processes
launch='
import sys
sys.path = [path for path in sys.path if path]  # not the folder where the user happens to be
try:
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.run import main
    try:
        main()
    except SignalException as error:
        if error.sigval != 2:
            sys.exit(128 + error.sigval)
        raise KeyboardInterrupt from error
except KeyboardInterrupt:
    sys.stderr.write("interrupted\n")
    sys.exit(130)
'
exec "$(dirname "$0")/python.sh" -c "$launch" "${rendezvous[@]}" \
    --nproc-per-node "$1" "${@:2}" --launcher pytorch
