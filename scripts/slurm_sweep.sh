#!/usr/bin/env bash
# A sweep as an array of SLURM jobs that share its directory, without anything that stays on the login node.
#
#   sbatch --array=1-16 --partition=gpu --gpus-per-node=1 --time=240 scripts/slurm_sweep.sh runs/big --config sweep.toml
#   mupwd sweep runs/big --status
#   mupwd sweep runs/big            # once all have results: the verdict, in seconds
#
# Every job declares the same sweep and runs trials of it until none is missing. One that is preempted gives up what it was at
# and is queued again; one that runs out of time gives up likewise, and the array is submitted again to go on. Where a login node
# may run a small process for hours, `mupwd sweep runs/big --executor slurm --workers 16` replaces jobs by itself.
#
# Options before the script are sbatch's. The environment of the submitting shell is the jobs'.
# Tried: on a SLURM of one node (scripts/slurm_one_node.sh). Not tried: several nodes, GPUs.
#SBATCH --job-name=mupwd-sweep
#SBATCH --output=%x-%A_%a.log
#SBATCH --requeue
# Signals a minute before the time is up, so that claims are given up and nobody has to wait for them.
#SBATCH --signal=TERM@60
set -euo pipefail

if [ $# -lt 1 ]; then
  echo "usage: sbatch [options of sbatch] $0 DIR [options of mupwd sweep]" >&2
  exit 2
fi
# A job runs one trial per GPU at a time, or one per core that it may use (--processes says otherwise).
exec srun --ntasks=1 mupwd sweep "$@" --worker
