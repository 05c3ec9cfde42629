"""Paired differences between the rows of the table, and what their intervals say in sentences."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from formatting import count, markdown, percent, quoted
from rows import EQUAL_BUDGETS, SHOTS, TRAINING_FREE, UNDER_OTHER_RULES, Group
from scored import ICFIL, PLAIN, Scored, mean, paired, verdict

WORDS = ("above", "not told apart from", "below")
EI_ECI = ["method", "shot", "updates each", "minutes, EI", "minutes, ECI", "ECI - EI", "ECI - EI, both + ICFIL"]

Found = Mapping[str, Scored]  # by the row's name, of one shot


class Entry(NamedTuple):
    """A row under one method: without ICFIL, or with it."""

    scored: Scored
    method: str

    @property
    def title(self) -> str:
        """The row's title, and whether ICFIL is on."""
        return self.scored.title + (" + ICFIL" if self.method == ICFIL else "")


class Baselines(NamedTuple):
    """The training-free baselines with the highest means, of one shot; None where there is none.

    They are chosen on the very episodes of the comparison: that favours them, and never the method beside them. One
    that was scored on fewer episodes may be the best, too: then nothing can be compared with the best.
    """

    one_network: Scored | None
    overall: Scored | None

    def among(self, compared: Found) -> "Baselines":
        """Return those that are among the rows to be compared, None for the others."""
        return Baselines(*(best if best and best.row.name in compared else None for best in self))

    def distinct(self) -> list[Scored]:
        """Return those there are, once where both are the same."""
        found = [baseline for baseline in self if baseline is not None]
        return found[:1] if self.one_network is self.overall else found


def whole(found: Found, episodes: int) -> Found:
    """Return the rows that were scored on so many episodes, or more."""
    return {name: scored for name, scored in found.items() if len(scored.accuracies[PLAIN]) >= episodes}


def entries(found: Found) -> Iterator[Entry]:
    """Yield each row without ICFIL, then with it where it was."""
    for scored in found.values():
        yield from (Entry(scored, method) for method in scored.accuracies)


def best_baselines(found: Found) -> Baselines:
    """Return the best training-free baseline of one network, and that of any number."""
    free = [scored for scored in found.values() if scored.row.group in TRAINING_FREE]
    one_network = [scored for scored in free if scored.row.group == Group.ONE_NETWORK]
    return Baselines(max(one_network, key=mean, default=None), max(free, key=mean, default=None))


def difference(entry: Entry | None, baseline: Scored | None) -> str:
    """Format a paired difference; a dash where there is none, or of a baseline to itself."""
    if entry is None or baseline is None or entry.scored is baseline:
        return "-"
    return percent(paired(entry.scored, baseline, entry.method)._asdict())


def differences_table(by_shot: Mapping[int, Found], best: Mapping[int, Baselines]) -> str:
    """Return each row's paired differences from the best training-free baselines."""
    there = {shot: {(e.scored.row.name, e.method): e for e in entries(found)} for shot, found in by_shot.items()}
    header = ["method"] + [f"{shot}-shot, to the best {of}" for shot in SHOTS for of in ("of one network", "of all")]
    lines = []
    for key in dict.fromkeys(key for found in there.values() for key in found):
        title = next(found[key].title for found in there.values() if key in found)
        cells = [difference(there[s].get(key), baseline) for s in SHOTS for baseline in best[s].among(by_shot[s])]
        lines.append([title, *cells])
    return markdown(header, lines)


def baseline_sentence(shot: int, best: Baselines, compared: Found) -> str:
    """Name the best baselines of one shot, and whether they can be compared with."""
    if best.overall is None:
        return f"{shot}-shot: there is no training-free baseline to compare with yet."
    said = [
        f"{of} '{baseline.title}'" + ("" if baseline.row.name in compared else " (not comparable)")
        for of, baseline in zip(("of one network", "of all"), best, strict=True)
        if baseline
    ]
    return f"{shot}-shot: {', '.join(said)}."


