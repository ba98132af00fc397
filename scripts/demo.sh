#!/usr/bin/env bash
# make demo: the real programs one after another, on two unseen simulated episodes a task.
# Usage: scripts/demo.sh <folder> <bundled model> <first unseen episode> <horizon in frames>
set -euo pipefail
demo=$1 bundled=$2 unseen=$3 horizon=$4
PATH="$PWD/.venv/bin:$PATH"

step() {
    printf '\n\033[1m%s\033[0m\n$ %s\n' "$1" "${*:2}"
    "${@:2}"
}

episodes=$demo/sim
predictions=$demo/predictions-$(python -c "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest()[:8])" \
    "$bundled/model.safetensors") # a new model does not mix its pictures with an old one's
status=0
step "1/7  Two arms at a table: simulate two episodes of each task that no training has seen" \
    python -m dataset_tools.simulate --task all --episodes 2 --first-episode "$unseen" --output "$episodes" \
    --workers 2 || status=$?
if [ "$status" -eq 3 ]; then
    echo "No OpenGL here: taking the episodes in bundled_episodes/, which the same simulator made."
    episodes=bundled_episodes
elif [ "$status" -ne 0 ]; then
    exit "$status"
fi

step "2/7  Episodes to pairs: a frame, the sentence, the frame $horizon steps (4 s) later" \
    python -m dataset_tools.prepare_dataset --episodes "$episodes" --output "$demo/prepared" --horizon "$horizon" \
    --stride 2 --size 128 --all-test

step "3/7  Predict the later frames with the bundled small model" \
    python edit_cli.py --input "$demo/prepared" --split test --output "$predictions"

step "4/7  Measure: how near are they, and would copying the input have done?" \
    python -m metrics.compute_metrics --data "$demo/prepared" --split test --predictions "model=$predictions" \
    --train-means "$bundled/train_means.npz" --size 128 --output "$demo/metrics"

run=$demo/logs/train
if [ ! -f "$run/checkpoints/last.ckpt" ]; then # also where an earlier demo was stopped before it saved one
    rm -f "$run"/checkpoints/.*.ckpt           # half-written
    step "5/7  The training loop: six steps from the bundled model" \
        python main.py --base configs/train.yaml configs/cpu_tiny.yaml configs/demo.yaml --folder "$run"
fi
step "6/7  And its resume: two steps more, from the saved checkpoint" python main.py --resume "$run" --max_steps 8

films=
if [ "$episodes" != bundled_episodes ]; then # a policy has to see
    step "7/7  A policy at work: three cameras, a sentence and a state, 16 commands at a time" \
        python run_policy.py --policy bundled_policy --episodes 1 --videos 1 --output "$demo/rollouts"
    step "     Another that also says what its cameras will see 4 s later" \
        python run_policy.py --policy joint:bundled_joint --task block_handover --episodes 1 --videos 1 --output "$demo/imagined"
    step "     Their film strips" \
        python -m metrics.success --rollouts "bundled_policy=$demo/rollouts" --films 1 --output "$demo/rollouts/tables"
    step "     " python -m metrics.success --rollouts "bundled_joint=$demo/imagined" --films 1 --output "$demo/imagined/tables"
    films="
  films     $demo/rollouts/tables/films.jpg      the policy on one unseen scene of each task
            $demo/imagined/tables/films.jpg      seen, and imagined by the other: head, left and right camera"
fi

first=$(find "$demo/prepared" -name '*_0.jpg' | sort | sed -n 1p) # sed reads on: head would stop sort with a signal
cat <<EOF

Done.
  picture   $demo/metrics/grid.png          rows: input, prediction, truth; unseen episodes
  table     $demo/metrics/table.md
  training  $run/images$films

Try next:
  .venv/bin/python edit_cli.py --input $first --edit "beat the block with the hammer" --output future.png
EOF
