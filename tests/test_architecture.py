"""The boundaries between the parts of the package, read off its source: who may import whom, and what stands once."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from purer_lightning.running import names

PACKAGE = "purer_lightning"
SOURCE = Path(__file__).resolve().parents[1] / "src" / PACKAGE
FILES = sorted(SOURCE.rglob("*.py"))
SCRIPTS = sorted((SOURCE.parents[1] / "experiments").glob("*.py"))

# (files, what they must not import, files that are excepted); patterns and files are relative to the package.
BOUNDARIES = [
    ("episode.py", ["*"], ["errors"], []),
    ("learners/*", ["pool", "inversion", "data", "objectives"], [], ["learners/pool_baselines.py"]),
    ("learners/pool_baselines.py", ["inversion", "data"], [], []),
    ("inversion/*", ["learners", "objectives"], [], []),
    ("objectives/*", ["data", "training", "callbacks", "evaluation"], [], []),
    ("evaluation.py", ["pool", "inversion.bank", "inversion.curriculum", "objectives"], [], []),
]
SUFFIXES = (".csv", ".html", ".json", ".png", ".txt", ".yaml")
LIGHTNING = ("lightning", "pytorch_lightning", "lightning_fabric")
MAY_IMPORT_LIGHTNING = [
    "cli*",
    "trainer_cli.py",
    "tracking/*",
    "data/pseudo_episodes.py",
    "data/modules*",
    "pool/pretraining*",
    "training*",
    "evaluation*",
    "callbacks/*",
    "metrics*",
    "running/csv_log.py",
    "running/resuming.py",
    "running/run_folder.py",
]


def imported(code: str, file: str) -> set[str]:
    """Return the dotted names of every module that ``code`` may import, wherever in the file, relative ones resolved.

    ``from a import b`` gives both ``a`` and ``a.b``, since ``b`` may be a module.
    """
    names: set[str] = set()
    parents = [PACKAGE, *Path(file).parent.parts]
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            prefix = parents[: len(parents) - node.level + 1] if node.level else []
            module = ".".join([*prefix, *([node.module] if node.module else [])])
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def reaches(names: set[str], target: str) -> set[str]:
    """Return those of the dotted names that are the module ``target`` or inside it."""
    return {name for name in names if name == target or name.startswith(f"{target}.")}


def breaches(code: str, file: str) -> list[str]:
    """Return a sentence for every import in ``code`` that a boundary forbids to ``file``."""
    names = imported(code, file)
    found = []
    for pattern, forbidden, allowed, excepted in BOUNDARIES:
        if not fnmatch(file, pattern) or file in excepted:
            continue
        for part in forbidden:
            wrong = reaches(names, PACKAGE) - {PACKAGE} if part == "*" else reaches(names, f"{PACKAGE}.{part}")
            for part_allowed in allowed:
                wrong -= reaches(names, f"{PACKAGE}.{part_allowed}")
            found += [f"{file} must not import {name}" for name in sorted(wrong)]
    if not any(fnmatch(file, pattern) for pattern in MAY_IMPORT_LIGHTNING):
        found += [f"{file} must not import {name}" for part in LIGHTNING for name in sorted(reaches(names, part))]
    return found


def unsafe_loads(code: str) -> Iterator[int]:
    """Yield the lines that call ``torch.load`` without ``weights_only=True``, or import it under another name."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module == "torch" and any(a.name == "load" for a in node.names):
            yield node.lineno
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            safe = [k for k in node.keywords if k.arg == "weights_only" and ast.unparse(k.value) == "True"]
            if not safe:
                yield node.lineno


def literals(code: str) -> set[str]:
    """Return the strings that stand in ``code``, also those in its f-strings; docstrings are strings of more words."""
    return {str(node.value) for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)}


def relative(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def test_the_source_is_found() -> None:
    assert len(FILES) > 5
    assert SOURCE / "episode.py" in FILES


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_keep_the_boundaries(path: Path) -> None:
    assert breaches(path.read_text(encoding="utf-8"), relative(path)) == []


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_weights_are_loaded_without_executing_anything(path: Path) -> None:
    assert list(unsafe_loads(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", [*FILES, *SCRIPTS], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_name_of_a_file_of_a_run_stands_in_one_place(path: Path) -> None:
    declared = {name for name in vars(names).values() if isinstance(name, str) and Path(name).suffix in SUFFIXES}
    assert len(declared) > 8
    assert path == Path(str(names.__file__)) or declared & literals(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_every_file_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("episode.py", "import purer_lightning.seeding"),
        ("episode.py", "from purer_lightning import seeding"),
        ("episode.py", "from .seeding import generator"),
        ("learners/maml.py", "from purer_lightning.pool import teachers"),
        ("learners/maml.py", "from ..inversion.bank import ImageBank"),
        ("learners/maml.py", "def late():\n    from purer_lightning.data.datasets import open_split"),
        ("learners/maml.py", "import lightning as L"),
        ("learners/pool_baselines.py", "from purer_lightning.inversion import bank"),
        ("inversion/loss.py", "if TYPE_CHECKING:\n    from purer_lightning.learners import Learner"),
        ("evaluation.py", "from purer_lightning.inversion import bank"),
        ("evaluation.py", "from .inversion.curriculum import GradientSwitch"),
        ("nets/conv4.py", "from pytorch_lightning import LightningModule"),
    ],
)
def test_a_breach_is_seen_in_every_form_of_import(file: str, code: str) -> None:
    assert breaches(code, file)


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("episode.py", "from purer_lightning.errors import PurerError"),
        ("learners/pool_baselines.py", "from purer_lightning.pool.teachers import Pool"),
        ("evaluation.py", "import lightning as L\nfrom purer_lightning.inversion.loss import inversion_loss"),
        ("callbacks/synthesis.py", "from lightning.pytorch import Callback"),
    ],
)
def test_what_is_allowed_is_not_called_a_breach(file: str, code: str) -> None:
    assert breaches(code, file) == []


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "from torch import load",
    ],
)
def test_an_unsafe_load_is_seen(code: str) -> None:
    assert list(unsafe_loads(code)) == [1]


def test_a_safe_load_passes() -> None:
    assert list(unsafe_loads("torch.load(path, map_location='cpu', weights_only=True)")) == []
