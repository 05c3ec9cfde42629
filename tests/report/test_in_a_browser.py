"""The report in a browser: nothing is fetched, nothing complains, all is drawn, at both widths, in both themes."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from purer_lightning.cli import main

if TYPE_CHECKING:
    from playwright.sync_api import Browser

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install '.[dev]')")
CHROMIUM = os.environ.get("PURER_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; PURER_CHROMIUM may name one")
Scheme = Literal["light", "dark"]
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of one run, and one of two."""
    folder = tmp_path_factory.mktemp("pages")
    second = shutil.copytree(finished_run, folder / "second", ignore=shutil.ignore_patterns("*.ckpt"))
    main(["report", str(finished_run), "--output", str(folder / "one.html")])
    main(["report", str(finished_run), str(second), "--output", str(folder / "two.html")])
    return {name: folder / f"{name}.html" for name in ("one", "two")}


class Visit:
    """A page opened, with what it fetched and what it complained of; at a phone's width by a finger, else a mouse."""

    def __init__(self, browser: "Browser", file: Path, width: int = 1280, scheme: Scheme = "light") -> None:
        self.touch = width < 600
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, has_touch=self.touch, is_mobile=self.touch
        )
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())
        self.until("[...document.querySelectorAll('.plot')].every(p => p.querySelector('.main-svg'))")

    def until(self, condition: str) -> None:
        """Wait up to ten seconds; playwright's own waiting evaluates strings, which the page forbids."""
        for _ in range(200):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(condition)

    def number(self, script: str) -> float:
        """Evaluate a script."""
        return float(self.page.evaluate(script))

    def at(self, name: str, across: float, down: float) -> tuple[float, float]:
        """Bring a figure into view and return a point in it, given as parts of its width and height."""
        place = self.page.locator(f"[data-plot='{name}'] .plot")
        place.scroll_into_view_if_needed()
        box = place.bounding_box()
        assert box is not None
        return box["x"] + across * box["width"], box["y"] + down * box["height"]

    def point(self, name: str) -> list[str]:
        """Point into the midst of a figure, and return the lines that it then shows."""
        at = self.at(name, 0.55, 0.5)
        if self.touch:
            self.page.touchscreen.tap(*at)
        else:
            self.page.mouse.move(*at, steps=2)
        lines = f"[...document.querySelectorAll('[data-plot={name}] .hoverlayer text')].map(t => t.textContent)"
        self.until(f"{lines}.length > 0")
        return list(self.page.evaluate(lines))

    def zoom(self, name: str) -> None:
        """Zoom into a figure: by the mouse drawn over a part of it, or by its button."""
        before = self.ends(name)
        if self.touch:
            self.page.locator(f"[data-plot='{name}'] [data-title='Zoom in']").tap()
        else:
            self.page.mouse.move(*self.at(name, 0.4, 0.3))
            self.page.mouse.down()
            self.page.mouse.move(*self.at(name, 0.7, 0.3), steps=5)
            self.page.mouse.up()
        self.until(f"{self._axis(name)}[0] > {before[0]} && {self._axis(name)}[1] < {before[1]}")

    def ends(self, name: str) -> list[float]:
        """Return between what a figure's horizontal axis lies."""
        return list(self.page.evaluate(self._axis(name)))

    @staticmethod
    def _axis(name: str) -> str:
        return f"document.querySelector('[data-plot={name}] .plot').layout.xaxis.range"

    def text_colour(self) -> list[int]:
        """Return red, green, blue of the ticks' text in the first figure."""
        script = "getComputedStyle(document.querySelector('.plot .xtick text')).fill.match(/\\d+/g).map(Number)"
        return list(self.page.evaluate(script))


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("one", 390, "light"), ("one", 1280, "dark"), ("two", 390, "dark"), ("two", 1280, "light")],
)
def test_every_figure_is_drawn_and_nothing_is_fetched_or_complained_of(
    name: str, width: int, scheme: Scheme, browser: "Browser", pages: dict[str, Path]
) -> None:
    visit = Visit(browser, pages[name], width, scheme)
    figures = visit.number("document.querySelectorAll('figure[data-plot]').length")
    assert figures >= 8
    drawn = "[...document.querySelectorAll('.plot')].filter(p => p.querySelector('.trace path')?.getAttribute('d'))"
    assert visit.number(f"{drawn}.length") == figures
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert visit.requests.count(pages[name].as_uri()) == 1
    assert visit.number("document.documentElement.scrollWidth") <= width
    assert visit.number("Math.max(...[...document.querySelectorAll('.main-svg')].map(s => s.clientWidth))") <= width
    visit.context.close()


def test_the_figures_follow_the_theme_also_when_it_changes(browser: "Browser", pages: dict[str, Path]) -> None:
    visit = Visit(browser, pages["one"])
    assert max(visit.text_colour()) < 140
    visit.page.emulate_media(color_scheme="dark")
    visit.until("Math.min(...getComputedStyle(document.querySelector('.plot .xtick text')).fill.match(/\\d+/g)) > 140")
    assert min(visit.page.evaluate("getComputedStyle(document.body).color.match(/\\d+/g).map(Number)")) > 180
    visit.context.close()


