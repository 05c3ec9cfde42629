"""Faster ways to the same results, chosen by one setting; the plain modules stay the definition.

``plain`` runs every network as PyTorch does. ``compiled`` swaps fused blocks into those that have such blocks, on a CPU
with a C++ compiler. ``batched`` asks all teachers of one structure in one batch, and plays all episodes of an update in
another: for GPUs, where a loop's thousands of small launches stand in line. Results agree to rounding. ``auto`` is
``batched`` on CUDA, where its gain has not been measured; ``compiled`` on a CPU where a run is long enough to earn the
compilation back; else ``plain``.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

from purer_lightning.engine.blocks import fuse
from purer_lightning.engine.compilation import library

Engine = Literal["auto", "plain", "compiled", "batched"]

# Compiling takes five seconds, once a machine. A meta-update of the paper's size saves nearly one, an episode of
# evaluation 0.1: benchmarks/README.md. So few of them are not worth a compiler's start.
LEAST_UPDATES, LEAST_EPISODES = 50, 100


def wanted(engine: Engine, steps: int, least: int) -> bool:
    """Whether a run of so many steps is to be compiled; without limit where ``steps`` is below 0.

    The rule knows the settings alone, so a resumed run takes the same engine and computes the same bits.
    """
    return engine == "compiled" or (engine == "auto" and not 0 <= steps < least)


def is_batched(engine: Engine, device: torch.device) -> bool:
    """Whether a run on this device is to be batched; on a CPU only by wish, since batches are slower there."""
    return engine == "batched" or (engine == "auto" and device.type == "cuda")


def accelerate(networks: Iterable[nn.Module]) -> str:
    """Fuse what can be fused in these networks, in place, and return one sentence on what came of it."""
    found = library()
    if found.functions is None:
        return f"Running the plain engine, since {found.problem}; results are the same, training takes longer."
    for network in networks:
        fuse(network)
    if found.compile_seconds:
        return f"Compiled the kernels in {found.compile_seconds:.1f} s; they are kept for later runs."
    return ""
