#!/usr/bin/env bash
# A sweep on the hosts of TPU VMs, or of one TPU pod slice: every host runs trials of its own, on its own chips.
#
#   scripts/tpu_sweep.sh NAME ZONE /mnt/shared/project runs/big --config sweep.toml
#   mupwd sweep runs/big --status          # in /mnt/shared/project on any of the hosts
#
# /mnt/shared/project is a folder of a file system that all hosts mount (Filestore, say), with the code, its virtual
# environment in .venv (`pip install 'mupwd[proxy]' 'jax[tpu]'`), and the sweep's directory. Every host runs
# `mupwd sweep DIR ... --worker`: they share the trials by their claims. Preempted hosts lose what they were at, and nothing
# else; start the same command once they are back. For one large trial on all chips of a slice, see scripts/tpu_pod.sh.
#
# CHIPS is the shape of one host's chips: 2,2,1 for the four of a v4, v5p or v6e host (the default), 2,4,1 for eight.
# Not tried: no TPU was at hand. Tried: the command that each host runs, on a CPU, several at a time.
set -euo pipefail

if [ $# -lt 4 ]; then
  echo "usage: [CHIPS=2,2,1] $0 NAME ZONE PROJECT_FOLDER DIR [options of mupwd sweep]" >&2
  exit 2
fi
name="$1" zone="$2" project="$3"
shift 3

# Without these, the first use of a chip waits for the other hosts of the slice.
alone="TPU_PROCESS_BOUNDS=1,1,1 TPU_CHIPS_PER_PROCESS_BOUNDS=${CHIPS:-2,2,1} CLOUD_TPU_TASK_ID=0"
printf -v arguments '%q ' "$@"
printf -v folder '%q' "$project"
# It lives on when the connection does not; each host has a log of its own.
run="nohup env $alone .venv/bin/mupwd sweep $arguments --worker < /dev/null > logs/sweep-\$(hostname).log 2>&1 &"
command="cd $folder && mkdir -p logs && { $run }"
if [ -n "${DRY_RUN:-}" ]; then
  printf '%s\n' "$command"
  exit 0
fi
gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$command"
