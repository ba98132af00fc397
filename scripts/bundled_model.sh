#!/usr/bin/env bash
# make bundled-model: simulator episodes in three looks -> foresight and U-Net by main.py -> tables by time, of centimetres
# and of doubt. Interrupt and repeat at will; DATA, RUN and STEPS (of the training; fewer for a trial) may be set.
# Usage: scripts/bundled_model.sh <folder of the model>
set -euo pipefail
bundled=$1
PATH="$PWD/.venv/bin:$PATH"
cores=$(env -u OMP_NUM_THREADS nproc) # which counts the threads of OpenMP
data=${DATA:-data} run=${RUN:-logs/bundled}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # two threads wait for each other where cores are shared

step() {
    printf '\n$ %s\n' "$*"
    "$@"
}
simulate() { step python -m dataset_tools.simulate --task all --save-freq 50 --workers "$cores" "$@"; }
prepare() { step python -m dataset_tools.prepare_dataset --size 128 --workers "$cores" "$@"; }

simulate --episodes 400 --first-episode 24 --looks train dark train bright --output "$data/bundled_sim"
simulate --episodes 24 --output "$data/bundled_test"
simulate --episodes 24 --looks unseen --output "$data/bundled_unseen"
step python -m dataset_tools.prepare_episodes --episodes "$data/bundled_sim" --output "$data/bundled" --camera head_camera \
    --size 128 --val 0.03 --test 0 --workers "$cores"
prepare --episodes "$data/bundled_sim" --output "$data/bundled_pairs" --horizon 20 --stride 4 --val 0 --test 0
prepare --episodes "$data/bundled_test" --output "$data/test_pairs" --horizon 20 --all-test
prepare --episodes "$data/bundled_unseen" --output "$data/unseen_pairs" --horizon 20 --stride 4 --all-test
prepare --episodes "$data/bundled_test" --output "$data/test_times" --pairing multi_horizon \
    --horizon-seconds 1 2 3 4 5 6 --stride 10 --all-test

if [ -e "$run/checkpoints/last.ckpt" ]; then
    step python main.py --resume "$run"
else
    # shellcheck disable=SC2086 # two flags
    step python main.py --base configs/train.yaml configs/cpu_tiny.yaml configs/bundled.yaml --folder "$run" \
        ${STEPS:+--max_steps $STEPS} "data.params.train.params.folder=$data/bundled" \
        "data.params.validation.params.folder=$data/bundled"
fi

step python -m stable_diffusion.convert --input "$run" --output "$run/model.safetensors" --layout ldm --dtype float16 --ema
mkdir -p "$bundled"
cp "$run/model.safetensors" "$run/config.yaml" "$run/run.json" "$bundled/"
predict() { step python edit_cli.py --ckpt "$bundled/model.safetensors" --split test --input "$data/$1" --output "$run/$2" "${@:3}"; }
measure() { step python -m metrics.compute_metrics --split test --size 128 --probe --data "$data/$1" --output "$run/$2" "${@:3}"; }
predict test_pairs predictions
predict unseen_pairs predictions_unseen
predict test_times direct
predict test_times fed_back --chain 1
predict test_times sampled --samples 8
step python -m metrics.baselines --train-data "$data/bundled_pairs" --size 128 --output-means "$bundled/train_means.npz"
measure test_pairs metrics --train-data "$data/bundled_pairs" --predictions "model=$run/predictions"
measure unseen_pairs metrics_unseen --predictions "model=$run/predictions_unseen"
measure test_times metrics_times --predictions "drawn directly=$run/direct" "fed back=$run/fed_back"
step python -m metrics.by_horizon --data "$data/test_times" --scores "$run/metrics_times" --output "$run/by_horizon"
step python -m metrics.calibration --data "$data/test_times" --split test --predictions "$run/sampled" --output "$run/calibration"
cp "$run/metrics/table.csv" "$run/metrics/grid.png" "$bundled/"
echo "The model is in $bundled/; its tables are in $run/metrics, metrics_unseen, by_horizon and calibration."
