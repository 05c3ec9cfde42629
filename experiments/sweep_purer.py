"""Sweeps what PURER depends on, curriculum and inner loop, on meta-val. Minutes a setting; goes on where it stopped.

.venv/bin/python experiments/sweep_purer.py [NAME ...]

A new setting is one line of SETTINGS.
"""

from rows import NO_ICFIL
from sweeping import Sweep, main

CURRICULUM = "--model.curriculum"
LEARNER = "--model.learner.init_args"
# ECI as in the results table; what the settings vary is stated, so that a later default changes no line.
CENTRE = {
    f"{CURRICULUM}.enabled": "true",
    f"{CURRICULUM}.warm_up": "200",
    f"{CURRICULUM}.patience": "6",
    f"{CURRICULUM}.weight": "10.0",
    "--model.inversion.feature": "0.01",
    "--model.image_lr": "0.25",
    "--synthesis.initial_steps": "0",
    f"{LEARNER}.inner_lr": "0.01",
    f"{LEARNER}.inner_steps": "1",
    f"{LEARNER}.adapted": "all",
    "--trainer.max_steps": "600",
    "--data.updates_per_epoch": "600",
}
EI = {f"{CURRICULUM}.enabled": "false"}
ANIL = {f"{LEARNER}.adapted": "head"}
# Cleaner images: inverted before the first update, with the weights that distillation uses.
BEFORE = {"--model.inversion.feature": "1.0", "--model.image_lr": "0.1", "--synthesis.initial_steps": "200"}
SETTINGS: dict[str, dict[str, str]] = {
    "eci": {},
    "ei": EI,
    "weight_1": {f"{CURRICULUM}.weight": "1.0"},
    "weight_0.1": {f"{CURRICULUM}.weight": "0.1"},
    "patience_20": {f"{CURRICULUM}.patience": "20"},
    "warm_up_400": {f"{CURRICULUM}.warm_up": "400"},
    "before_eci": BEFORE,
    "before_eci_weight_1": BEFORE | {f"{CURRICULUM}.weight": "1.0"},
    "before_ei": BEFORE | EI,
    "ei_rate_0.1": EI | {f"{LEARNER}.inner_lr": "0.1"},
    "ei_rate_0.5": EI | {f"{LEARNER}.inner_lr": "0.5"},
    "ei_5_steps": EI | {f"{LEARNER}.inner_steps": "5"},
    "eci_rate_0.1": {f"{LEARNER}.inner_lr": "0.1"},
    "before_ei_rate_0.1": BEFORE | EI | {f"{LEARNER}.inner_lr": "0.1"},
    "before_eci_rate_0.1": BEFORE | {f"{LEARNER}.inner_lr": "0.1"},
    "anil_rate_0.1": ANIL | {f"{LEARNER}.inner_lr": "0.1"},
    "anil_rate_1": ANIL | {f"{LEARNER}.inner_lr": "1.0"},
}
PURER = Sweep(
    name="purer",
    title="PURER: what matters, on meta-val",
    scored="the meta-model, 1-shot, without ICFIL",
    config="cifar_fs_small.yaml",
    centre=CENTRE,
    settings=SETTINGS,
    shots=(1,),
    scoring=NO_ICFIL,
)

if __name__ == "__main__":
    main(PURER)
