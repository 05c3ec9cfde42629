"""Single episodes: how far their accuracies spread, and the hardest and the easiest as pictures, drawn again by id."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from torch import Tensor

from purer_lightning.data.real_episodes import RealEpisodes
from purer_lightning.data.splits import open_split
from purer_lightning.errors import PurerError
from purer_lightning.report.images import address
from purer_lightning.report.markup import Html, details, percent, section, tag
from purer_lightning.report.results import ICFIL, Result, Row, by_task
from purer_lightning.report.runs import CONFIGS, Run, located
from purer_lightning.report.scores import distributions, reference

EACH = 3  # episodes at either end
QUERIES = 6  # pictures of a class shown of its query set


def episodes_section(
    runs: Sequence[Run], results: Sequence[Result], root: str | None, *, pictures: bool = True
) -> Html:
    """Return the section of single episodes; nothing where no run was scored.

    Args:
        runs: of the report.
        results: of ``find_results``.
        root: the folder of the prepared data sets; that of each result's configuration when None.
        pictures: whether the hardest and the easiest are to be shown.
    """
    shown = distributions(results)
    if not shown:
        return Html("")
    scored = [
        (run, reference([row for row in rows if row.result.run == position]))
        for rows in by_task(results).values()
        for position, run in enumerate(runs)
        if pictures and any(row.result.run == position for row in rows)
    ]
    extremes = [_extremes(run, row, root, opened=number == 0) for number, (run, row) in enumerate(scored)]
    return section("episodes", "Episodes", *shown, *extremes)


def hardest_and_easiest(row: Row, each: int = EACH) -> tuple[list[int], list[int]]:
    """Return the ids of the episodes of lowest accuracy, lowest first, and of the highest, highest first.

    Among equals the smaller id is taken. No id is in both.
    """
    accuracies = row.result.accuracies[row.method]
    hardest = sorted(accuracies, key=lambda episode: (accuracies[episode], episode))[:each]
    rest = [episode for episode in accuracies if episode not in hardest]
    return hardest, sorted(rest, key=lambda episode: (-accuracies[episode], episode))[:each]


def real_episodes(run: Run, result: Result, root: str | None = None) -> RealEpisodes:
    """Return the list of episodes on which a result was scored.

    Raises:
        PurerError: the prepared data set is not where it was, or not as it was.
    """
    wanted = root or _root(result.folder) or run.setting("data.root", "data")
    task, found = result.task, located(wanted, run.folder)
    split = open_split(found or wanted, task.dataset, task.split)
    count = 1 + max(max(own, default=0) for own in result.accuracies.values())
    return RealEpisodes(split, split.normalisation, task.way, task.shot, task.query, count, task.seed)


def _root(results: Path) -> str | None:
    """Return data.root of the configuration beside the results, which need not be that of the training."""
    file = results / CONFIGS[0]
    try:
        return str(yaml.safe_load(file.read_text(encoding="utf-8"))["data"]["root"]) if file.is_file() else None
    except (yaml.YAMLError, KeyError, TypeError):
        return None


def _extremes(run: Run, row: Row, root: str | None, opened: bool) -> Html:
    task = row.result.task
    title = f"The hardest and the easiest for {row.title}, {task.way}-way {task.shot}-shot, {task.split}"
    try:
        drawn = real_episodes(run, row.result, root)
    except PurerError as error:
        why = f"Their pictures cannot be drawn again here. {error} Or name the folder of the data with --root."
        return details(title, tag("p", why), opened=opened)
    note = f"Left in each row the support, right {min(QUERIES, task.query)} of the {task.query} queries of the class."
    columns = [
        tag("div", tag("h3", name), *[_card(row, episode, drawn) for episode in ids])
        for name, ids in zip(("Hardest", "Easiest"), hardest_and_easiest(row), strict=True)
    ]
    return details(title, tag("p", note), tag("div", *columns, class_="cards"), opened=opened)


def _card(row: Row, episode: int, drawn: RealEpisodes) -> Html:
    names, pictures = drawn.pictures(episode)
    right = [
        f"{'with ICFIL ' if method == ICFIL else ''}{percent(accuracies[episode], 0)} %"
        for method, accuracies in row.result.accuracies.items()
    ]
    caption = tag("caption", tag("strong", f"Episode {episode:,}"), f": {', '.join(right)} right")
    head = tag("thead", tag("tr", *[tag("th", name, scope="col") for name in ("class", "support", "queries")]))
    rows = [_row(name, own, drawn.shot) for name, own in zip(names, pictures, strict=True)]
    return tag("table", caption, head, tag("tbody", *rows), class_="episode")


def _row(name: str, pictures: Tensor, shot: int) -> Html:
    cells = [
        tag("td", tag("img", src=address(_strip(part)), alt=f"{what} of {name}", style=f"--pictures:{len(part)}"))
        for what, part in (("Support", pictures[:shot]), ("Queries", pictures[shot : shot + QUERIES]))
    ]
    return tag("tr", tag("th", name.replace("_", " "), scope="row"), *cells)


def _strip(pictures: Tensor) -> np.ndarray:
    """Glue uint8 (n, C, H, W) side by side: (H, n * W[, 3])."""
    glued: np.ndarray = pictures.permute(2, 0, 3, 1).flatten(1, 2).numpy()
    return glued if glued.shape[-1] == 3 else glued[..., 0]
