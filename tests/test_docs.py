"""The README and the documentation: their code blocks are run; pages are built strictly, and reading fetches nothing.

A block that is not run says why in a comment above it: <!-- not run: reason -->. The others are run as they stand,
in their order, in a folder that has what a reader would have: a finished run in runs/demo, pictures, and a
``demo.yaml`` that takes the bundled one's place (as the page on configurations says it does) and takes seconds.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from PIL import Image

from purer_lightning.cli import main
from purer_lightning.cli.configs import bundled_configs

PROJECT = Path(__file__).resolve().parents[1]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
FENCE = re.compile(r"(?:<!-- not run: (?P<why>.+?) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
SNIPPET = re.compile(r'^--8<-- "(?P<file>[^":]+)"$', re.M)
LANGUAGES = {"sh", "python", "yaml", "text"}
FOREIGN = re.compile(r"""(?:src|href)=["']?(?:https?:)?//[^"'\s>]+|url\(["']?(?:https?:)?//[^)]+|@import[^;]+//[^;]+""")
CHROMIUM = os.environ.get("PURER_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
# What the demo's file says, made small.
SMALL = {
    "data": {
        "dataset": "toy",
        "way": 3,
        "query": 3,
        "episodes_per_update": 2,
        "updates_per_epoch": 2,
        "validation_episodes": 2,
        "test_episodes": 4,
    },
    "model": {"curriculum": {"warm_up": 2, "patience": 1}},
    "synthesis": {"initial_steps": 2},
    "trainer": {"max_steps": 4, "accelerator": "cpu", "enable_progress_bar": False},
}


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    code: str
    why: str | None


def blocks(page: Path) -> list[Block]:
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [Block(match["language"], SNIPPET.sub(included, match["code"]), match["why"]) for match in found]


def included(snippet: re.Match[str]) -> str:
    """Return the file that the built page has in the place of this line."""
    return (PROJECT / snippet["file"]).read_text(encoding="utf-8")


def layered(below: dict[str, object], above: dict[str, object]) -> dict[str, object]:
    """Return ``below`` with the values of ``above``, section by section."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = layered(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


@pytest.fixture(scope="module")
def desk(toy_data: Path, toy_pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A reader's folder, and the current one while these tests run."""
    folder = tmp_path_factory.mktemp("desk")
    small = layered(yaml.safe_load(bundled_configs()["demo.yaml"].read_text()), SMALL)
    (folder / "demo.yaml").write_text(yaml.safe_dump(small))
    (folder / "mine.yaml").write_text("model:\n  meta_lr: 0.001\n")
    shutil.copytree(toy_data, folder / "runs" / "demo" / "data")
    shutil.copytree(toy_pool, folder / "runs" / "demo" / "pool")
    shutil.copytree(toy_data / "pictures", folder / "pictures")
    for name, source in (("cat", "class00"), ("dog", "class01")):
        for place, numbers in (("support", (0, 1)), ("query", (2, 3))):
            pictures = folder / "runs" / "demo" / "pictures" / place / name
            pictures.mkdir(parents=True)
            for number in numbers:
                shutil.copy(toy_data / "pictures" / source / f"{number}.png", pictures)
    for name, picture in (("cat_1", "cat/0"), ("cat_2", "cat/1"), ("dog_1", "dog/0"), ("which", "../query/cat/2")):
        with Image.open(folder / "runs" / "demo" / "pictures" / "support" / f"{picture}.png") as opened:
            opened.save(folder / f"{name}.jpg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for run in ("runs/demo", "runs/second"):
            main(["fit", "--config", "demo.yaml", "--run", run])
            main(["test", "--config", "demo.yaml", "--ckpt_path", f"{run}/checkpoints/best.ckpt"])
        yield folder


def run_shell(code: str) -> None:
    """Run each line; the command ``purer`` in this process, which saves its imports' seconds."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["purer"]:
            main(words[1:])
        elif words:
            subprocess.run(words, check=True, capture_output=True)


def test_the_pages_are_found() -> None:
    assert len(PAGES) > 10
    assert sum(len(blocks(page)) for page in PAGES) > 20


@pytest.mark.filterwarnings("ignore")  # Lightning's advice to those who train for real
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_the_code_of_a_page_runs_as_it_stands(page: Path, desk: Path) -> None:
    del desk
    names: dict[str, object] = {}
    for block in blocks(page):
        assert block.language in LANGUAGES
        if block.why is not None:
            assert len(block.why) > 10
        elif block.language == "python":
            exec(compile(block.code, f"{page.name}: {block.code.splitlines()[0]}", "exec"), names)
        elif block.language == "sh":
            run_shell(block.code)
        elif block.language == "yaml":
            assert isinstance(yaml.safe_load(block.code), dict)


def test_no_block_of_the_readme_is_hidden_from_its_run_by_indentation() -> None:
    fenced = FENCE.sub("", PAGES[0].read_text(encoding="utf-8"))
    assert re.findall(r"^ {4,}\S.*$", fenced, re.M) == []
    assert {block.language for block in blocks(PAGES[0]) if block.why is None} == {"sh", "python", "text"}


def test_a_block_that_fails_fails_its_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "text\n\n```sh\npurer tets\n```\n\n<!-- not run: a reason of some length -->\n```python\n1 / 0\n```\n"
    )
    failing, left_out = blocks(page)
    assert left_out == Block("python", "1 / 0\n", "a reason of some length")
    with pytest.raises(SystemExit):
        run_shell(failing.code)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, built as ``make docs`` builds them: a link or a reference that leads nowhere is an error."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed (pip install '.[docs]')")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(
        command, cwd=PROJECT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_reading_a_page_fetches_nothing(site: Path) -> None:
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(files) > len(PAGES)
    foreign = {found for file in files for found in FOREIGN.findall(file.read_text(encoding="utf-8"))}
    assert foreign == set()


def test_every_equation_is_mathml(site: Path) -> None:
    text = (site / "method.html").read_text(encoding="utf-8")
    assert text.count("<math") == (PROJECT / "docs" / "method.md").read_text().replace("$$", "$").count("$") / 2 > 10
    for file in site.rglob("*.html"):
        assert "arithmatex" not in file.read_text(encoding="utf-8")


def test_each_equation_leads_to_the_function_that_computes_it(site: Path) -> None:
    text = (site / "method.html").read_text(encoding="utf-8")
    for function in (
        "inversion.loss.inversion_loss",
        "inversion.priors.total_variation",
        "evaluation.icfil.contrastive_loss",
    ):
        (page,) = set(re.findall(rf'href="([^"#]+)#purer_lightning\.{re.escape(function)}"', text))
        assert f'id="purer_lightning.{function}"' in (site / page).read_text(encoding="utf-8")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; PURER_CHROMIUM may name one")
@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_opened_from_the_disk_is_drawn_fits_its_screen_and_fetches_nothing(width: int, site: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install '.[dev]')")
    shown = "[...document.querySelectorAll('math, article img')].every(e => e.getBoundingClientRect().width > 0)"
    fetched: list[str] = []
    complaints: list[str] = []
    wrong: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("request", lambda request: fetched.append(request.url))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        for file in sorted({*site.rglob("*.html")} - {site / "404.html"}):  # which is for a server
            page.goto(file.as_uri())
            page.wait_for_timeout(100)  # for what the page's script begins when all is loaded
            if not page.evaluate(shown) or page.evaluate("document.documentElement.scrollWidth") > width:
                wrong.append(file.name)
        browser.close()
    assert wrong == []
    assert complaints == []
    assert [address for address in fetched if not address.startswith(("file:", "data:", "blob:"))] == []
