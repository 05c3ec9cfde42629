"""The benchmark's reference computes what the package computes; else a ratio of their times would say nothing."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import beside
import gpu
import gpu_ways
import growth
import occupancy
import plain
import pools
from inversion_step import VARIANTS
from parts import compare_gradients, parts_of
from problem import Problem, Setting
from purer_lightning.data.splits import open_split
from purer_lightning.pool.teachers import load_pool

TINY = Setting(classes=8, classes_per_teacher=3, images_per_class=4, way=3, query=3, image_size=16, width=4)
PARTS = ("inversion step", "adversarial term", "meta-step")
CHANGES = {
    "inversion step": (True, False),
    "adversarial term": (False, False),
    "meta-step": (False, True),
    "update, switch off": (True, True),
    "update, switch on": (True, True),
}


@pytest.fixture(params=[False, True], ids=["plain engine", "compiled engine"])
def problem(request: pytest.FixtureRequest) -> Problem:
    made = Problem(TINY, torch.float64)
    made.attach(compiled=request.param)
    return made


def test_plain_and_product_gradients_of_every_part_agree_in_float64(problem: Problem) -> None:
    differences = compare_gradients(problem)
    assert tuple(differences) == PARTS
    assert max(found.whole for found in differences.values()) < 1e-10
    assert [found.images for found in differences.values()] == [0, 0, None]


def test_the_reference_lies_in_contiguous_memory_whatever_the_package_chose(problem: Problem) -> None:
    networks = [teacher.network for teacher in problem.plain.teachers]
    weights = [weight for network in networks for weight in network.parameters()]
    assert all(value.is_contiguous() for value in (problem.plain.bank, *problem.plain.theta, *weights))


@pytest.mark.parametrize(
    ("constant", "name"),
    [
        ("TOTAL_VARIATION", "inversion step"),
        ("L2", "inversion step"),
        ("FEATURE", "inversion step"),
        ("INNER_LR", "adversarial term"),
        ("INNER_LR", "meta-step"),
    ],
)
def test_a_reference_with_another_constant_is_told_apart(
    problem: Problem, monkeypatch: pytest.MonkeyPatch, constant: str, name: str
) -> None:
    monkeypatch.setattr(plain, constant, 2 * getattr(plain, constant))
    assert compare_gradients(problem)[name].whole > 1e-6


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_each_measure_leaves_the_inversion_gradient_as_it_is(variant: type[plain.PlainTeacher]) -> None:
    problem = Problem(TINY, torch.float64)
    teachers = [variant(copy.deepcopy(known.network), known.classes) for known in problem.module.pool.teachers]
    found = plain.PlainUpdate(teachers, problem.plain.bank, problem.plain.theta).inversion_gradient((2, -1))
    torch.testing.assert_close(found, problem.plain.inversion_gradient((2, -1)), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_timed_moves_the_same_things_alike_on_both_paths(problem: Problem, name: str) -> None:
    images, theta = problem.plain.bank.detach().clone(), [value.detach().clone() for value in problem.plain.theta]
    part = next(part for part in parts_of(problem) if part.name == name)
    part.plain()
    part.product()
    moved = not torch.equal(problem.plain.bank, images), not torch.equal(problem.plain.theta[0], theta[0])
    assert moved == CHANGES[name]
    learnt = list(problem.module.learner.parameters())
    torch.testing.assert_close(problem.module.synthesis.bank.images, problem.plain.bank, rtol=0, atol=1e-8)
    torch.testing.assert_close(learnt, problem.plain.theta, rtol=0, atol=1e-8)


def test_restore_takes_both_paths_back_to_the_common_start(problem: Problem) -> None:
    start = problem.plain.bank.detach().clone()
    for part in parts_of(problem):
        part.plain()
        part.product()
    problem.restore()
    assert torch.equal(problem.plain.bank, start)
    assert torch.equal(problem.module.synthesis.bank.images, start)
    for one, other in zip(problem.plain.theta, problem.module.learner.parameters(), strict=True):
        assert torch.equal(one, other)


def test_switch_on_is_another_update_than_switch_off(problem: Problem) -> None:
    moved = []
    for part in parts_of(problem)[-2:]:
        fresh = Problem(TINY, torch.float64)
        fresh.attach()
        next(found for found in parts_of(fresh) if found.name == part.name).product()
        moved.append(fresh.module.synthesis.bank.images)
    assert not torch.equal(*moved)


@pytest.mark.parametrize("name", [gpu_ways.LOOPED, gpu_ways.BATCHED])
@pytest.mark.parametrize("changes", [{}, {"teachers": 5}, {"architecture": "resnet10", "teacher_width": 2}])
def test_the_engines_that_are_timed_on_a_gpu_give_the_plain_gradients(name: str, changes: dict[str, Any]) -> None:
    engines = gpu_ways.Engines(replace(TINY, **changes), torch.device("cpu"), at_once=2, dtype=torch.float64)
    engines.switch(name)
    assert max(found.whole for found in compare_gradients(engines.problem).values()) < 1e-9


@pytest.mark.parametrize("layout", gpu_ways.LAYOUTS.values(), ids=gpu_ways.LAYOUTS)
def test_the_gradients_that_are_compiled_or_captured_are_the_plain_ones_traced_or_not(
    layout: torch.memory_format,
) -> None:
    problem = gpu_ways.Engines(TINY, torch.device("cpu"), at_once=16, dtype=torch.float64).problem
    for gradient in gpu_ways.gradients_of(problem, 16, layout).values():
        wanted = gradient.plain()
        for way in (gradient.batched, make_fx(gradient.batched)(*gradient.given)):
            torch.testing.assert_close(way(*gradient.given), wanted, rtol=1e-9, atol=1e-12)


def test_the_gpu_script_runs_to_its_end_on_a_processor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "gpu.json"
    gpu.main(["--device", "cpu", "--settings", "tiny", "--rounds", "1", "--kinds", "--output", str(output)])
    found = json.loads(output.read_text())["results"]["tiny"]
    assert set(found["steps"]) == {*gpu.TIMED, gpu.SCORES, "inversion gradient", "meta-gradient"}
    assert (
        max(each.get("difference", 0) for ways in found["steps"].values() for each in ways.values()) < 0.1
    )  # kinks: README
    assert found["occupancy"][gpu_ways.BATCHED]["launches"] < found["occupancy"][gpu_ways.LOOPED]["launches"]
    assert "no GPU: for a look at the script alone" in capsys.readouterr().out


def test_the_reference_and_the_gradients_that_are_captured_stay_on_the_device() -> None:
    """The device without memory refuses what is elsewhere, as a GPU would."""
    problem, meta = Problem(TINY), torch.device("meta")
    problem.module.synthesis.bank.to(meta)
    problem.module.learner.to(meta)
    problem.module.pool.to(problem.module.synthesis.bank.images)
    for teacher in problem.plain.teachers:
        teacher.network.to(meta)
    problem.plain.bank, *problem.plain.theta = (
        value.detach().to(meta).requires_grad_() for value in (problem.plain.bank, *problem.plain.theta)
    )
    for gradient in gpu_ways.gradients_of(problem, 16, torch.channels_last).values():
        assert gradient.plain().is_meta
        assert gradient.batched(*gradient.given).is_meta
    assert problem.plain.adversarial_gradient(problem.data.plan(0).adversarial).is_meta


def test_a_device_is_busy_while_anything_runs_on_it() -> None:
    assert occupancy.covered([(5.0, 6.0), (0.0, 2.0), (1.0, 3.0), (1.5, 1.8)]) == 4.0


@pytest.mark.parametrize(("power", "sizes"), [(1.0, [1, 3, 10]), (2.0, [16, 32, 64])])
def test_the_fitted_exponent_is_the_power_that_times_follow(power: float, sizes: list[int]) -> None:
    seconds = [0.01 * size**power for size in sizes]
    assert growth.exponent(sizes, seconds) == pytest.approx(power)
    assert growth.last_exponent(sizes, seconds) == pytest.approx(power)


def test_the_pools_that_are_timed_pass_all_checks_and_no_two_teachers_share_a_class(tmp_path: Path) -> None:
    pools.write_pool(tmp_path, 3)
    pool = load_pool(tmp_path)
    assert len(pool.teachers) == 3
    assert len(pool.classes) == 15
    assert {(case.asked, case.on_disk) for case in pools.CASES} == {(13, True), (13, False), (None, False)}


def test_the_files_that_the_reference_decodes_hold_the_prepared_pictures(toy_data: Path, tmp_path: Path) -> None:
    split = open_split(toy_data, "toy", "val")
    files = beside.write_pictures(split, tmp_path)
    assert len(files) == len(split.class_names)
    for position, own in enumerate(files):
        assert torch.equal(beside.decoded(own), split.of_class(position))
