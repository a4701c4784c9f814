#!/usr/bin/env bash
# One process a host of a Cloud TPU slice; run on every host at once:
#   gcloud compute tpus tpu-vm ssh NAME --worker=all --command="cd fluoro_jax &&
#     launch/tpu_vm.sh launch.train --config=configs/paper_group.py --workdir=DIR"
# after `make install` and `.venv/bin/python -m pip install -e '.[tpu]'` on each.
# DIR must be on storage that all hosts share. DRY_RUN=1 prints the command.
set -euo pipefail
if [ $# -lt 1 ]; then sed -n '2,6s/^# //p' "$0" >&2; exit 2; fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
attribute() {
  curl -sf -H 'Metadata-Flavor: Google' \
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}
endpoints=$(attribute worker-network-endpoints) # a:b:ip of every host, by commas
if [[ $endpoints == *,* ]]; then
  first=${endpoints%%,*}
  commas=${endpoints//[^,]/}
  JAX_COORDINATOR_ADDRESS=${first##*:}:8476
  JAX_NUM_PROCESSES=$((${#commas} + 1))
  JAX_PROCESS_ID=$(attribute agent-worker-number)
  export JAX_COORDINATOR_ADDRESS JAX_NUM_PROCESSES JAX_PROCESS_ID
fi
# No flag is needed to overlap collectives: libtpu does so by itself.
command=("${PYTHON:-.venv/bin/python}" -m "$@")
if [ -n "${DRY_RUN:-}" ]; then
  env | grep -E '^JAX_' | sort || true
  echo "${command[*]@Q}"
  exit
fi
exec "${command[@]}"
