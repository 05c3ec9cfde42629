#!/usr/bin/env bash
# The real CIFAR-FS experiments, from the archive to result files: about two hours on two cores. `make real` calls it.
#   experiments/run.sh ../shared/data/cifar100.zip
# What is there already is not done again, so an interrupted run goes on where it was. Two runs at a time, one thread
# each: on small convolutions that is faster than one run with two threads.
set -euo pipefail
cd "$(dirname "$0")/.."
source="${1:?give the CIFAR-FS archive}"
purer="$(command -v "${PURER:-.venv/bin/purer}")" || {
    echo "experiments/run.sh: there is no command '${PURER:-.venv/bin/purer}'; run make test once, or set PURER." >&2
    exit 1
}
python="$(dirname "$purer")/python"
results=experiments/results
export OMP_NUM_THREADS=1

# The state of the code; "-dirty" where files that git knows differ from the commit.
code_state() { git describe --always --dirty; }

# start COMMAND [ARGUMENTS]: run it in the background; all_done waits for it.
pids=() jobs=()
start() {
    "$@" &
    pids+=($!)
    jobs+=("$*")
}

# A bare `wait` would forget the exit status of each job: here the script stops once all are over and one has failed.
all_done() {
    local i failed=0
    for i in "${!pids[@]}"; do
        wait "${pids[$i]}" || {
            echo "experiments/run.sh: '${jobs[$i]}' failed, its reason stands above; mend it and start again." >&2
            failed=1
        }
    done
    pids=() jobs=()
    return "$failed"
}

# test_row NAME CONFIG [FLAGS]: score on the fixed meta-test episodes, keep results.json, episodes.csv, config.yaml and
# the commit. results.json is written last, so where it is, the row is whole.
test_row() {
    local name=$1 config=$2
    shift 2
    if [ -f "$results/$name/test/results.json" ]; then return; fi
    mkdir -p "$results/$name"
    code_state > "$results/$name/commit.txt"
    "$purer" test --config "$config" "$@" --run "$results/$name" --trainer.enable_progress_bar false
}

# fit_row NAME CONFIG [FLAGS]: meta-train, or go on where an interrupted run has saved last. Each start adds its commit.
fit_row() {
    local name=$1 config=$2 run="runs/$1" resume=()
    shift 2
    if [ ! -f "$run/summary.json" ]; then
        if [ -f "$run/checkpoints/last.ckpt" ]; then resume=(--ckpt_path "$run/checkpoints/last.ckpt"); else rm -rf "$run"; fi
        mkdir -p "$run"
        code_state >> "$run/commit.txt"
        "$purer" fit --config "$config" "$@" --run "$run" "${resume[@]}" --trainer.enable_progress_bar false
    fi
    mkdir -p "$results/$name"
    cp "$run/summary.json" "$run"/metrics*.csv "$results/$name/"
    if [ -f "$run/commit.txt" ]; then cp "$run/commit.txt" "$results/$name/fit_commit.txt"; fi
}

# The checkpoint of NAME that was best on meta-val.
best() { echo --ckpt_path "runs/$1/checkpoints/best.ckpt"; }

one=cifar_fs_small.yaml five=cifar_fs_small_5shot.yaml
off=(--model.curriculum.enabled false)
plain=(--evaluation.calibration.enabled false)

test_eci() {
    test_row eci_1shot $one $(best eci_1shot)
    test_row eci_5shot $five $(best eci_5shot)
}

test_ei() {
    test_row ei_1shot $one "${off[@]}" $(best ei_1shot)
    test_row ei_5shot $five "${off[@]}" $(best ei_5shot)
}

# test_training_free SHOT CONFIG
test_training_free() {
    test_row "random_$1" "$2" "${plain[@]}"
    test_row "average_$1" "$2" "${plain[@]}" --config baselines/average.yaml
    test_row "teacher_centroid_$1" "$2" --config baselines/teacher_centroid.yaml
    test_row "pool_logits_centroid_$1" "$2" --config baselines/pool_logits_centroid.yaml
}

"$purer" data prepare cifar_fs --source "$source" --root data
"$purer" pretrain --config cifar_fs_pool.yaml

start fit_row eci_1shot $one
start fit_row ei_1shot $one "${off[@]}"
all_done
start fit_row eci_5shot $five
start fit_row ei_5shot $five "${off[@]}"
all_done
# Meta-test, once. ICFIL's values were chosen on meta-val before: experiments/sweep_icfil.py.
start test_eci
start test_ei
all_done
start test_training_free 1shot $one
start test_training_free 5shot $five
all_done
"$python" experiments/table.py
