#!/usr/bin/env bash
# One training run of the proxy on a TPU pod slice: the same command on every host, by gcloud's ssh.
#
#   scripts/tpu_pod.sh POD ZONE --width 4096 --learning_rate 2^-6 --weight_decay 2^-2 --out /mnt/runs/w4096
#
# What follows POD and ZONE goes to scripts/train_many_hosts.py. Beforehand, once: `gcloud auth login`; a checkout of
# this repository at ~/mupwd on every host, with `pip install '.[proxy]' 'jax[tpu]'` in ~/mupwd/.venv; and a directory
# that all hosts share, for --out (Filestore, or another NFS; hosts of a pod share none by themselves).
# MUPWD_CHECKOUT names another folder than mupwd. Where one host fails the others end within two minutes; start the same
# command again, and it goes on from the last checkpoint.
#
# Tried: that the command arrives whole at the shell of a host, with a stand-in for gcloud that runs it here; and
# train_many_hosts.py with two processes on CPUs. Not tried: gcloud itself, a TPU, a pod.
set -euo pipefail

if [ $# -lt 3 ]; then
  echo "usage: $0 POD ZONE FLAGS...   (flags of scripts/train_many_hosts.py)" >&2
  exit 2
fi
pod="$1" zone="$2"
shift 2
if ! command -v gcloud >/dev/null; then
  echo "$0: gcloud is not installed: https://cloud.google.com/sdk/docs/install" >&2
  exit 1
fi

# Quoted for the shell of the hosts.
flags="$(printf ' %q' "$@")"
checkout="$(printf '%q' "${MUPWD_CHECKOUT:-mupwd}")"
exec gcloud compute tpus tpu-vm ssh "$pod" --zone="$zone" --worker=all \
  --command="cd $checkout && .venv/bin/python scripts/train_many_hosts.py$flags"
