"""Teachers on disk: the same networks as in memory, never more of them than were allowed, checked when first read."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from pool.pools import store
from purer_lightning.errors import PurerError
from purer_lightning.pool.lazy import MappedTeacher
from purer_lightning.pool.teachers import load_pool

IDS = {"one": [5, 0, 2], "two": [7, 2, 5], "three": [1, 3]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, ids in IDS.items():
        store(tmp_path, name, ids)
    return tmp_path


def mapped(folder: Path, resident: int) -> list[MappedTeacher]:
    return [teacher for teacher in load_pool(folder, resident=resident).teachers if isinstance(teacher, MappedTeacher)]


@pytest.mark.parametrize("resident", [1, 2, 5])
def test_mapped_teachers_answer_as_loaded_ones_however_often_they_come_and_go(folder: Path, resident: int) -> None:
    loaded, images = load_pool(folder), torch.randn(4, 3, 16, 16)
    loaded.to(images)
    teachers = mapped(folder, resident)
    assert load_pool(folder, resident=resident).classes == loaded.classes
    for _ in range(2):
        for teacher, wanted in zip(teachers, loaded.teachers, strict=True):
            assert torch.equal(teacher.network(images), wanted.network(images))
            assert torch.equal(teacher.classes, wanted.classes)
            assert not teacher.network.training
            assert not any(parameter.requires_grad for parameter in teacher.network.parameters())


def test_at_most_so_many_are_in_memory_and_the_least_recent_goes_first(folder: Path) -> None:
    one, two, three = mapped(folder, 2)
    first = one.network
    assert len(one.resident) == 1
    assert two.network is two.network
    assert one.network is first
    assert three.network is not None
    assert len(one.resident) == 2
    assert one.network is first  # "two" has gone


def test_threads_that_ask_at_once_get_whole_networks(folder: Path) -> None:
    loaded, images = load_pool(folder), torch.randn(4, 3, 16, 16)
    loaded.to(images)
    teachers = mapped(folder, 1)
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda number: teachers[number % 3].network(images), range(60)))
    for number, answer in enumerate(answers):
        assert torch.equal(answer, loaded.teachers[number % 3].network(images))
    assert len(teachers[0].resident) == 1


def test_networks_take_the_type_of_the_images(folder: Path) -> None:
    pool = load_pool(folder, resident=1)
    pool.to(torch.zeros(1, dtype=torch.float64))
    assert next(pool.teachers[0].network.parameters()).dtype == torch.float64


def test_a_damaged_file_is_named_when_the_teacher_is_first_asked(folder: Path) -> None:
    content = bytearray((folder / "two.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "two.safetensors").write_bytes(content)
    one, two, _ = mapped(folder, 1)
    assert one.network is not None
    with pytest.raises(PurerError, match=r"two.*sha256"):
        _ = two.network


def test_a_missing_file_is_named_at_once(folder: Path) -> None:
    (folder / "three.safetensors").unlink()
    with pytest.raises(PurerError, match=r"'three'.*no such file"):
        load_pool(folder, resident=1)


def test_no_teacher_in_memory_is_refused(folder: Path) -> None:
    with pytest.raises(PurerError, match=r"resident_teachers to be at least 1, but got 0"):
        load_pool(folder, resident=0)
