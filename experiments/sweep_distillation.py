"""Sweeps what distillation depends on, on meta-val. Several hours; goes on where it stopped.

.venv/bin/python experiments/sweep_distillation.py [NAME ...]

A new setting is one line of SETTINGS.
"""

from sweeping import Sweep, main

OBJECTIVE = "--model.objective.init_args"
# Around these, which are short: the order of settings is what is asked, not how far each one gets.
CENTRE = {
    "--trainer.max_steps": "600",
    "--data.updates_per_epoch": "600",
    f"{OBJECTIVE}.procedural": "1.0",
    "--synthesis.initial_steps": "0",
    f"{OBJECTIVE}.mirror": "true",
    f"{OBJECTIVE}.reuse": "4",
    f"{OBJECTIVE}.augmentation": '{"mixup": 0.5, "cutmix": 0.5}',
}
INVERTED = {f"{OBJECTIVE}.procedural": "0.6", "--synthesis.initial_steps": "200"}
NO_MIRROR = {f"{OBJECTIVE}.mirror": "false"}  # cheaper, and no worse
NO_MIXING = {f"{OBJECTIVE}.augmentation": '{"mixup": 0, "cutmix": 0}'}
FRESH = NO_MIRROR | NO_MIXING | {f"{OBJECTIVE}.reuse": "1"}
SETTINGS: dict[str, dict[str, str]] = {
    "centre": {},
    "no_mirror": NO_MIRROR,
    "rate_0.003": {"--model.meta_lr": "0.003"},
    "no_mixing": NO_MIXING,
    "inverted_40": INVERTED,
    "inverted_100": INVERTED | {f"{OBJECTIVE}.procedural": "0.0"},
    "inverted_100_bn_0.01": INVERTED | {f"{OBJECTIVE}.procedural": "0.0", "--model.inversion.feature": "0.01"},
    "inverted_100_bn_10": INVERTED | {f"{OBJECTIVE}.procedural": "0.0", "--model.inversion.feature": "10.0"},
    "inverted_40_refreshed": INVERTED | {"--model.data_step_every": "10"},
    "inverted_40_curriculum": INVERTED
    | {"--model.curriculum": '{"enabled": true, "warm_up": 100, "patience": 20, "weight": 10}'},
    "loss_mse": NO_MIRROR | {f"{OBJECTIVE}.loss": "mse"},
    "loss_kl": NO_MIRROR | {f"{OBJECTIVE}.loss": "kl"},
    "loss_relational": NO_MIRROR | {f"{OBJECTIVE}.loss": "relational"},
    "features": NO_MIRROR | {f"{OBJECTIVE}.features": "1.0"},
    "with_episodes": NO_MIRROR | {f"{OBJECTIVE}.episodic": "1.0"},
    "inverted_100_of_60": INVERTED | {f"{OBJECTIVE}.procedural": "0.0", "--data.images_per_class": "60"},
    "constant_rate": NO_MIRROR | {"--model.meta_schedule": "constant", "--model.meta_lr": "0.003"},
    "reuse_16": NO_MIRROR | {f"{OBJECTIVE}.reuse": "16"},
    "fresh": FRESH,
    "fresh_rate_0.03": FRESH | {"--model.meta_lr": "0.03"},
    "updates_1800": {"--trainer.max_steps": "1800"},
    "width_64": {"--model.learner.init_args.arguments": '{"width": 64}'},
}
DISTILLATION = Sweep(
    name="distillation",
    title="Distillation: what matters, on meta-val",
    scored="student's logits and nearest centroid",
    config="cifar_fs_distill.yaml",
    centre=CENTRE,
    settings=SETTINGS,
)

if __name__ == "__main__":
    main(DISTILLATION)
