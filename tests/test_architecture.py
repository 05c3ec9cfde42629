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

# From the ground up: a module imports what stands on its own floor or below, never what stands above. Those of one line
# share a floor. A module belongs to the longest name here that begins its own.
FLOORS = [
    ["errors", "seeding", "episode", "plugs"],
    ["files"],
    ["compute"],
    ["nets"],
    ["compute.backend"],
    ["data"],
    ["pool"],
    ["inversion"],
    ["learners"],
    ["objectives"],
    ["running"],
    ["pool.pretraining"],
    ["evaluation"],
    ["training"],
    ["engine"],
    ["adaptation", "report"],
    ["callbacks"],
    ["cli"],
]
METHOD = ["compute", "nets", "data", "pool", "inversion", "learners", "objectives", "evaluation", "training"]

# (files, what they must not import, files that are excepted); patterns and files are relative to the package.
BOUNDARIES = [
    ("episode.py", ["*"], ["errors"], []),
    ("learners/*", ["pool", "inversion", "data", "objectives"], [], ["learners/pool_baselines.py"]),
    ("learners/pool_baselines.py", ["inversion", "data"], [], []),
    ("inversion/*", ["learners", "objectives"], [], []),
    ("inversion/*", ["data"], [], ["inversion/synthesis/real.py"]),  # the ceiling is the only one to see real images
    ("objectives/*", ["data"], [], []),
    ("evaluation/*", ["pool", "inversion.bank", "inversion.curriculum", "inversion.synthesis", "objectives"], [], []),
    (
        "pool/*",
        ["data"],
        [],
        ["pool/pretraining/jobs.py", "pool/pretraining/command.py"],
    ),
    *((f"{room}/*", ["engine"], [], []) for room in METHOD),
]
SUFFIXES = (".csv", ".html", ".json", ".png", ".txt", ".yaml")
LIGHTNING = ("lightning", "pytorch_lightning", "lightning_fabric")
MAY_IMPORT_LIGHTNING = [
    "cli/*",
    "running/tracking/*",
    "pool/pretraining/*",
    "training/*",
    "evaluation/*",
    "callbacks/*",
    "running/csv_log.py",
    "running/resuming.py",
    "running/run_folder.py",
    "running/signals.py",
]
ENTRIES = 22


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


def floor(module: str) -> int:
    """Return the number of the floor that a module, its name relative to the package, stands on."""
    names = {name: number for number, names in enumerate(FLOORS) for name in names}
    own = [name for name in names if f"{module}.".startswith(f"{name}.")]
    assert own, f"{module} stands on no floor: name it in FLOORS"
    return names[max(own, key=len)]


def module_of(file: str) -> str:
    """Return the dotted name of a file, relative to the package; a folder's for its ``__init__.py``."""
    return file.removesuffix(".py").replace("/", ".").removesuffix(".__init__").removesuffix("__init__")


def modules_imported(code: str, file: str) -> set[str]:
    """Return the modules of the package that ``code`` imports, as ``module_of`` names them; never itself."""
    inside = {name.removeprefix(f"{PACKAGE}.") for name in reaches(imported(code, file), PACKAGE) - {PACKAGE}}
    known = {module_of(relative(path)) for path in FILES}
    return (inside & known) - {module_of(file)}


def climbs(code: str, file: str) -> list[str]:
    """Return a sentence for each import in ``code`` of something that stands above ``file``."""
    own = module_of(file)
    above = sorted(name for name in modules_imported(code, file) if floor(name) > floor(own))
    return [f"{file} stands below {name} and must not import it" for name in above]


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Return the modules of some circle of imports, in order; empty where there is none."""
    done: set[str] = set()
    path: list[str] = []

    def visit(module: str) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        path.append(module)
        found = next(filter(None, map(visit, sorted(imports.get(module, ())))), [])
        path.pop()
        done.add(module)
        return found

    return next(filter(None, map(visit, sorted(imports))), [])


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


ROOMS = [path for path in FILES if relative(path) != "__init__.py"]  # which imports late, and stands beside them all


@pytest.mark.parametrize("path", ROOMS, ids=relative)
def test_no_import_runs_upwards(path: Path) -> None:
    assert climbs(path.read_text(encoding="utf-8"), relative(path)) == []


def test_no_imports_run_in_a_circle() -> None:
    code = {relative(path): path.read_text(encoding="utf-8") for path in ROOMS}
    assert circle({module_of(file): modules_imported(text, file) for file, text in code.items()}) == []


def test_the_ground_floor_can_be_taken_in_at_a_glance() -> None:
    entries = [path.name for path in SOURCE.iterdir() if path.name not in ("__pycache__", "py.typed")]
    assert len(entries) <= ENTRIES
    files = {name.removesuffix(".py") for name in entries if name.endswith(".py")} - {"__init__"}
    assert files == set(FLOORS[0])


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
        ("learners/maml.py", "def late():\n    from purer_lightning.data.splits import open_split"),
        ("learners/maml.py", "import lightning as L"),
        ("learners/pool_baselines.py", "from purer_lightning.inversion import bank"),
        ("inversion/loss.py", "if TYPE_CHECKING:\n    from purer_lightning.learners import Learner"),
        ("inversion/synthesis/pixels.py", "from purer_lightning.data.splits import open_split"),
        ("evaluation/module.py", "from purer_lightning.inversion import bank"),
        ("evaluation/module.py", "from ..inversion.curriculum import GradientSwitch"),
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
        ("evaluation/module.py", "import lightning as L\nfrom purer_lightning.inversion.loss import inversion_loss"),
        ("callbacks/synthesis.py", "from lightning.pytorch import Callback"),
    ],
)
def test_what_is_allowed_is_not_called_a_breach(file: str, code: str) -> None:
    assert breaches(code, file) == []


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("nets/conv4.py", "from purer_lightning.pool.teachers import Pool"),
        ("training/module.py", "def late():\n    from purer_lightning.callbacks.gallery import GalleryCallback"),
        ("pool/teachers.py", "from purer_lightning.pool.pretraining.jobs import Job"),
    ],
)
def test_an_import_that_runs_upwards_is_seen(file: str, code: str) -> None:
    assert climbs(code, file)


def test_a_circle_is_seen_and_a_diamond_is_none() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert circle({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}}) == []


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
