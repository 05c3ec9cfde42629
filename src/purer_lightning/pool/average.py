"""The parameter average of the teachers: a start for the meta-model that only one shared architecture allows."""

import torch
from torch import Tensor, nn

from purer_lightning.errors import PurerError
from purer_lightning.pool.teachers import Pool


@torch.no_grad()
def average_of_teachers(pool: Pool, network: nn.Module) -> None:
    """Overwrite ``network``'s parameters and floating-point buffers with the mean over the pool's teachers.

    A tensor of another shape in some teachers, as the head of a teacher with fewer classes, is averaged over the
    teachers in which it fits.

    Raises:
        PurerError: a tensor that fits no teacher, so the architectures differ.
    """
    states = [teacher.network.state_dict() for teacher in pool.teachers]
    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            continue
        fitting: list[Tensor] = [state[name] for state in states if name in state and state[name].shape == value.shape]
        if not fitting:
            raise PurerError(
                f"No teacher has a tensor '{name}' of shape {tuple(value.shape)}: starting from the teachers' average "
                f"needs teachers of the meta-model's architecture and way; turn start_from_average off."
            )
        value.copy_(torch.stack(fitting).mean(dim=0))
