"""A pool written and read: same weights, same facts, and classes in one order."""

import json
from itertools import permutations
from pathlib import Path

import pytest
import torch
from torch import nn

from pool.pools import NAMES, NORMALISATION, network, store
from purer_lightning.errors import PurerError
from purer_lightning.pool.manifest import read_manifest, write_manifest
from purer_lightning.pool.teachers import PoolClass, load_pool
from purer_lightning.pool.writing import assemble


def test_a_pool_written_and_read_is_the_same(tmp_path: Path) -> None:
    made = network(3, seed=5)
    store(tmp_path, "one", [5, 0, 2], made.state_dict())
    pool = load_pool(tmp_path)
    (teacher,) = pool.teachers
    assert (pool.image_size, pool.channels, pool.normalisation) == (16, 3, NORMALISATION)
    assert (teacher.record.class_ids, teacher.record.class_names) == ([5, 0, 2], ["fox", "apple", "cup"])
    assert teacher.record.held_out_accuracy == 0.75
    images = torch.randn(4, 3, 16, 16)
    assert torch.equal(teacher.network(images), made(images))
    before = read_manifest(tmp_path)
    write_manifest(tmp_path, before)
    assert read_manifest(tmp_path) == before


def test_teachers_are_frozen_and_in_evaluation_mode(tmp_path: Path) -> None:
    store(tmp_path, "one", [0, 1])
    teacher = load_pool(tmp_path).teachers[0].network
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_loading_draws_nothing_from_the_global_generator(tmp_path: Path) -> None:
    store(tmp_path, "one", [0, 1])
    before = torch.get_rng_state()
    load_pool(tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def test_overlapping_unsorted_teachers_share_classes_that_come_once_and_in_order(tmp_path: Path) -> None:
    store(tmp_path, "one", [5, 0, 2])
    store(tmp_path, "two", [7, 2, 5])
    pool = load_pool(tmp_path)
    assert pool.classes == tuple(PoolClass("things", number, NAMES[number]) for number in (0, 2, 5, 7))
    assert [teacher.classes.tolist() for teacher in pool.teachers] == [[2, 0, 1], [3, 1, 2]]
    assert pool.teachers[0].classes.dtype == torch.int64


def test_the_order_of_teachers_changes_no_class_and_no_output(tmp_path: Path) -> None:
    for name, ids in {"one": [5, 0, 2], "two": [7, 2, 5], "three": [1, 3]}.items():
        store(tmp_path, name, ids)
    expected = load_pool(tmp_path)
    by_name = {teacher.record.name: teacher for teacher in expected.teachers}
    manifest = read_manifest(tmp_path)
    for order in permutations(manifest.teachers):
        manifest.teachers = list(order)
        write_manifest(tmp_path, manifest)
        pool = load_pool(tmp_path)
        assert pool.classes == expected.classes
        assert [teacher.record.name for teacher in pool.teachers] == [record.name for record in order]
        assert all(torch.equal(t.classes, by_name[t.record.name].classes) for t in pool.teachers)


def test_permuting_a_teachers_class_ids_with_its_head_changes_no_logit_of_any_class(tmp_path: Path) -> None:
    made = network(3)
    store(tmp_path / "a", "one", [0, 4, 6], made.state_dict())
    order = [2, 0, 1]
    assert isinstance(made.head, nn.Linear)
    permuted = dict(made.state_dict())
    permuted["head.weight"], permuted["head.bias"] = made.head.weight[order], made.head.bias[order]
    store(tmp_path / "b", "one", [[0, 4, 6][k] for k in order], permuted)
    images = torch.randn(2, 3, 16, 16)
    columns = []
    for folder in ("a", "b"):
        pool = load_pool(tmp_path / folder)
        logits = torch.empty(2, len(pool.classes))
        logits[:, pool.teachers[0].classes] = pool.teachers[0].network(images)
        columns.append(logits)
    assert load_pool(tmp_path / "a").classes == load_pool(tmp_path / "b").classes
    torch.testing.assert_close(columns[0], columns[1])


def test_a_teacher_alone_has_its_classes_alone(tmp_path: Path) -> None:
    store(tmp_path, "one", [5, 0])
    store(tmp_path, "two", [7, 2])
    pool = load_pool(tmp_path, ["two"])
    assert [known.id for known in pool.classes] == [2, 7]
    assert pool.teachers[0].classes.tolist() == [1, 0]
    with pytest.raises(PurerError, match=r"got 'twoo'. Did you mean 'two'\? It has: one, two"):
        load_pool(tmp_path, ["twoo"])


def test_the_same_id_of_two_data_sets_is_two_classes(tmp_path: Path) -> None:
    store(tmp_path, "one", [0, 1])
    store(tmp_path, "two", [0, 1])
    path = tmp_path / "two.json"
    path.write_text(path.read_text().replace("things", "animals"))
    assemble(tmp_path)
    assert [known.dataset for known in load_pool(tmp_path).classes] == ["animals", "animals", "things", "things"]


def test_pool_json_comes_back_from_the_records(tmp_path: Path) -> None:
    store(tmp_path, "one", [0, 1])
    store(tmp_path, "two", [2, 3])
    before = (tmp_path / "pool.json").read_bytes()
    (tmp_path / "pool.json").unlink()
    assemble(tmp_path)
    assert (tmp_path / "pool.json").read_bytes() == before


def test_teachers_without_a_record_stay_in_the_pool_when_another_is_added(tmp_path: Path) -> None:
    store(tmp_path, "one", [0, 1])
    (tmp_path / "one.json").unlink()
    store(tmp_path, "two", [2, 3])
    assert [record.name for record in read_manifest(tmp_path).teachers] == ["one", "two"]


def test_nothing_but_the_pool_is_left_behind(tmp_path: Path) -> None:
    store(tmp_path, "one", [0, 1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.json", "one.safetensors", "pool.json"]
    assert json.loads((tmp_path / "pool.json").read_text())["format"] == 1
