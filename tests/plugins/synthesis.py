"""A generator in the place of free pixels, which learns across teachers (after FREE, Wei et al., CVPR 2024)."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from purer_lightning.inversion.bank import ImageBank
from purer_lightning.inversion.loss import Terms, summed
from purer_lightning.inversion.synthesis import Judge, Synthesis, SynthesisTask
from purer_lightning.seeding import derived_seed, generator


class MetaGenerator(Synthesis):
    """Adapts a copy of one generator to each teacher, and moves the generator towards the copies (Reptile).

    Args:
        inner_steps: steps of Adam for each teacher.
        inner_lr: their rate.
        outer_lr: how far the generator goes towards the mean of the copies, 0 to 1.
        width: channels of its hidden layer; its codes have as many numbers.
    """

    def __init__(self, inner_steps: int = 3, inner_lr: float = 0.01, outer_lr: float = 0.5, width: int = 16) -> None:
        self.inner_steps, self.inner_lr, self.outer_lr, self.width = inner_steps, inner_lr, outer_lr, width

    def setup(self, task: SynthesisTask) -> None:
        """Draw a code for each image, and the generator's first weights."""
        classes, width = len(task.pool.classes), self.width
        rng = generator(task.seed, "codes")
        codes = torch.randn(classes, 1, width, generator=rng) + torch.randn(
            1, task.images_per_class, width, generator=rng
        )
        self.codes = codes.to(task.device, task.dtype)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(task.seed, "generator"))
            small = nn.Sequential(nn.Linear(width, 16 * width), nn.Unflatten(1, (width, 4, 4)), nn.LeakyReLU(0.1))
            large = nn.Sequential(nn.Upsample(task.pool.image_size), nn.Conv2d(width, task.pool.channels, 3, padding=1))
        self.network = nn.Sequential(small, large).to(task.device, task.dtype)
        self.bank = ImageBank(self.images(self.network, torch.arange(classes)).detach())

    def images(self, network: nn.Module, classes: Tensor) -> Tensor:
        """Return what a generator makes of these classes, (K, images_per_class, C, H, W)."""
        codes = self.codes[classes.to(self.codes.device)]
        made: Tensor = network(codes.flatten(0, 1))
        return made.view(*codes.shape[:2], *made.shape[1:])

    def move(self, judge: Judge) -> Terms:
        """Adapt to the update's teachers one by one, keep their images, and learn from all of them."""
        terms, copies = [], []
        for teacher in judge.teachers:
            network, classes = deepcopy(self.network), teacher.classes.sort().values
            optimizer = torch.optim.Adam(network.parameters(), lr=self.inner_lr)
            for _ in range(self.inner_steps):
                images = self.images(network, classes)
                found, gradient = judge(ImageBank(images.detach(), classes), [teacher])
                optimizer.zero_grad()
                torch.autograd.backward(images, gradient)
                optimizer.step()
            terms.append(found)
            copies.append(list(network.parameters()))
            self.bank.images[classes.to(self.codes.device)] = self.images(network, classes).detach()
        with torch.no_grad():
            for own, *adapted in zip(self.network.parameters(), *copies, strict=True):
                own.lerp_(torch.stack(adapted).mean(dim=0), self.outer_lr)
        return summed(terms)

    def state_dict(self) -> dict[str, Any]:
        """The generator, and the images that its copies have made."""
        return {"network": dict(self.network.state_dict()), "images": self.bank.images.cpu().clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with both."""
        self.network.load_state_dict(state["network"])
        self.bank.images.copy_(state["images"])
