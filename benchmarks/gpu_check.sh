#!/usr/bin/env bash
# Checks the GPU path on a machine with an NVIDIA GPU, in ten minutes at most: correctness first of all, then speed.
#
# usage: PYTHON=python3 benchmarks/gpu_check.sh [--cpu] OUT [PHOTOS]
#
# Run it from a clone, with a Python that has torch for CUDA, ultralytics, OpenCV, NumPy, psutil and YAML. It uses no
# network. OUT gets a JSON file for each step, `results.json` with all of them, and `table.md`, which is also printed.
# PHOTOS is a folder of ZIP archives with small JPEGs; where a truth.csv (see evaluate.py) lies in it or beside it, AP50
# is compared as well. Without PHOTOS, photos are made. With --cpu it rehearses on tiny work, without a GPU: the network
# runs on the CPU, and what needs a GPU is skipped and named. TMPDIR may name the disk to work on; it takes 10 GB.
set -u
cpu=()
if [ "${1:-}" = --cpu ]; then
	cpu=(--cpu)
	shift
fi
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
	sed -n '4p' "$0" >&2
	exit 2
fi
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
photos=()
if [ $# -eq 2 ]; then
	photos=("--photos=$(cd "$2" && pwd)") || exit 2
fi
python=${PYTHON:-python3}
most=590 # seconds, for all steps
patience=1
if [ ${#cpu[@]} -gt 0 ]; then # a rehearsal may be slow
	patience=4 most=2400
fi
scratch=$(mktemp -d "${TMPDIR:-/tmp}/zipcrop-gpu-check.XXXXXX")
stand_ins=$scratch/stand-ins
path=$root/workflow/scripts${PYTHONPATH:+:$PYTHONPATH}
failed=0

step() { # NAME SECONDS: runs a step, and kills it when its time is over
	local left=$((most - SECONDS)) seconds=$((patience * $2)) status=0
	if [ "$left" -lt 5 ]; then
		echo "$1: not run, since the ten minutes are over" >&2
		return
	fi
	[ "$left" -lt "$seconds" ] && seconds=$left
	timeout --kill-after=3 "$seconds" "$python" "$root/benchmarks/gpu_check.py" "$1" "${common[@]}" >"$out/$1.log" 2>&1 ||
		status=$?
	case $status in
	0) echo "$1: done, $SECONDS s so far" ;;
	124 | 137) echo "$1: OUT OF TIME after $seconds s" && failed=1 ;;
	*) echo "$1: FAIL, see $out/$1.log" && failed=1 ;;
	esac
}

# shellcheck disable=SC2317 # the trap calls it
finish() {
	"$python" "$root/benchmarks/gpu_check.py" table "${common[@]}"
	rm -rf "$scratch"
}

common=("--out=$out" "--scratch=$scratch" "${photos[@]}" "${cpu[@]}")
rm -f "$out"/*.json "$out/table.md"
trap finish EXIT
# Children find stand-ins for missing packages, or for the GPU, once they are made.
export PYTHONPATH=$path YOLO_OFFLINE=1 YOLO_AUTOINSTALL=0 ZIPCROP_GPU_CHECK=$scratch
step prepare 70
export PYTHONPATH=$stand_ins:$path
[ ${#cpu[@]} -gt 0 ] && export CUDA_VISIBLE_DEVICES=0
step facts 20
step decoding 60
step start 45
step rectangles 75
step correctness 45
step tf32 35
step archives 130
step small_large 70
step failures 75
step parity 50
exit "$failed"
