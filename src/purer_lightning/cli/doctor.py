"""``purer doctor``: what this machine offers for the main job, and what is wrong with it. It asks no server."""

import importlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal, NamedTuple

from purer_lightning import __version__
from purer_lightning.errors import PurerError
from purer_lightning.running.slurm import check_start, is_job

# A "note" is worth knowing, a "problem" spoils something, and with one that "stops" the main job cannot be done.
State = Literal["ok", "note", "problem", "stops"]
MALWARE = {"lightning": ("2.6.2", "2.6.3"), "pytorch-lightning": ("2.6.2", "2.6.3")}  # GHSA-w37p-236h-pfx3
SMALL_DISK_GB = 1.0  # a run with its checkpoints takes tens of megabytes, a compiled kernel's cache hundreds
NEEDED = ("torch", "lightning.pytorch")  # what the main job imports first, and what breaks most often


class Finding(NamedTuple):
    """One line about this machine."""

    area: str
    state: State
    text: str
    remedy: str = ""


def doctor() -> None:
    """Show versions, devices, Slurm, Weights & Biases, compiler, folders and data, and what is wrong with them.

    Ends with exit status 1 only where something stops the main job. Nothing is sent anywhere.
    """
    found = list(findings())
    area = ""
    for finding in found:
        if finding.area != area:
            area = finding.area
            print(f"\n{area}")
        print(f"  {finding.state:<8} {finding.text}" + (f": {finding.remedy}" if finding.remedy else ""))
    stopping = [finding.text for finding in found if finding.state == "stops"]
    wrong = sum(finding.state == "problem" for finding in found)
    print()
    if stopping:
        print(f"The main job cannot run here: {'; '.join(stopping)}.")
        sys.exit(1)
    print(f"The main job can run here{f', with {wrong} problem(s) to mend' if wrong else ''}: purer demo")


def findings() -> Iterator[Finding]:
    """Yield what there is to say; nothing heavy is imported where a package is known to be malware."""
    versions = list(package_findings(installed_requirements()))
    yield from versions
    if any(finding.state == "stops" for finding in versions):
        return
    broken = [finding for name in NEEDED for finding in importable(name)]
    yield from broken
    if not broken:
        yield from device_findings()
        yield from compiler_findings()
        yield from wandb_findings()
    yield from slurm_findings(os.environ, shutil.which)
    yield from folder_findings(Path.cwd())
    yield from data_findings(Path.cwd())


def installed_requirements() -> dict[str, tuple[str, str | None]]:
    """Return the wanted versions and the installed one (None: not installed) of each package that we depend on."""
    from packaging.requirements import Requirement

    found: dict[str, tuple[str, str | None]] = {}
    try:
        wanted = [Requirement(line) for line in requires("purer-lightning") or []]
    except PackageNotFoundError:  # run from a source tree that is not installed
        return {}
    for requirement in wanted:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            try:
                installed = version(requirement.name)
            except PackageNotFoundError:
                installed = None
            found[requirement.name] = (str(requirement.specifier), installed)
    return found


def package_findings(packages: Mapping[str, tuple[str, str | None]]) -> Iterator[Finding]:
    """Compare installed versions with those that are wanted."""
    from packaging.specifiers import SpecifierSet

    ours = f"purer-lightning {__version__}, Python {platform.python_version()}, {platform.system()}"
    yield Finding("versions", "ok", f"{ours} {platform.machine()}")
    for name, (wanted, installed) in packages.items():
        if installed is None:
            yield Finding("versions", "stops", f"{name} is not installed", f"pip install '{name}{wanted}'")
        elif installed in MALWARE.get(name, ()):
            remedy = f"it steals credentials when imported; pip install '{name}{wanted}', then change your passwords"
            yield Finding("versions", "stops", f"{name} {installed} is malware", remedy)
        elif not SpecifierSet(wanted).contains(installed, prereleases=True):
            remedy = f"{wanted} was tested; pip install '{name}{wanted}'"
            yield Finding("versions", "problem", f"{name} {installed}", remedy)
        else:
            yield Finding("versions", "ok", f"{name} {installed}")


def importable(name: str) -> Iterator[Finding]:
    """Say why a package cannot be imported; nothing where it can."""
    try:
        importlib.import_module(name)
    except Exception as error:  # a torchvision of another build raises RuntimeError from within lightning
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        remedy = "install torch and torchvision from the same index, or remove torchvision, which is not needed"
        yield Finding("versions", "stops", f"import {name} fails ({cause})", remedy if "torchvision" in cause else "")


