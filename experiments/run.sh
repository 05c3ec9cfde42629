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

# fit_row NAME CONFIG [FLAGS]: meta-train, or go on where an interrupted run has saved last.
fit_row() {
    local name=$1 config=$2 run="runs/$1" resume=()
    shift 2
    if [ ! -f "$run/summary.json" ]; then
        if [ -f "$run/checkpoints/last.ckpt" ]; then resume=(--ckpt_path "$run/checkpoints/last.ckpt"); else rm -rf "$run"; fi
        "$purer" fit --config "$config" "$@" --run "$run" "${resume[@]}" --trainer.enable_progress_bar false
    fi
    mkdir -p "$results/$name"
    cp "$run/summary.json" "$run/metrics.csv" "$results/$name/"
}

# best NAME: the checkpoint that was best on meta-val.
best() { echo --ckpt_path "runs/$1/checkpoints/best.ckpt"; }

"$purer" data prepare cifar_fs --source "$source" --root data
"$purer" pretrain --config cifar_fs_pool.yaml

one=cifar_fs_small.yaml five=cifar_fs_small_5shot.yaml
off=(--model.curriculum.enabled false)
fit_row eci_1shot $one &
fit_row ei_1shot $one "${off[@]}" &
wait
fit_row eci_5shot $five &
fit_row ei_5shot $five "${off[@]}" &
wait
# Meta-test, once. ICFIL's values were chosen on meta-val before: experiments/sweep_icfil.py.
(test_row eci_1shot $one $(best eci_1shot); test_row eci_5shot $five $(best eci_5shot)) &
(test_row ei_1shot $one "${off[@]}" $(best ei_1shot); test_row ei_5shot $five "${off[@]}" $(best ei_5shot)) &
wait
plain=(--evaluation.calibration.enabled false)
for config in $one $five; do
    shot=1shot
    [ $config = $five ] && shot=5shot
    (
        test_row random_$shot $config "${plain[@]}"
        test_row average_$shot $config "${plain[@]}" --config baselines/average.yaml
        test_row teacher_centroid_$shot $config --config baselines/teacher_centroid.yaml
        test_row pool_logits_centroid_$shot $config --config baselines/pool_logits_centroid.yaml
    ) &
done
wait
.venv/bin/python experiments/table.py
