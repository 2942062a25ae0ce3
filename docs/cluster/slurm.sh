#!/bin/bash
# One data set by two nodes: PLAN=plan.yaml OUTPUT=/shared/set sbatch docs/cluster/slurm.sh
# Submitted again, or requeued, it goes on where it was ended.
#SBATCH --job-name=cxr-dataset
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=4
#SBATCH --time=12:00:00
#SBATCH --requeue
set -euo pipefail

: "${PLAN:?the plan, .yaml or .csv}" "${OUTPUT:?a folder that all nodes share}"
# On each node: as many as it has GPUs or, without any, cores.
export PLAN OUTPUT PROCESSES="${PROCESSES:-4}"
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p) # reads to the end: head would break the pipe
export HEAD

srun bash -c 'python -m torch.distributed.run --nnodes="$SLURM_NNODES" --node-rank="$SLURM_NODEID" \
  --nproc-per-node="$PROCESSES" --master-addr="$HEAD" --master-port="${PORT:-29500}" \
  -m cxr dataset "$PLAN" --output "$OUTPUT"'
