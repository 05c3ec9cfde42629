"""Every random draw of this package comes from (seed, purpose, counters), never from a generator's history.

So a draw is the same after a resume, on any rank and in any worker.
"""

import hashlib

import torch


def derived_seed(seed: int, purpose: str, *counters: int) -> int:
    """Return a 63-bit seed that differs wherever the seed, the purpose or any counter differs."""
    key = repr((seed, purpose, counters))  # unambiguous, unlike a join
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, purpose: str, *counters: int) -> torch.Generator:
    """Return a fresh CPU generator for one draw, for example ``generator(seed, "jitter", update)``."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, *counters))
