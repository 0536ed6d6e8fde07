"""Programs that stand for Slurm's: ``sbatch`` starts the jobs of an array here, each a process."""

from __future__ import annotations

from pathlib import Path

from programs import write_program

PROGRAMS = {
    "sbatch": r"""
script="$(dirname "$0")/submitted.sh"
cp "$1" "$script"  # as Slurm does: the file that is submitted has another name soon
last=$(sed -n 's/^#SBATCH --array=0-\([0-9]*\).*/\1/p' "$script")
export SLURM_ARRAY_JOB_ID=77
for task in $(seq 0 "$last"); do
  SLURM_JOB_ID=$((77 + task)) SLURM_ARRAY_TASK_ID=$task setsid bash "$script" >/dev/null 2>&1 &
  echo $! >> "$(dirname "$0")/processes"
done
echo "Submitted batch job 77"
""",
    "srun": r"""
while [[ $1 == --* ]]; do
  [[ $1 == --output ]] && output=$2
  [[ $1 == --error ]] && error=$2
  [[ $1 == --output || $1 == --error ]] && shift
  shift
done
output=${output//%A/77} error=${error//%A/77}
output=${output//%a/$SLURM_ARRAY_TASK_ID} error=${error//%a/$SLURM_ARRAY_TASK_ID}
exec "$@" > "${output//%t/0}" 2> "${error//%t/0}"
""",
    "sacct": r"""
echo 'JobID|State|NodeList|'
task=0
while read -r process; do
  kill -0 "$process" 2>/dev/null || echo "77_$task|FAILED||"
  task=$((task + 1))
done < "$(dirname "$0")/processes"
""",
    "scancel": r"""
echo "$@" >> "$(dirname "$0")/cancelled"
task=${1#*_}
kill -TERM -- "-$(sed -n "$((task + 1))p" "$(dirname "$0")/processes")"
""",
}


def write_programs(folder: Path) -> None:
    """Write the programs into a folder, for PATH."""
    folder.mkdir()
    for name, text in PROGRAMS.items():
        write_program(folder / name, text)
