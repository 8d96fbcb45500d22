#!/usr/bin/env bash
# A SLURM cluster of one node, this machine, to try `mupwd sweep --executor slurm` without a cluster.
#
#   sudo scripts/slurm_one_node.sh start DIR     # installs Debian's slurm-wlm and munge where they are missing
#   export SLURM_CONF=DIR/slurm.conf
#   sinfo; mupwd sweep runs/first --executor slurm --workers 2 --resource partition=low
#   sudo scripts/slurm_one_node.sh stop DIR
#
# DIR holds the configuration, state and logs; nothing under /etc/slurm is touched. Two partitions share the node: jobs of
# `high` preempt those of `low`, which are cancelled after 5 seconds of grace (on a partition with PreemptMode=REQUEUE they
# would be queued again; `mupwd sweep` starts others itself). No accounting: `sacct` knows nothing, as on small clusters.
set -euo pipefail

if [ $# -ne 2 ] || { [ "$1" != start ] && [ "$1" != stop ]; }; then
  echo "usage: $0 start|stop DIR" >&2
  exit 2
fi
action="$1"
mkdir -p "$2"
folder="$(cd "$2" && pwd)"
if [ "$(id -u)" -ne 0 ]; then
  echo "$0: needs root, for slurmd and munged" >&2
  exit 1
fi

stop_daemon() {
  if [ -f "$folder/$1.pid" ]; then
    kill "$(cat "$folder/$1.pid")" 2>/dev/null || true
    rm -f "$folder/$1.pid"
  fi
}

if [ "$action" = stop ]; then
  SLURM_CONF="$folder/slurm.conf" scancel --user="$(id -un)" 2>/dev/null || true
  stop_daemon slurmd
  stop_daemon slurmctld
  stop_daemon munged
  exit 0
fi

if ! { command -v slurmctld && command -v slurmd && command -v munged; } >/dev/null; then
  if ! command -v apt-get >/dev/null; then
    echo "$0: slurm-wlm and munge are not installed, and there is no apt-get to install them with" >&2
    exit 1
  fi
  apt-get update -qq || true
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >"$folder/install.log" 2>&1 || {
    echo "$0: apt-get could not install slurm-wlm and munge: $folder/install.log" >&2
    exit 1
  }
fi

# A key and a socket of its own, so that a munge that runs already is left alone.
if [ ! -f "$folder/munge.key" ]; then
  (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
fi
munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
  --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"

host="$(hostname -s)"
cores="$(nproc)"
# Half of the memory: jobs ask for none, and none is enforced.
memory="$(awk '/MemTotal/ { print int($2 / 2048) }' /proc/meminfo)"
mkdir -p "$folder/state" "$folder/spool"
cat >"$folder/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${SLURMCTLD_PORT:-16817}
SlurmdPort=${SLURMD_PORT:-16818}
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=5
MinJobAge=10
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores Boards=1 SocketsPerBoard=1 CoresPerSocket=$cores ThreadsPerCore=1 RealMemory=$memory State=UNKNOWN
PartitionName=low Nodes=$host Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=CANCEL GraceTime=5
PartitionName=high Nodes=$host MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
CONF

export SLURM_CONF="$folder/slurm.conf"
slurmctld
slurmd
for _ in $(seq 60); do
  if sinfo --noheader --format=%T 2>/dev/null | grep -q idle; then
    echo "a SLURM cluster of one node with $cores cores runs: export SLURM_CONF=$folder/slurm.conf"
    exit 0
  fi
  sleep 0.5
done
echo "$0: the node did not come up: $folder/slurmctld.log, $folder/slurmd.log" >&2
exit 1
