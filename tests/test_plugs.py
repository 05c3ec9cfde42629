"""Parts by name: ours, those of an installed package, and classes that a user names by their path."""

import sys
from pathlib import Path

import pytest

from purer_lightning.errors import PurerError
from purer_lightning.plugs import by_name, by_path, installed, subclass_of


class Base:
    pass


class Ours(Base):
    pass


CHECK = subclass_of(Base)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a package that offers three things: a part, something else, and one that cannot be imported."""
    name = "plugs_for_a_test"
    (tmp_path / f"{name}.py").write_text("from test_plugs import Base\nclass Theirs(Base): ...\nclass Other: ...\n")
    folder = tmp_path / f"{name}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        f"[purer_lightning.things]\ntheirs = {name}:Theirs\nother = {name}:Other\nbroken = {name}_is_absent:Part\n"
        f"ours = {name}:Other\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.usefixtures("package")
def test_a_part_of_ours_wins_over_an_installed_one_of_its_name() -> None:
    assert "ours" in installed("things")
    assert by_name("things", "ours", {"ours": Ours}, CHECK) is Ours


@pytest.mark.usefixtures("package")
def test_an_installed_part_is_found_by_its_entry_point() -> None:
    assert by_name("things", "theirs", {"ours": Ours}, CHECK).__name__ == "Theirs"


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("thiers", "broken, other, ours, theirs, but got 'thiers'. Did you mean 'theirs'?"),
        ("other", "subclass of test_plugs.Base, but 'other', which plugs_for_a_test offers is none"),
        ("broken", "'broken', which plugs_for_a_test offers, cannot be imported"),
        ("os.path.join", "but got 'os.path.join'"),
    ],
)
def test_what_is_no_such_part_is_refused_in_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(PurerError) as raised:
        by_name("things", name, {"ours": Ours}, CHECK)
    assert sentence in str(raised.value)


@pytest.mark.usefixtures("package")
def test_a_class_of_the_users_own_is_imported_by_its_path() -> None:
    assert by_path("plugs_for_a_test.Theirs", "--thing", CHECK).__name__ == "Theirs"
    for path in ("plugs_for_a_test.Missing", "no_such_module.Thing", "Theirs", ""):
        with pytest.raises(PurerError, match=r"Expected --thing to be package\.module\.ClassName"):
            by_path(path, "--thing", CHECK)
    with pytest.raises(PurerError, match=r"--thing 'plugs_for_a_test\.Other' is none"):
        by_path("plugs_for_a_test.Other", "--thing", CHECK)
