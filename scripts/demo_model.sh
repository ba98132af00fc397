#!/usr/bin/env bash
# make demo-model: simulator episodes -> data set -> training through main.py -> table. Interrupt and repeat at will.
# Usage: scripts/demo_model.sh <bundled model> <episodes a task> <horizon in frames>
set -euo pipefail
bundled=$1 episodes=$2 horizon=$3
test_episodes=0-23
PATH="$PWD/.venv/bin:$PATH"
cores=$(env -u OMP_NUM_THREADS nproc) # which counts the threads of OpenMP
run=${RUN:-logs/demo_model}
base="configs/train.yaml configs/cpu_tiny.yaml"

step() {
    printf '\n$ %s\n' "$*"
    "$@"
}

step python -m dataset_tools.simulate --task all --episodes "$episodes" --output data/sim --save-freq 50 --workers "$cores"
step python -m dataset_tools.prepare_dataset --episodes data/sim --output data/prepared --horizon "$horizon" \
    --holdout "$test_episodes" --val 0.08 --size 128 --workers "$cores"

device=()
if python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    device=(--gpus 0)
else
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # two threads wait for each other where cores are shared
fi
if [ -e "$run/checkpoints/last.ckpt" ]; then
    step python main.py --resume "$run" "${device[@]}"
else
    # shellcheck disable=SC2086 # two files
    step python main.py --base $base --folder "$run" "${device[@]}"
fi

step python -m stable_diffusion.convert --input "$run" --output "$run/model.safetensors" --layout ldm --dtype float16 --ema
mkdir -p "$bundled"
cp "$run/model.safetensors" "$run/config.yaml" "$run/run.json" "$bundled/"
step python edit_cli.py --input data/prepared --split test --output "$run/predictions" --ckpt "$bundled/model.safetensors"
step python -m metrics.baselines --train-data data/prepared --size 128 --output-means "$bundled/train_means.npz"
step python -m metrics.compute_metrics --data data/prepared --split test --train-data data/prepared \
    --predictions "model=$run/predictions" --size 128 --output "$run/metrics"
cp "$run/metrics/table.csv" "$run/metrics/grid.png" "$bundled/"
step python -m scripts.model_results --run "$run" --data data/prepared --table "$run/metrics/table.md" \
    --output "$bundled/results.md"
echo "The bundled model is in $bundled/; its table is in $bundled/results.md."