def test_a_run_is_hidden_and_shown_by_the_keyboard(browser: "Browser", pages: dict[str, Path]) -> None:
    visit = Visit(browser, pages["two"])
    lines = "document.querySelectorAll('[data-plot=curriculum] .trace').length"
    both = visit.number(lines)
    visit.page.locator("input[data-run='1']").focus()
    visit.page.keyboard.press("Space")
    visit.until(f"{lines} < {both}")
    assert visit.number(lines) == both / 2
    visit.page.keyboard.press("Space")
    visit.until(f"{lines} === {both}")
    visit.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_figure_says_its_values_where_it_is_pointed_at(
    width: int, scheme: Scheme, browser: "Browser", pages: dict[str, Path]
) -> None:
    visit = Visit(browser, pages["one"], width, scheme)
    update, *said = visit.point("curriculum")
    assert re.fullmatch(r"update \d+", update)
    assert {re.sub(r" : \d+\.\d{3}| : \d+\.\d %$", "", line) for line in said} >= {"difficulty", "pseudo accuracy"}
    update, term = visit.point("inversion-total_variation")
    assert re.fullmatch(r"total variation : [\d.]+", term)
    run, minutes = visit.point("time")
    assert run == "eci"
    assert re.fullmatch(r"\d+\.\d % after \d+\.\d min, \d+ updates", minutes)
    accuracy, plain, icfil = visit.point("episodes-0")
    assert re.fullmatch(r"\d+ %", accuracy)
    for line, name in ((plain, "eci"), (icfil, "eci + ICFIL")):
        assert re.fullmatch(rf"{re.escape(name)} : \d+\.\d % of the episodes", line)
    assert visit.complaints == []
    visit.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_a_figure_is_zoomed_and_stays_so_when_a_run_is_hidden_or_the_theme_changes(
    width: int, scheme: Scheme, browser: "Browser", pages: dict[str, Path]
) -> None:
    visit = Visit(browser, pages["two"], width, scheme)
    names = visit.page.evaluate("[...document.querySelectorAll('figure[data-plot]')].map(f => f.dataset.plot)")
    for name in names:
        visit.zoom(name)
    zoomed = {name: visit.ends(name) for name in names}
    lines = "[...document.querySelectorAll('.plot')].map(p => p.querySelectorAll('.trace').length)"
    both = visit.page.evaluate(lines)
    visit.page.locator("label", has_text="second").click()
    visit.until(f"{lines}.every((count, figure) => count === {both}[figure] / 2)")
    visit.page.emulate_media(color_scheme="light" if scheme == "dark" else "dark")
    bright = "Math.min(...getComputedStyle(document.querySelector('.plot .xtick text')).fill.match(/\\d+/g)) > 140"
    visit.until(bright if scheme == "light" else f"!({bright})")
    assert {name: visit.ends(name) for name in names} == zoomed
    assert visit.complaints == []
    visit.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_hardest_and_the_easiest_episodes_are_seen_as_pictures(
    width: int, scheme: Scheme, browser: "Browser", pages: dict[str, Path]
) -> None:
    visit = Visit(browser, pages["one"], width, scheme)
    cards = visit.page.locator("#episodes details[open] table.episode")
    assert cards.count() == 6
    seen = "e => [...e.querySelectorAll('img')].filter(i => i.complete && i.naturalWidth && i.clientWidth > 20).length"
    assert [card.evaluate(seen) for card in cards.all()] == [3 * 2] * 6  # of each of the classes support and queries
    visit.context.close()


def test_the_slider_of_the_gallery_moves_by_the_keyboard(browser: "Browser", pages: dict[str, Path]) -> None:
    visit = Visit(browser, pages["one"])
    picture = "getComputedStyle(document.querySelector('.strip')).backgroundImage"
    last = visit.page.evaluate(picture)
    assert last.startswith('url("data:image/webp')
    visit.page.locator("input[type=range]").focus()
    visit.page.keyboard.press("Home")
    assert visit.page.locator("output").text_content() == "0"
    assert visit.page.evaluate(picture) not in ("none", last)
    assert visit.number("document.querySelector('.strip').getBoundingClientRect().width") > 100
    visit.context.close()


def test_no_button_sends_a_figure_away(browser: "Browser", pages: dict[str, Path]) -> None:
    visit = Visit(browser, pages["one"])
    titles = "[...document.querySelectorAll('[data-plot=curriculum] .modebar-btn')].map(b => b.dataset.title)"
    assert visit.page.evaluate(titles) == [
        *("Download plot as a PNG", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"),
    ]
    assert "form-action 'none'" in pages["one"].read_text(encoding="utf-8")
    visit.context.close()
