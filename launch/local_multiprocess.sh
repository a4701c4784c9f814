#!/usr/bin/env bash
# Several processes of one run on this machine.
#   launch/local_multiprocess.sh 2 launch.train --config=configs/paper_group.py:smoke --workdir=runs/two
# With NVIDIA GPUs process i gets GPU i. If one process fails, the others are stopped.
# DRY_RUN=1 prints the commands and runs nothing.
set -euo pipefail
if [ $# -lt 2 ]; then sed -n '2,5s/^# //p' "$0" >&2; exit 2; fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
count=$1 module=$2
shift 2
python=${PYTHON:-.venv/bin/python}
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
common=(JAX_COORDINATOR_ADDRESS=127.0.0.1:"$port" JAX_NUM_PROCESSES="$count")
gpus=false
if command -v nvidia-smi >/dev/null; then
  gpus=true
  # XLA then starts copies and collectives early and computes what does not need them
  # meanwhile. What the user has set comes last, and wins.
  common+=("XLA_FLAGS=--xla_gpu_enable_latency_hiding_scheduler=true ${XLA_FLAGS:-}")
fi

pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT
for ((i = 0; i < count; i++)); do
  one=(env "${common[@]}" JAX_PROCESS_ID="$i")
  if $gpus; then one+=(CUDA_VISIBLE_DEVICES="$i"); fi
  one+=("$python" -m "$module" "$@")
  if [ -n "${DRY_RUN:-}" ]; then
    echo "${one[*]@Q}"
    continue
  fi
  "${one[@]}" &
  pids+=($!)
done
for _ in "${pids[@]}"; do wait -n; done
