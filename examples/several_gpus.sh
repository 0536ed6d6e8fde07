#!/usr/bin/env bash
# A run on all GPUs of one machine.
#
#   examples/several_gpus.sh runs/pc search --preset pc-darts --dataset cifar10
#   examples/several_gpus.sh runs/network retrain runs/pc
#
# The first word is the run folder, the others are a command of adarts. Each GPU has a process of its
# own, with its part of every batch: --batch-size is that of all together. PROCESSES=4 takes four
# GPUs. Without a GPU there are two processes on the CPU, to try it out.
#
# Out comes a run folder like that of one process. After Ctrl-C, SIGTERM or a crash the same words go
# on where it was.
set -euo pipefail
folder=${1:?expected a run folder, then a command of adarts}
shift

gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l) || true
words=("$@" --out "$folder")
[[ -e $folder/checkpoint.pt || -e $folder/checkpoint.previous.pt ]] && words+=(--resume)
exec torchrun --nproc-per-node "${PROCESSES:-$((gpus > 0 ? gpus : 2))}" -m adarts_ext "${words[@]}"
