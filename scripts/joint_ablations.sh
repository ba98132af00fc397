#!/usr/bin/env bash
# make joint-ablations: what each part of the joint model gives. Stage 3 once for each row, then one table on the same seeds,
# differences with intervals beside the whole model's row. Interrupt and repeat at will: a row that is there is not repeated.
# Usage: scripts/joint_ablations.sh <test episodes a task>
# ROWS: some of the rows below instead of all; STEPS: of each training instead of the recipe's; RUNS: folder of the runs;
# SIZE: overlay, of configs/joint; DATA, QUIET_DATA: prepared episodes with and without operator noise;
# FEW: of each task, episodes with actions in the rows of the deck's question, by default 25.
set -euo pipefail
tested=$1
PATH="$PWD/.venv/bin:$PATH"
cores=$(env -u OMP_NUM_THREADS nproc) # which counts the threads of OpenMP
runs=${RUNS:-logs/joint_ablations} size=${SIZE:-configs/joint/nano.yaml} data=${DATA:-data/policy} few=${FEW:-25}
quiet=${QUIET_DATA:-data/policy_quiet}
rows=${ROWS:-whole no_video spatial one_view by_channel mip diffusion few few_after_video no_noise}

step() {
    printf '\n$ %s\n' "$*"
    "$@"
}

device=()
if python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    device=(--gpus 0)
else
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # two threads wait for each other where cores are shared
fi

# train <name> <recipe> <prepared episodes> <changes...>: a run, from its beginning or from where it stopped
train() {
    local run=$runs/$1 recipe=$2 episodes=$3
    if [ -e "$run/checkpoints/last.ckpt" ]; then
        step python main.py --resume "$run" "${device[@]}"
    else
        step python main.py --base "configs/recipes/$recipe.yaml" "$size" ${overlay:+"$overlay"} --folder "$run" "${device[@]}" \
            "data.params.train.params.folder=$episodes" "data.params.validation.params.folder=$episodes" \
            ${STEPS:+"lightning.trainer.max_steps=$STEPS"} "${@:4}"
    fi
}

# play <name> <policy> <changes...>
play() {
    step python run_policy.py --policy "$2" --seeds test --episodes "$tested" --workers "$cores" \
        --output "$runs/rollouts/$1" "${@:3}"
    played+=("$1=$runs/rollouts/$1")
}

alone=(pretrained=null model.params.rates=null) # without the stages before it
played=()
for row in $rows; do
    case $row in
        whole) train "$row" joint_stage_3 "$data" "${alone[@]}" ;;
        no_video) train "$row" joint_stage_3 "$data" "${alone[@]}" model.params.video.weight=0 \
            "model.params.levels.shares={policy: 1, joint: 0, video: 0, forward: 0, inverse: 0}" ;;
        spatial) train "$row" joint_stage_3 "$data" "${alone[@]}" model.params.levels.mask=spatial ;;
        one_view) train "$row" joint_stage_3 "$data" "${alone[@]}" \
            "model.params.network_config.params.cameras={left_camera: null, right_camera: null}" \
            "data.params.train.params.cameras={head_camera: 128}" "data.params.validation.params.cameras={head_camera: 128}" ;;
        by_channel) overlay=configs/joint/by_channel.yaml train "$row" joint_stage_3 "$data" "${alone[@]}" ;;
        mip | diffusion) train "$row" joint_stage_3 "$data" "${alone[@]}" "model.params.action.loss=$row" ;;
        few) train "$row" joint_stage_3 "$data" "${alone[@]}" "data.params.train.params.labelled=$few" ;;
        few_after_video)
            train video_1 joint_stage_1_simulator "$data"
            train video_2 joint_stage_2 "$data" "pretrained.path=$runs/video_1/checkpoints/last.ckpt"
            train "$row" joint_stage_3 "$data" "pretrained.path=$runs/video_2/checkpoints/last.ckpt" \
                "data.params.train.params.labelled=$few"
            ;;
        no_noise)
            if [ ! -e "$quiet/episodes.jsonl" ]; then
                step python -m dataset_tools.simulate --task all --episodes 240 --first-episode 2000 --save-freq 15 \
                    --draw-every 3 --cameras head left right --workers "$cores" --output "${quiet}_episodes"
                step python -m dataset_tools.prepare_episodes --episodes "${quiet}_episodes" --output "$quiet" \
                    --camera head_camera left_camera right_camera --size 128 64 64 --val 0.05 --test 0
            fi
            train "$row" joint_stage_3 "$quiet" "${alone[@]}"
            ;;
        *)
            echo "ROWS: '$row' is none of the rows in scripts/joint_ablations.sh" >&2
            exit 2
            ;;
    esac
    play "$row" "$runs/$row"
    if [ "$row" = whole ]; then
        play whole_swapped_sentence "$runs/whole" --sentences swapped
        play whole_joint_inference "joint:$runs/whole"
    fi
done
base=()
if [[ " $rows " == *" whole "* ]]; then base=(--base whole); fi
step python -m metrics.success --rollouts "${played[@]}" "${base[@]}" --output "$runs/table"

# The deck says that temporal masks make steadier films: successive predicted frames against those of the truth.
for row in whole spatial; do
    if [ -e "$runs/$row/checkpoints/last.ckpt" ] && [ ! -d "$runs/films/$row" ]; then
        step python -m prediction.view_frames --ckpt "$runs/$row" --data "$data" --split val --seconds 1 2 3 4 \
            --output "$runs/films/$row"
    fi
done
if [ -d "$runs/films/whole" ] && [ -d "$runs/films/spatial" ]; then
    step python -m metrics.consistency --data "$runs/films/whole/head_camera/pairs" --split val --predictions \
        "temporal=$runs/films/whole/head_camera/joint" "spatial=$runs/films/spatial/head_camera/joint" \
        --output "$runs/consistency"
fi
