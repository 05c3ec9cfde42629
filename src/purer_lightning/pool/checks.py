"""Everything that can be wrong with a teacher, found before it is used; ``purer pool check`` shows it as a table."""

import hashlib
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from torch import nn

from purer_lightning.errors import PurerError
from purer_lightning.nets import NETWORKS
from purer_lightning.pool.kinds import KINDS, read_teacher
from purer_lightning.pool.manifest import PoolManifest, TeacherRecord, read_manifest
from purer_lightning.pool.networks import AGAIN, described


def check(folder: str, networks: list[str] | None = None, teacher_kinds: list[str] | None = None) -> None:
    """Print a table of a pool's teachers and verify each of them.

    Args:
        folder: the pool's folder, with pool.json in it.
        networks: package.module.Class of networks of your own. A pool alone never makes anything be imported.
        teacher_kinds: package.module.Class of kinds of teacher of your own, likewise.

    Raises:
        PurerError: no pool there, a path that names no such part, or, after the table, one sentence for each bad
            teacher.
    """
    for path in networks or ():
        NETWORKS.name(path, "--networks")
    for path in teacher_kinds or ():
        KINDS.name(path, "--teacher_kinds")
    manifest = read_manifest(folder)
    classes = Column("classes", overflow="fold")
    table = Table("teacher", "architecture", classes, "held-out %", "parameters", "verdict", title=f"Pool {folder}")
    complaints = []
    for record in manifest.teachers:
        parameters, verdict = "", "ok"
        try:
            network = checked_teacher(Path(folder), manifest, record)
            parameters = f"{sum(p.numel() for p in network.parameters()):,}"
        except PurerError as error:
            complaints.append(str(error))
            verdict = "bad"
        accuracy = "" if record.held_out_accuracy is None else f"{100 * record.held_out_accuracy:.1f}"
        names = ", ".join(record.class_names)
        table.add_row(record.name, described(record.network), names, accuracy, parameters, verdict)
    Console().print(table)
    complaints += _complaint_about_classes(manifest)
    if complaints:
        raise PurerError("\n".join(complaints))


def check_classes(manifest: PoolManifest) -> None:
    """Verify names and class ids over a whole pool.

    Raises:
        PurerError: no teachers, two of one name, or a class id of a data set with two names (or a name with two ids).
    """
    if not manifest.teachers:
        raise PurerError("The pool lists no teachers. Make some with `purer pretrain` or `purer pool add`.")
    seen: set[str] = set()
    names: dict[tuple[str, int], str] = {}
    ids: dict[tuple[str, str], int] = {}
    for record in manifest.teachers:
        if record.name in seen:
            raise PurerError(f"Two teachers of the pool are named '{record.name}'. Rename one in pool.json.")
        seen.add(record.name)
        for number, name in zip(record.class_ids, record.class_names, strict=False):
            known_name = names.setdefault((record.dataset, number), name)
            known_id = ids.setdefault((record.dataset, name), number)
            if (known_name, known_id) != (name, number):
                raise PurerError(
                    f"Teacher '{record.name}' ({record.file}) calls class {number} of {record.dataset} '{name}', but "
                    f"elsewhere in the pool class {number} is '{known_name}' and '{name}' is {known_id}. "
                    "Give the same class the same id and name everywhere."
                )


def checked_teacher(folder: Path, manifest: PoolManifest, record: TeacherRecord) -> nn.Module:
    """Return a teacher's network with its weights, frozen and in evaluation mode, after all checks on it.

    Raises:
        PurerError: naming the teacher, its file, what was found and what to do.
    """
    where = f"Teacher '{record.name}' ({folder / record.file})"
    check_record(manifest, record, where)
    network, content = read_teacher(folder, record, where)
    found = hashlib.sha256(content).hexdigest()
    if found != record.sha256:
        raise PurerError(
            f"{where}: expected sha256 {record.sha256[:12]}..., but found {found[:12]}...: the file is not the one "
            f"that the pool describes. {AGAIN}"
        )
    return network


def check_record(manifest: PoolManifest, record: TeacherRecord, where: str) -> None:
    """Verify what the pool says about a teacher, without its weights.

    Raises:
        PurerError: classes repeated, fewer than two, unnamed, or not as many as outputs; images unlike the pool's.
    """
    classes, network = len(record.class_ids), record.network
    if len(record.class_names) != classes or network.classes != classes:
        raise PurerError(
            f"{where}: its head has {network.classes} outputs for {classes} class ids and {len(record.class_names)} "
            "class names. Name exactly one class for each output, in the order of the outputs."
        )
    if classes < 2 or len(set(record.class_ids)) != classes or len(set(record.class_names)) != classes:
        raise PurerError(
            f"{where}: expected at least two different classes, each with a name, but got ids {record.class_ids} and "
            f"names {record.class_names}. Correct them, or add the teacher again with `purer pool add`."
        )
    for fact in ("image_size", "channels"):
        expected, found = getattr(manifest, fact), getattr(network, fact)
        if found != expected:
            raise PurerError(
                f"{where}: the pool is for images with {fact} {expected}, but this teacher was made for {found}. "
                "Put it into a pool of its own, or retrain it for the pool's images."
            )


def _complaint_about_classes(manifest: PoolManifest) -> list[str]:
    try:
        check_classes(manifest)
    except PurerError as error:
        return [str(error)]
    return []
