#!/usr/bin/env bash
# The real CIFAR-FS experiments, from the archive to result files: about two hours on two cores. `make real` calls it.
#   experiments/run.sh ../shared/data/cifar100.zip
# What is there already is not done again, so an interrupted run goes on where it was. Two runs at a time, one thread
# each: on small convolutions that is faster than one run with two threads.
set -euo pipefail
cd "$(dirname "$0")/.."
source="${1:?give the CIFAR-FS archive}"
purer="${PURER:-.venv/bin/purer}"
results=experiments/results
export OMP_NUM_THREADS=1

# test NAME CONFIG [FLAGS]: score on the fixed meta-test episodes, keep results.json, episodes.csv, config.yaml, commit.
test_row() {
    local name=$1 config=$2
    shift 2
    [ -f "$results/$name/test/results.json" ] && return
    "$purer" test --config "$config" "$@" --run "$results/$name" --trainer.enable_progress_bar false
    git rev-parse --short HEAD > "$results/$name/commit.txt"
}

# fit_row NAME CONFIG [FLAGS]: meta-train (or go on), then test the checkpoint that was best on meta-val.
fit_row() {
    local name=$1 config=$2 run="runs/$1"
    shift 2
    if [ ! -f "$run/summary.json" ]; then
        local resume=()
        if [ -f "$run/checkpoints/last.ckpt" ]; then resume=(--ckpt_path "$run/checkpoints/last.ckpt"); else rm -rf "$run"; fi
        "$purer" fit --config "$config" "$@" --run "$run" "${resume[@]}" --trainer.enable_progress_bar false
    fi
    mkdir -p "$results/$name"
    cp "$run/summary.json" "$run/metrics.csv" "$results/$name/"
    test_row "$name" "$config" "$@" --ckpt_path "$run/checkpoints/best.ckpt"
}

"$purer" data prepare cifar_fs --source "$source" --root data
"$purer" pretrain --config cifar_fs_pool.yaml

off=(--model.curriculum.enabled false)
fit_row eci_1shot cifar_fs_small.yaml &
fit_row ei_1shot cifar_fs_small.yaml "${off[@]}" &
wait
fit_row eci_5shot cifar_fs_small_5shot.yaml &
fit_row ei_5shot cifar_fs_small_5shot.yaml "${off[@]}" &
wait
for shot in 1 5; do
    config=cifar_fs_small.yaml
    [ "$shot" = 5 ] && config=cifar_fs_small_5shot.yaml
    plain=(--evaluation.calibration.enabled false)
    test_row "random_${shot}shot" "$config" "${plain[@]}" &
    test_row "average_${shot}shot" "$config" "${plain[@]}" --config baselines/average.yaml
    test_row "teacher_centroid_${shot}shot" "$config" --config baselines/teacher_centroid.yaml
    wait
    test_row "pool_logits_centroid_${shot}shot" "$config" --config baselines/pool_logits_centroid.yaml &
done
wait
.venv/bin/python experiments/table.py
