"""The rows of the results table, each declared once: what is run for it (run.py) and what is shown (table.py).

A new row is one `Row` in `ROWS`. What it takes to train stands in it as `Fit`s; a fit may serve both shots and several
rows, such as one student that is tested with several heads.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

SHOTS = (1, 5)
EPISODES = 2000  # of meta-test, for every row; the first 600 of them are reported, too


class Group(StrEnum):
    """What a row is, in the order of the table."""

    ONE_NETWORK = "training-free, one network"
    WHOLE_POOL = "training-free, all the pool's networks"
    PURER = "PURER and its ablation"
    LEARNERS = "other learners on pseudo episodes"
    OURS = "ours: cross-teacher distillation"
    HUNDRED = "another pool: 100 overlapping teachers, not compared with the rows above"
    CEILING = "ceiling: trained on the real images, not data-free"


TRAINING_FREE = (Group.ONE_NETWORK, Group.WHOLE_POOL)
UNDER_OTHER_RULES = (Group.HUNDRED, Group.CEILING)  # no sentence ranks them among the others


@dataclass(frozen=True)
class Fit:
    """A training run: ``purer fit`` with these words, into ``runs/NAME``.

    Attributes:
        name: of the run's folder.
        title: in the picture of accuracy against time.
        shot: of its episodes, those of validation among them; it wins over that of the configurations.
        configs: names of configurations, the later wins.
        flags: further words of the command line.
    """

    name: str
    title: str
    shot: int
    configs: tuple[str, ...]
    flags: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """Return the words of its ``purer fit``, the run folder left out."""
        return [*as_flags(self.configs), *self.flags, "--data.shot", str(self.shot)]


@dataclass(frozen=True)
class Row:
    """A line of the table: one method, tested with 1 and with 5 shots.

    Attributes:
        name: results lie in ``results/NAME_1shot`` and ``results/NAME_5shot``.
        title: in the table; ``{teachers}`` becomes the number of teachers.
        group: where it stands in the table.
        configs: of its test, the later wins; they come after those of its fit.
        flags: of its test, after those of its fit.
        fits: by shot; empty where nothing is trained.
    """

    name: str
    title: str
    group: Group
    configs: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    fits: dict[int, Fit] = field(default_factory=dict)

    def folder(self, shot: int) -> str:
        """Return the name of its folder of results."""
        return f"{self.name}_{shot}shot"

    @property
    def pool_config(self) -> str:
        """The configuration of ``purer pretrain`` that makes its pool."""
        return "cifar_fs_pool_100.yaml" if self.group == Group.HUNDRED else "cifar_fs_pool.yaml"

    def words(self, shot: int) -> list[str]:
        """Return the words of its ``purer test``, the run folder left out."""
        fit = self.fits.get(shot)
        base = [*as_flags(fit.configs), *fit.flags] if fit else as_flags((SMALL[shot],))
        checkpoint = ["--ckpt_path", f"runs/{fit.name}/checkpoints/best.ckpt"] if fit else []
        return [*base, *as_flags(self.configs), *self.flags, "--data.shot", str(shot), *checkpoint]


def as_flags(configs: Iterable[str]) -> list[str]:
    """Return ``--config NAME`` for each name."""
    return [word for config in configs for word in ("--config", config)]


def fit_a_shot(
    name: str, title: str, configs: dict[int, Sequence[str]] | None = None, flags: Sequence[str] = ()
) -> dict[int, Fit]:
    """Return a fit for each shot, ``NAME_1shot`` and ``NAME_5shot``; by default of the small configurations."""
    chosen = configs or {shot: (SMALL[shot],) for shot in SHOTS}
    return {shot: Fit(f"{name}_{shot}shot", title, shot, tuple(chosen[shot]), tuple(flags)) for shot in SHOTS}


def one_fit(name: str, title: str, configs: Sequence[str], flags: Sequence[str] = (), shot: int = 1) -> dict[int, Fit]:
    """Return one fit that serves every shot; its validation has episodes of ``shot``."""
    return dict.fromkeys(SHOTS, Fit(name, title, shot, tuple(configs), tuple(flags)))


def training_free(name: str, title: str, group: Group, flags: Sequence[str] = ()) -> Row:
    """Return a baseline of the pool itself, whose configuration has its name."""
    return Row(name, title, group, (f"baselines/{name}.yaml",), tuple(flags))


def learnt(
    name: str,
    title: str,
    group: Group,
    flags: Sequence[str] = (),
    configs: dict[int, Sequence[str]] | None = None,
) -> Row:
    """Return a row with a fit of its own for each shot."""
    return Row(name, title, group, fits=fit_a_shot(name, title, configs, flags))


def two_heads(name: str, title: str, group: Group, fits: dict[int, Fit]) -> tuple[Row, Row]:
    """Return the rows of a student: nearest centroid on its logits, and logistic regression on them."""
    return (
        Row(name, f"{title}: logits + {CENTROID} (cosine)", group, fits=fits),
        Row(f"{name}_logistic", f"{title}: logits + logistic", group, flags=LOGISTIC, fits=fits),
    )


def real(name: str, title: str) -> Row:
    """Return a row that is trained on the real images; its configuration, which has its name, is for 1 shot."""
    return learnt(name, title, Group.CEILING, configs=dict.fromkeys(SHOTS, (f"baselines/{name}.yaml",)))


SMALL = {1: "cifar_fs_small.yaml", 5: "cifar_fs_small_5shot.yaml"}
NO_ICFIL = ("--evaluation.calibration.enabled", "false")
LEARNER = "--model.learner"
# Ten times the published one; chosen on meta-val, 1-shot: purer_sweep.md.
RATE = (f"{LEARNER}.init_args.inner_lr", "0.1")
LONG = ("--trainer.max_steps", "3000", "--data.updates_per_epoch", "300")
NO_CURRICULUM = ("--model.curriculum.enabled", "false")
ANIL = (f"{LEARNER}.init_args.adapted", "head")
CENTROID = "nearest centroid"
FEATURES = (f"{LEARNER}.init_args.representation", "features")
LOGISTIC = (f"{LEARNER}.init_args.head", "logistic", f"{LEARNER}.init_args.regularisation", "0.1")
DISTILL = ("cifar_fs_distill.yaml",)
STUDENT = one_fit("distill", "distillation, inverted images and dead leaves", DISTILL)
WIDE_STUDENT = one_fit(
    "distill_wide", "distillation, 64 filters", DISTILL, (f"{LEARNER}.init_args.arguments", '{"width": 64}')
)
STUDENT_OF_LEAVES = one_fit(
    "distill_leaves",
    "distillation, dead leaves alone",
    DISTILL,
    (
        *("--model.objective.init_args.procedural", "1.0", "--synthesis.initial_steps", "0"),
        *("--model.objective.init_args.mirror", "false"),
    ),
)
JOINT = one_fit(
    "joint", "joint training", DISTILL, ("--model.objective", "purer_lightning.objectives.Joint", *FEATURES)
)
LONG_STUDENT = one_fit(
    "distill_long",
    "distillation, 10,000 updates, images inverted on",
    DISTILL,
    (
        *("--trainer.max_steps", "10000", "--data.updates_per_epoch", "1000"),
        *("--model.objective.init_args.mirror", "false", "--model.data_step_every", "10"),
    ),
)
HUNDRED_TEACHERS = ("--data.pool", "pools/cifar_fs_100")
# Without the mirror, which would double what 100 judges cost.
STUDENT_OF_HUNDRED = one_fit(
    "distill_100",
    "distillation, 100 teachers",
    DISTILL,
    (*HUNDRED_TEACHERS, f"{LEARNER}.init_args.outputs", "500", "--model.objective.init_args.mirror", "false"),
)

ROWS = (
    Row("random", "random start, fine-tuned", Group.ONE_NETWORK, flags=NO_ICFIL),
    training_free("average", "average of the teachers, fine-tuned", Group.ONE_NETWORK, NO_ICFIL),
    training_free("teacher_finetune", "best teacher under a new head, fine-tuned", Group.ONE_NETWORK),
    training_free("teacher_centroid", f"best teacher's features + {CENTROID} (cosine)", Group.ONE_NETWORK),
    training_free("teacher_euclidean", f"best teacher's features + {CENTROID} (Euclidean)", Group.ONE_NETWORK),
    training_free("teacher_ridge", "best teacher's features + ridge", Group.ONE_NETWORK),
    training_free(
        "pool_features_centroid", f"all{{teachers}} teachers' features + {CENTROID} (cosine)", Group.WHOLE_POOL
    ),
    training_free("pool_features_ridge", "all{teachers} teachers' features + ridge", Group.WHOLE_POOL),
    training_free("pool_logits_centroid", f"all{{teachers}} teachers' logits + {CENTROID} (cosine)", Group.WHOLE_POOL),
    training_free(
        "pool_logits_euclidean", f"all{{teachers}} teachers' logits + {CENTROID} (Euclidean)", Group.WHOLE_POOL
    ),
    training_free("pool_logits_ridge", "all{teachers} teachers' logits + ridge", Group.WHOLE_POOL),
    training_free("pool_logits_logistic", "all{teachers} teachers' logits + logistic regression", Group.WHOLE_POOL),
    learnt("ei", "EI + MAML", Group.PURER, NO_CURRICULUM),
    learnt("eci", "ECI + MAML (PURER)", Group.PURER),
    learnt("ei_long", "EI + MAML of inner rate 0.1, 3,000 updates", Group.PURER, (*NO_CURRICULUM, *RATE, *LONG)),
    learnt("eci_long", "ECI + MAML of inner rate 0.1, 3,000 updates", Group.PURER, (*RATE, *LONG)),
    learnt("fomaml", "ECI + first-order MAML", Group.LEARNERS, (f"{LEARNER}.init_args.first_order", "true")),
    learnt("anil", "ECI + ANIL", Group.LEARNERS, ANIL),
    learnt("anil_rate", "ECI + ANIL of inner rate 0.1", Group.LEARNERS, (*ANIL, *RATE)),
    learnt("protonet", "ECI + ProtoNet", Group.LEARNERS, (LEARNER, "purer_lightning.learners.ProtoNet")),
    learnt("r2d2", "ECI + ridge head (R2D2)", Group.LEARNERS, (LEARNER, "purer_lightning.learners.R2D2")),
    Row("joint", f"EI + joint training: features + {CENTROID} (cosine)", Group.LEARNERS, fits=JOINT),
    Row("distill", f"student's logits + {CENTROID} (cosine)", Group.OURS, fits=STUDENT),
    Row("distill_features", f"student's features + {CENTROID} (cosine)", Group.OURS, flags=FEATURES, fits=STUDENT),
    Row("distill_logistic", "student's logits + logistic regression", Group.OURS, flags=LOGISTIC, fits=STUDENT),
    *two_heads("distill_long", "student of 10,000 updates, images inverted on, no mirror", Group.OURS, LONG_STUDENT),
    *two_heads("distill_leaves", "student of dead leaves alone", Group.OURS, STUDENT_OF_LEAVES),
    *two_heads("distill_wide", "student of 64 filters", Group.OURS, WIDE_STUDENT),
    Row(
        "pool_100_logits_centroid",
        f"all{{teachers}} teachers' logits + {CENTROID} (cosine)",
        Group.HUNDRED,
        ("baselines/pool_logits_centroid.yaml",),
        (*HUNDRED_TEACHERS, f"{LEARNER}.init_args.pool", "pools/cifar_fs_100"),
    ),
    *two_heads("distill_100", "student of 100 teachers", Group.HUNDRED, STUDENT_OF_HUNDRED),
    real("real_maml", "MAML on the real images"),
    real("real_protonet", "ProtoNet on the real images"),
)
EI, ECI = "ei", "eci"
EQUAL_BUDGETS = ((EI, ECI), ("ei_long", "eci_long"))  # compared with each other


def repeated(row: Row, seed: int) -> Row:
    """Return the same row from another training seed, tested on the same episodes, which follow from seed 0."""
    fits = {
        shot: replace(fit, name=f"{fit.name}_seed{seed}", flags=(*fit.flags, "--seed_everything", str(seed)))
        for shot, fit in row.fits.items()
    }
    return replace(row, name=f"{row.name}_seed{seed}", flags=(*row.flags, "--seed_everything", "0"), fits=fits)


SEEDS = (1, 2)  # beside 0
REPEATS = {
    (row.name, seed): repeated(row, seed)
    for row in ROWS
    if row.name in (EI, ECI, "distill_leaves", "distill_leaves_logistic")
    for seed in SEEDS
}
