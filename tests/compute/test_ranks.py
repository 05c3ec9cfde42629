"""What ranks share and how it is added up: in one process here, on real ones in tests/ddp."""

import math

import pytest
import torch
from torch import Tensor

from purer_lightning.compute.ranks import ALONE, Ranks, fingerprint, flat, shaped


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("items", [0, 1, 3, 13])
def test_each_item_is_the_share_of_one_rank(items: int, size: int) -> None:
    shares = [Ranks(rank, size).share(range(items)) for rank in range(size)]
    assert sorted(item for share in shares for item in share) == list(range(items))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def terms(dtype: torch.dtype, count: int = 7, size: float = 1.0) -> list[Tensor]:
    """Rows of which each has values of very different sizes."""
    rng = torch.Generator().manual_seed(count)
    values = torch.randn(count, 1000, generator=rng, dtype=torch.float64)
    return list((size * values * 10.0 ** torch.randint(-9, 1, (count, 1000), generator=rng)).to(dtype))


def total(rows: list[Tensor]) -> Tensor:
    return ALONE.sum(rows, torch.stack(rows).abs().max().item(), len(rows), rows[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sum_does_not_depend_on_the_order_to_the_bit(dtype: torch.dtype) -> None:
    rows = terms(dtype)
    assert not torch.equal(sum(rows[1:], start=rows[0]), sum(rows[-2::-1], start=rows[-1]))
    assert torch.equal(total(rows), total(rows[::-1]))


@pytest.mark.parametrize("size", [1e-20, 1.0, 1e20])
@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_a_sum_is_as_near_to_the_true_one_as_float32_can_say(count: int, size: float) -> None:
    rows = terms(torch.float32, count, size)
    true = torch.stack(rows).double().sum(dim=0)
    torch.testing.assert_close(total(rows).double(), true, rtol=2**-23, atol=2**-50 * count * size)


def test_a_sum_with_a_value_that_is_not_finite_is_none_at_all() -> None:
    rows = terms(torch.float32)
    for wrong in (math.nan, math.inf):
        rows[2][5] = wrong
        assert total(rows).isnan().all()


def test_a_sum_of_zeros_is_zero() -> None:
    assert torch.equal(total([torch.zeros(3)] * 4), torch.zeros(3))


def test_a_row_takes_its_shapes_back() -> None:
    tensors = [torch.randn(2, 3), torch.randn(()), torch.randn(4, 1, 2).to(memory_format=torch.contiguous_format)]
    for one, other in zip(shaped(flat(tensors), tensors), tensors, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_fingerprint_sees_last_bits_also_where_one_rises_and_one_falls(dtype: torch.dtype) -> None:
    tensors = [torch.randn(3, 5).to(dtype), torch.rand(2).to(dtype) + 1]
    same = [tensor.clone() for tensor in tensors]
    assert torch.equal(fingerprint(tensors), fingerprint(same))
    same[1][0] = torch.nextafter(same[1][0], torch.tensor(9.0, dtype=dtype))
    assert not torch.equal(fingerprint(tensors), fingerprint(same))
    same[1][1] = torch.nextafter(same[1][1], torch.tensor(0.0, dtype=dtype))
    assert fingerprint(tensors)[0] == fingerprint(same)[0]
    assert fingerprint(tensors)[1] != fingerprint(same)[1]