def verdicts(shot: int, found: Found, best: Baselines) -> Iterator[str]:
    """Yield a sentence for each of the best baselines: what is above it, not told apart from it, below it."""
    unranked = (*TRAINING_FREE, *UNDER_OTHER_RULES)
    learnt = [entry for entry in entries(found) if entry.scored.row.group not in unranked]
    for baseline in best.among(found).distinct():
        by_word: dict[str, list[str]] = {word: [] for word in WORDS}
        for entry in learnt:
            by_word[verdict(paired(entry.scored, baseline, entry.method))].append(entry.title)
        said = "; ".join(f"{word} it {quoted(titles)}" for word, titles in by_word.items() if titles)
        if said:
            yield f"{shot}-shot, against '{baseline.title}': {said}."


def left_out(by_shot: Mapping[int, Found], episodes: int) -> str:
    """Name the rows that are not compared."""
    said = [
        f"'{scored.title}' ({shot}-shot, {len(scored.accuracies[PLAIN]):,})"
        for shot, found in by_shot.items()
        for name, scored in found.items()
        if name not in whole(found, episodes)
    ]
    return f"Not comparable, since scored on fewer than {episodes:,} episodes: {', '.join(said)}." if said else ""


def equal_budgets(by_shot: Mapping[int, Found]) -> list[tuple[int, Scored, Scored]]:
    """Return EI and ECI of each shot and budget for which both have results, with the shot.

    Raises:
        ValueError: they had different numbers of updates.
    """
    there = [
        (shot, found[ei], found[eci])
        for shot, found in by_shot.items()
        for ei, eci in EQUAL_BUDGETS
        if ei in found and eci in found
    ]
    for shot, *both in there:
        updates = [scored.of_fit("updates") for scored in both]
        if updates[0] != updates[1]:
            raise ValueError(
                f"Expected {quoted(scored.title for scored in both)} to have had the same updates, but {shot}-shot had "
                f"{updates}; fit one again."
            )
    return there


def ei_eci_line(shot: int, ei: Scored, eci: Scored) -> list[str]:
    """Return a line of the table of EI and ECI."""
    minutes = [count(scored.of_fit("minutes")) for scored in (ei, eci)]
    with_icfil = paired(eci, ei, ICFIL, ICFIL)._asdict() if ICFIL in ei.accuracies.keys() & eci.accuracies else None
    return [
        eci.title,
        str(shot),
        count(ei.of_fit("updates")),
        *minutes,
        percent(paired(eci, ei)._asdict()),
        percent(with_icfil),
    ]


def ei_eci_sentence(shot: int, ei: Scored, eci: Scored) -> str:
    """Say whether the curriculum helped."""
    return f"{shot}-shot: '{eci.title}' is {verdict(paired(eci, ei))} '{ei.title}', both without ICFIL."


def bullets(sentences: Iterable[str]) -> str:
    """Return a list in Markdown."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


def comparisons(rows: Mapping[int, Found], episodes: int) -> list[str]:
    """Return the paragraphs and tables of paired differences, of rows that were scored on so many episodes.

    Args:
        rows: by shot, then by name.
        episodes: rows of fewer are named and left out.

    Raises:
        ValueError: rows that are to be compared were scored on different episodes, or EI and ECI had other budgets.
    """
    compared = {shot: whole(found, episodes) for shot, found in rows.items()}
    best = {shot: best_baselines(found) for shot, found in rows.items()}
    both = equal_budgets(compared)
    parts = [
        f"### Paired differences from the best training-free baselines, on the same {episodes:,} episodes",
        "The best training-free baselines, by their means on these episodes:",
        bullets(baseline_sentence(shot, best[shot], found) for shot, found in compared.items()),
        differences_table(compared, best),
        left_out(rows, episodes),
        "By these intervals:",
        bullets(sentence for shot, found in compared.items() for sentence in verdicts(shot, found, best[shot])),
        "### EI against ECI, at equal budget",
        markdown(EI_ECI, [ei_eci_line(*each) for each in both]),
        bullets(ei_eci_sentence(*each) for each in both),
    ]
    return [part for part in parts if part]
