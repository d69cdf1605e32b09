#!/usr/bin/env bash
# Train on a slurm cluster, one process per GPU:
#   tools/slurm_train.sh PARTITION JOB CONFIG [options of tools/train.py]
# Environment: GPUS in all (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS (more for srun).
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,4s/^# //p' "$0"
    exit 2
fi
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
tools=$(cd "$(dirname "$0")" && pwd)
"$tools/check_number.sh" GPUS "$gpus"
"$tools/check_number.sh" GPUS_PER_NODE "$per_node"
if [ "$gpus" -lt "$per_node" ]; then
    per_node=$gpus
elif [ $((gpus % per_node)) != 0 ]; then
    echo "GPUS=$gpus is no multiple of GPUS_PER_NODE=$per_node" >&2
    exit 1
fi
# what is wrong is said once and at once, not by each process after the queue
SLURM_NTASKS=$gpus "$tools/python.sh" "$tools/train.py" "$3" "${@:4}" --launcher slurm --dry-run
if [[ " ${*:4} " =~ " --dry-run "|" --help "|" -h " ]]; then
    exit
fi
# SRUN_ARGS is split into words on purpose
# shellcheck disable=SC2086
exec srun --partition "$1" --job-name "$2" --gres "gpu:$per_node" --ntasks "$gpus" \
    --ntasks-per-node "$per_node" --cpus-per-task "${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} "$tools/python.sh" -u "$tools/train.py" "$3" "${@:4}" --launcher slurm