def device_findings() -> Iterator[Finding]:
    """Report the available devices."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB of memory"
    yield Finding("devices", "ok", f"{cores} processor cores, torch uses {torch.get_num_threads()} of them{memory}")
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield Finding("devices", "ok", f"cuda:{index} {device.name}, {device.total_memory / 2**30:.0f} GiB")
    if torch.cuda.device_count():
        return
    if shutil.which("nvidia-smi"):
        build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        remedy = "see what nvidia-smi says, and install a build of torch for that driver"
        yield Finding("devices", "problem", f"a GPU that torch does not see (built for {build})", remedy)
    elif torch.backends.mps.is_available():
        yield Finding("devices", "ok", "Apple GPU (mps)")
    else:
        yield Finding("devices", "note", "no GPU; the demo and cifar_fs_small.yaml are meant for processors")


def wandb_findings() -> Iterator[Finding]:
    """Say what ``--wandb.enabled true`` would do, without asking the server."""
    import wandb

    from purer_lightning.running.tracking import settled_mode

    try:
        mode = settled_mode("auto")
    except PurerError as error:
        yield Finding("Weights & Biases", "problem", str(error))
        return
    host = wandb.setup().settings.base_url
    said = {
        "online": f"a login was found (not checked): runs that ask for it would appear at {host}",
        "offline": "no login (`wandb login`), or its own mode is offline: runs that ask for it would be kept offline",
        None: "switched off by WANDB_MODE or `wandb disabled`",
    }
    yield Finding("Weights & Biases", "ok", said[mode])


def slurm_findings(environment: Mapping[str, str], which: Callable[[str], Any]) -> Iterator[Finding]:
    """Say whether this is a job of Slurm, and whether a run would be refused as this process was started."""
    if not is_job(environment):
        there = "a cluster is here, but this is no job of it" if which("srun") else "none here"
        yield Finding("Slurm", "ok", there)
        return
    name, tasks = environment.get("SLURM_JOB_NAME", ""), environment.get("SLURM_NTASKS", "1")
    yield Finding("Slurm", "ok", f"job {environment['SLURM_JOB_ID']} ('{name}') of {tasks} tasks")
    try:
        check_start(environment)
    except PurerError as error:
        yield Finding("Slurm", "problem", str(error))


def compiler_findings() -> Iterator[Finding]:
    """Make the faster engine's kernels, as the first long run on a CPU would, unless they are there already."""
    from purer_lightning.engine.compilation import library

    found = library()
    if found.functions is None:
        yield Finding("compiler", "note", f"{found.problem}; long runs on processors take longer without")
    else:
        took = f", now compiled in {found.compile_seconds:.1f} s" if found.compile_seconds else ""
        yield Finding("compiler", "ok", f"the faster engine's kernels work{took} (engine.choice)")


def folder_findings(folder: Path) -> Iterator[Finding]:
    """Prove that what a run writes can be written."""
    places: list[tuple[Path, State, str]] = [
        (folder, "stops", "this folder, where runs/ is made"),
        (Path(tempfile.gettempdir()), "stops", "temporary files"),
        (Path.home(), "note", "your home, for caches of W&B and torch"),
    ]
    for path, state, what in places:
        shown = f"{what} ({path})"
        try:
            with tempfile.TemporaryFile(dir=path):
                pass
            free = shutil.disk_usage(path).free / 1e9
        except OSError as error:
            reason = error.strerror or str(error)
            yield Finding("folders", state, f"cannot write {shown}", f"{reason}; go to another folder")
            continue
        enough = free >= SMALL_DISK_GB
        yield Finding("folders", "ok" if enough else "problem", f"{shown}: writable, {free:.1f} GB free")


def data_findings(folder: Path) -> Iterator[Finding]:
    """List the prepared data sets and pools where commands look for them by default."""
    sets = [path.parent.name for path in sorted(folder.glob("data/*/dataset.json"))]
    pools = [str(path.parent.relative_to(folder)) for path in sorted(folder.glob("pools/*/pool.json"))]
    yield Finding("data", "ok" if sets else "note", f"prepared in data/: {', '.join(sets) or 'none'}")
    yield Finding("data", "ok" if pools else "note", f"pools: {', '.join(pools) or 'none in pools/'}")
    if not (sets and pools):
        yield Finding("data", "note", "purer demo needs neither; else see purer data prepare and purer pretrain")
