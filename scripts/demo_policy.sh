#!/usr/bin/env bash
# make demo-policy: simulator -> episodes -> three stages of video and action -> success table. Interrupt and repeat at will.
# Usage: scripts/demo_policy.sh <test episodes a task>
# EPISODES: a task, to learn from, instead of the recipe's; RUNS: folder of the runs; SIZE: overlay, of configs/joint;
# STAGE_1: recipe of the first stage, by default the one that needs no downloads.
set -euo pipefail
tested=$1
PATH="$PWD/.venv/bin:$PATH"
cores=$(env -u OMP_NUM_THREADS nproc) # which counts the threads of OpenMP
runs=${RUNS:-logs} size=${SIZE:-configs/joint/nano.yaml}
recipes=("${STAGE_1:-joint_stage_1_simulator}" joint_stage_2 joint_stage_3)

step() {
    printf '\n$ %s\n' "$*"
    "$@"
}

# The recipe itself says how its data are made, a command a line.
prepare=$(python -c 'from pathlib import Path; from ldm.training.config import read_yaml
print(read_yaml(Path("configs/recipes/joint_stage_3.yaml"))["prepare"])' | grep .)
if [ -n "${EPISODES:-}" ]; then
    prepare=$(sed -E "s/--episodes [0-9]+/--episodes $EPISODES/" <<<"$prepare")
fi
while read -ra command <&3; do
    step "${command[@]}" --workers "$cores"
done 3<<<"$prepare"

device=()
if python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    device=(--gpus 0)
else
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # two threads wait for each other where cores are shared
fi
for stage in 1 2 3; do
    run=$runs/joint_stage_$stage
    if [ -e "$run/checkpoints/last.ckpt" ]; then
        step python main.py --resume "$run" "${device[@]}"
    else
        before=()
        if [ "$stage" -gt 1 ]; then
            before=("pretrained.path=$runs/joint_stage_$((stage - 1))/checkpoints/last.ckpt")
        fi
        step python main.py --base "configs/recipes/${recipes[stage - 1]}.yaml" "$size" \
            --folder "$run" "${before[@]}" "${device[@]}"
    fi
done

play() {
    step python run_policy.py --seeds test --episodes "$tested" --workers "$cores" "$@"
}
play --policy replay --output "$run/rollouts_replay"
play --policy "joint:$run" --videos 6 --output "$run/rollouts_imagining"
play --policy "$run" --output "$run/rollouts"
step python -m metrics.success --rollouts "policy=$run/rollouts" "joint=$run/rollouts_imagining" \
    "replay=$run/rollouts_replay" --output "$run/success"
step python -m scripts.publish_policy --run "$run" --output "$run/published"
echo "The table is $run/success/success.md; films of what was seen and imagined are in $run/rollouts_imagining/videos;"
echo "run_policy.py and edit_cli.py take the model from $run/published; what it predicts is measured by"
echo "  bash scripts/view_quality.sh $run data/policy $run/views --split val"
