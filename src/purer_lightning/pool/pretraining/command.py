"""``purer pretrain``: makes a pool of teachers from the meta-train classes of a data set."""

import os
import shlex
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import torch

from purer_lightning.data.splits import ImageSplit, open_split
from purer_lightning.errors import PurerError
from purer_lightning.nets import NETWORKS, NetworkSpec
from purer_lightning.nets.normalisation import Normalisation
from purer_lightning.pool.checks import checked_teacher
from purer_lightning.pool.manifest import MANIFEST, PoolManifest, read_manifest
from purer_lightning.pool.pretraining.jobs import Course, Finished, Job, check_settings, make_teacher
from purer_lightning.pool.pretraining.recipe import TeacherRecipe
from purer_lightning.pool.writing import assemble, check_same_images, make_folder
from purer_lightning.running.progress import JobProgress
from purer_lightning.seeding import generator

_PAPER = TeacherRecipe()


def pretrain(
    dataset: str = "cifar_fs",
    root: str = "data",
    pool: str = "pools/cifar_fs",
    architectures: list[str] | None = None,
    arguments: dict[str, int] | None = None,
    teachers: Literal["disjoint"] | int = "disjoint",
    way: int = 5,
    epochs: int = 60,
    recipe: TeacherRecipe = _PAPER,
    seed: int = 0,
    processes: int = 1,
    device: str = "cpu",
) -> None:
    """Make a pool of teachers, each on its own few classes of a data set's meta-train split.

    Teachers already there, intact and made with the same settings are skipped, so an interrupted run goes on where it
    was. Under ``srun`` each task makes its own share. On the CPU a teacher has the same bits whichever process makes
    it, in whatever order. A pool that exists keeps its normalisation: another data set's teachers then fit into it.

    Args:
        dataset: name of a prepared data set.
        root: the folder of prepared data sets.
        pool: the folder to write: pool.json, and weights and a record for each teacher.
        architectures: names that teachers take in turn; conv4 alone when not given.
        arguments: further arguments of the architectures, for example ``{width: 64}``.
        teachers: "disjoint": consecutive blocks of ``way`` classes, the last with what is left. A number: that many
            random subsets of ``way`` classes, which may overlap.
        way: classes of a teacher.
        epochs: passes of a teacher over its images.
        recipe: how a teacher is trained.
        seed: decides every random draw, together with the teacher's number.
        processes: how many teachers are made at once, each on one thread.
        device: where to compute, for example "cuda".

    Raises:
        PurerError: no such data or architecture, ``way`` does not fit the classes, the pool holds teachers of the same
            names made with other settings or for other images, or its folder cannot be written to.
    """
    if epochs < 1 or processes < 1:
        raise PurerError(f"Expected at least 1 epoch and 1 process, but got {epochs} and {processes}.")
    split, folder, turns = open_split(root, dataset, "train"), Path(pool), architectures or ["conv4"]
    for architecture in turns:
        NETWORKS.name(architecture, "architectures")
    course = Course(dataset, root, folder, _normalisation(folder, split), epochs, recipe, seed, _available(device))
    jobs = []
    for number, positions in enumerate(teacher_classes(len(split.class_ids), teachers, way, seed)):
        architecture = turns[number % len(turns)]
        spec = NetworkSpec(architecture, len(positions), split.channels, split.image_size, arguments or {})
        jobs.append(Job(course, number, positions, spec))
    for job in jobs[: len(turns)]:
        with torch.device("meta"):  # an architecture that cannot be built is found now, not after ten minutes
            job.spec.build(running_statistics=True)
    make_folder(folder)
    rank, world = _slurm_share()
    share = jobs[rank::world]
    missing = [job for job in share if not _is_there(job, split)]
    if len(missing) < len(share):
        assemble(folder)  # a run killed between a record and pool.json has left it out
    tell(_made(missing, processes), len(share), len(share) - len(missing), folder)


def teacher_classes(classes: int, teachers: Literal["disjoint"] | int, way: int, seed: int) -> list[list[int]]:
    """Return each teacher's classes as positions in the split. They are sorted here and nowhere else.

    Args:
        classes: how many there are.
        teachers: "disjoint" for consecutive blocks, or a number of random subsets.
        way: classes of a teacher. The last block has what is left; a single class left joins the block before it.
        seed: of the random subsets; subset number i is the same however many there are.

    Raises:
        PurerError: fewer than 2 or more than ``classes`` classes a teacher, or no teachers.
    """
    if not 2 <= way <= classes:
        raise PurerError(f"Expected `way` between 2 and the {classes} classes of the split, but got {way}.")
    if teachers != "disjoint":
        if teachers < 1:
            raise PurerError(f"Expected `teachers` to be 'disjoint' or a number of at least 1, but got {teachers}.")
        draws = (torch.randperm(classes, generator=generator(seed, "pretrain-classes", i)) for i in range(teachers))
        return [sorted(draw[:way].tolist()) for draw in draws]
    starts = list(range(0, classes - 1, way))
    return [list(range(*block)) for block in zip(starts, [*starts[1:], classes], strict=True)]


def _normalisation(folder: Path, split: ImageSplit) -> Normalisation:
    if not (folder / MANIFEST).is_file():
        return split.normalisation
    manifest = read_manifest(folder)
    mine = PoolManifest(split.image_size, split.channels, manifest.normalisation, [])
    check_same_images(manifest, mine, f"data set {split.dataset}")
    return manifest.normalisation


def _available(device: str) -> str:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise PurerError(f"Cannot compute on `device` '{device}' ({str(error).splitlines()[0]}). Try 'cpu'.") from error
    return device


def _slurm_share() -> tuple[int, int]:
    # A batch script without srun also sees SLURM_NTASKS, but is one process: it makes everything.
    if "SLURM_STEP_ID" not in os.environ:
        return 0, 1
    return int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])


def _is_there(job: Job, split: ImageSplit) -> bool:
    stored = check_settings(job.course.pool, job.name, job.settings(split))
    if stored is None:
        return False
    try:
        checked_teacher(job.course.pool, stored, stored.teachers[0])
    except PurerError as error:
        print(f"{error} It is made again now.", flush=True)
        return False
    return True


def _made(jobs: list[Job], processes: int) -> Iterator[Finished]:
    if processes == 1 or len(jobs) < 2:
        yield from map(make_teacher, jobs)
        return
    # Spawn, not fork: torch's thread pools do not survive a fork.
    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=get_context("spawn")) as executor:
        try:
            for future in as_completed([executor.submit(make_teacher, job) for job in jobs]):
                yield future.result()
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise


def tell(finished: Iterator[Finished], total: int, skipped: int, folder: Path) -> None:
    """Tell of each teacher as it is finished.

    Raises:
        PurerError: Ctrl-C; it says how to go on.
    """
    try:
        with JobProgress("pre-training", "teachers", total, done=skipped) as job:
            for done, (name, architecture, accuracy, seconds) in enumerate(finished, start=skipped + 1):
                job.say(f"{name}: {architecture}, held-out accuracy {100 * accuracy:.1f} %, {seconds:.0f} s")
                job.advance_to(done)
    except KeyboardInterrupt:
        raise PurerError(
            f"Stopped by Ctrl-C; `purer pretrain` with the same settings goes on with what is missing in '{folder}'."
        ) from None
    shows = shlex.join(["purer", "pool", "check", str(folder)])
    print(f"{total} teachers in '{folder}' ({skipped} were there already). `{shows}` shows them.")
