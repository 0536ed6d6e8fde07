#!/usr/bin/env bash
# A run on a machine that may be taken away at any time.
#
#   examples/preemptible.sh runs/pc search --preset pc-darts --dataset cifar10
#   examples/preemptible.sh runs/network retrain runs/pc
#
# The first word is the run folder, which must outlive the machine; the others are a command of
# adarts. Whatever starts jobs there (systemd, Kubernetes, a queue) starts this script, and starts it
# again, by the same words, when there is a machine again: a run that has a checkpoint goes on from
# it, and ends with the same bits as one that was left alone.
#
# SIGTERM, which announces that the machine is taken away, and Ctrl-C are handed on to the run: it
# ends its step and saves. A run that is killed without notice goes on from its last checkpoint, no
# older than --save-every minutes.
#
# The exit status is 0 when the run has ended; 143 when it was stopped and saved, and this is to be
# started again; anything else is an error, which another start would not mend.
set -uo pipefail
folder=${1:?expected a run folder, then a command of adarts}
shift

stop() {
  stopped=1
  kill -TERM "$run"
}

# A run that was ended by a signal goes on at once, unless this script was sent it too.
stopped=
for _ in {1..10}; do
  words=("$@" --out "$folder")
  [[ -e $folder/checkpoint.pt || -e $folder/checkpoint.previous.pt ]] && words+=(--resume)
  adarts "${words[@]}" &
  run=$!
  trap stop TERM INT
  wait "$run"
  status=$?
  while kill -0 "$run" 2>/dev/null; do # a signal to this script ends `wait`, not the run
    wait "$run"
    status=$?
  done
  if [[ $stopped ]] || ((status <= 128)); then
    exit "$status"
  fi
  echo "ended by a signal, status $status; going on" >&2
done
exit "$status"
