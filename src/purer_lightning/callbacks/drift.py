"""DriftCallback: ranks whose meta-models or image banks have come apart are found out, and the run stops."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from purer_lightning.compute.ranks import Ranks, fingerprint
from purer_lightning.errors import PurerError
from purer_lightning.training import PurerModule


class DriftCallback(Callback):
    """Compares the ranks' meta-models and image banks, which ought to be equal to the bit; nothing is done on one rank.

    Every rank computes each step of Adam by itself, from the same gradients. So their copies are equal as long as
    their processors round alike. Two numbers of each rank are compared; the cost is one read of weights and images.

    Args:
        every: compare when training begins or goes on (ranks may read different files), and before each so many
            meta-updates; 0 for never. It is always done before a checkpoint is saved, so that none holds what the
            ranks do not agree on.
    """

    def __init__(self, every: int = 200) -> None:
        self.every = every

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare what the ranks begin with.

        Raises:
            PurerError: on every rank, where they differ.
        """
        if self.every > 0:
            self.compare(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Compare now and then.

        Raises:
            PurerError: on every rank, where they differ.
        """
        del args
        if self.every > 0 and trainer.global_step % self.every == 0:
            self.compare(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Compare; Lightning calls this on every rank, and before it writes.

        Raises:
            PurerError: on every rank, where they differ.
        """
        del checkpoint
        self.compare(trainer, pl_module)

    def compare(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the ranks' copies."""
        ranks = Ranks.current()
        if ranks.size == 1 or not isinstance(pl_module, PurerModule):
            return
        own = {"meta-model": pl_module.learner.state_dict().values(), "image bank": [pl_module.synthesis.bank.images]}
        marks = torch.cat([fingerprint(list(tensors)) for tensors in own.values()])
        gathered = torch.stack(ranks.gather([marks], [len(marks)] * ranks.size, marks))
        for name, each in zip(own, torch.split(gathered, 2, dim=1), strict=True):
            apart = (each != each[0]).any(dim=1).nonzero().flatten().tolist()
            if apart:
                raise PurerError(
                    f"The ranks have drifted apart: before meta-update {trainer.global_step} the {name} of rank "
                    f"{', '.join(map(str, apart))} is not that of rank 0. Their processors or libraries round "
                    "differently: run on machines of one kind, from the last checkpoint, which is sound."
                )
