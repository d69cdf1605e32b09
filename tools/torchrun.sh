#!/usr/bin/env bash
# torchrun.sh NPROC SCRIPT ARGS…: what dist_train.sh and dist_test.sh share.
set -euo pipefail
tools=$(dirname "$0")
if [ "${NNODES:-1}" = 1 ] && [ "${PORT:-0}" = 0 ]; then
    # on one machine torchrun finds a free port by itself
    rendezvous=(--nnodes 1 --rdzv-backend c10d --rdzv-endpoint localhost:0)
else
    "$tools/check_number.sh" NODE_RANK "${NODE_RANK:-0}" 0 $((${NNODES:-1} - 1))
    "$tools/check_number.sh" PORT "${PORT:-29500}" 1 65535
    [ "${NNODES:-1}" != 1 ] || MASTER_ADDR=localhost
    rendezvous=(--nnodes "${NNODES:-1}" --node-rank "${NODE_RANK:-0}"
        --master-addr "${MASTER_ADDR:?the address of node 0}" --master-port "${PORT:-29500}")
    [ "${NODE_RANK:-0}" != 0 ] || "$tools/python.sh" -I -c '
import socket
import sys
with socket.socket() as one:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind(("", int(sys.argv[1])))
    except OSError as error:
        sys.exit(f"error: PORT {sys.argv[1]} cannot be used ({error}): use another")
' "${PORT:-29500}"
fi
# torchrun's own default, set here so that it need not warn about it
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# torch.distributed.run, which would answer Ctrl+C with a traceback after it has ended the processes
launch='
import sys
sys.path = [path for path in sys.path if path]  # not the folder where the user happens to be
import traceback
from tempfile import TemporaryDirectory
try:
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main
    try:
        with TemporaryDirectory(prefix="torchrun_") as folder:  # the one of torchrun would stay
            main(["--log-dir", folder, *sys.argv[1:]])
    except ChildFailedError as error:
        if error.get_first_failure()[1].exitcode != -9:
            raise
        traceback.print_exc()
        sys.exit("error: a process was killed (SIGKILL), as Linux does where memory runs out: start "
                 "fewer processes, or smaller batches (train_dataloader.batch_size)")
    except SignalException as error:
        if error.sigval != 2:
            sys.exit(128 + error.sigval)
        raise KeyboardInterrupt from error
except KeyboardInterrupt:
    sys.stderr.write("interrupted\n")
    sys.exit(130)
'
exec "$tools/python.sh" -c "$launch" "${rendezvous[@]}" \
    --nproc-per-node "$1" "${@:2}" --launcher pytorch
