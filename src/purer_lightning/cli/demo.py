"""``purer demo``: the main job from end to end on Glyphs, with nothing to download."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from purer_lightning.cli import main
from purer_lightning.cli.examples import write_examples
from purer_lightning.data.splits import open_split
from purer_lightning.errors import PurerError
from purer_lightning.evaluation.metrics import Interval
from purer_lightning.files import LOCK, locked, replacing
from purer_lightning.running.names import CONFIG, METRICS, PSEUDO_IMAGES, REPORT, RESULTS

Row = tuple[str, Interval]


def demo(run: str = "runs/demo", seed: int = 0) -> None:
    """Make a small pool on Glyphs, meta-train on it without its data, and test on characters that nobody has seen.

    It ends with a table of results, and with a report that shows the whole run in a browser.

    Args:
        run: folder for everything that is made; an earlier demo in it is replaced.
        seed: every draw follows from it.
    """
    folder = Path(run)
    _clear(folder)
    data, pool = str(folder / "data"), str(folder / "pool")
    shared = ["--config", "demo.yaml", "--seed_everything", str(seed), "--data.root", data, "--data.pool", pool]

    with _step("1/5  Rendering Glyphs, an embedded data set of characters, in grey"):
        main(["data", "prepare", "glyphs", "--channels", "1", "--root", data])
        write_examples(open_split(data, "glyphs", "test"), folder / "pictures", seed)
    with _step("2/5  Training the pool: small classifiers, each of a few characters"):
        main(["pretrain", "--config", "demo_pool.yaml", "--root", data, "--pool", pool, "--seed", str(seed)])
    with _step("3/5  Meta-training on images inverted from the pool, harder as the meta-model gets better"):
        main(["fit", *shared, "--run", run])
    best = str(folder / "checkpoints" / "best.ckpt")
    with _step("4/5  Testing the meta-model on unseen characters, without and with calibration"):
        main(["test", *shared, "--ckpt_path", best])
    with _step("5/5  Testing what it has to beat"):
        main(["test", *shared, "--run", str(folder / "random_start"), "--evaluation.calibration.enabled", "false"])
        centroid = ["--config", "baselines/teacher_centroid.yaml", "--model.learner.init_args.pool", pool]
        main(["test", *shared, *centroid, "--run", str(folder / "teacher_centroid")])
    rows = _rows(folder)
    _write_results(folder, rows)
    _show(folder, rows)
    main(["report", run])


def _clear(folder: Path) -> None:
    """Remove an earlier demo, and nothing else."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "demo.json").exists():
            raise PurerError(
                f"The folder '{folder}' is not empty and holds no earlier demo; name another with --run or empty it."
            )
        if (folder / LOCK).exists():
            with locked(folder, "purer demo", "name another folder with --run"):
                pass  # nobody trains there
        for made in folder.iterdir():  # one by one: the folder itself may be a link to another disk
            shutil.rmtree(made) if made.is_dir() and not made.is_symlink() else made.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "demo.json").write_text("{}\n", encoding="utf-8")


@contextmanager
def _step(title: str) -> Iterator[None]:
    Console().print(f"\n[bold]{title}[/bold]")
    yield


def _rows(folder: Path) -> list[Row]:
    def result(of: str, method: str) -> Interval:
        return Interval(**json.loads((folder / of / RESULTS).read_text(encoding="utf-8"))["results"][-1][method])

    return [
        ("random start, fine-tuned", result("random_start/test", "plain")),
        ("one teacher's features + nearest centroid", result("teacher_centroid/test", "plain")),
        ("meta-model", result("test", "plain")),
        ("meta-model + ICFIL", result("test", "icfil")),
    ]


def _write_results(folder: Path, rows: list[Row]) -> None:
    results = {name: interval._asdict() for name, interval in rows}
    with replacing(folder / RESULTS) as file:
        file.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _show(folder: Path, rows: list[Row]) -> None:
    episodes = rows[0][1].episodes
    table = Table(title=f"Unseen Glyphs, 5-way 1-shot, {episodes} episodes: accuracy in % with 95 % interval")
    table.add_column("method")
    table.add_column("accuracy", justify="right")
    for name, (mean, half, _) in rows:
        table.add_row(name, f"{100 * mean:.1f} ± {100 * half:.1f}")
    console = Console()
    console.print()
    console.print(table)
    console.print(f"The run's folder is {folder}:")
    for name, what in (
        (CONFIG, "the resolved configuration"),
        (METRICS, "every curve, difficulty above all"),
        ("checkpoints/best.ckpt", "the meta-model"),
        (RESULTS, "the table above"),
        (PSEUDO_IMAGES, "what was inverted from the pool, by class"),
        ("pictures/", "unseen characters, to try purer adapt on"),
        (REPORT, "all of this, to look at in a browser"),
    ):
        console.print(f"  {name:<22} {what}", highlight=False)
