#!/usr/bin/env bash
# How good are a joint model's frames, view by view? Beside copying, the mean and the nearest training target; the head
# camera's beside the bundled picture model's, on the same pairs.
# Usage: scripts/view_quality.sh <run> <prepared episodes> <output> [further options of prediction.view_frames]
set -euo pipefail
run=$1 episodes=$2 output=$3
PATH="$PWD/.venv/bin:$PATH"

step() {
    printf '\n$ %s\n' "$*"
    "$@"
}

split=test
for option in "${@:4}"; do
    if [ "${before:-}" = --split ]; then split=$option; fi
    before=$option
done
if [ ! -d "$output/frames" ]; then
    step python -m prediction.view_frames --ckpt "$run" --data "$episodes" --output "$output/frames" "${@:4}"
fi
for view in "$output"/frames/*/; do
    camera=$(basename "$view")
    if [ ! -d "$view/joint" ]; then continue; fi
    rows=("joint=$view/joint")
    if [[ $camera == *head* ]]; then
        step python edit_cli.py --input "$view/pairs" --split "$split" --output "$output/bundled_$camera"
        rows+=("bundled=$output/bundled_$camera")
    fi
    step python -m metrics.compute_metrics --data "$view/pairs" --split "$split" --train-data "$view/pairs" \
        --predictions "${rows[@]}" --output "$output/$camera"
done
echo "The tables are $output/<camera>/table.md."
