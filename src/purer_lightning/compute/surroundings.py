"""What a library call finds switched on by its caller, and must neither depend on nor change."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def usual_surroundings() -> Iterator[None]:
    """Compute within the block as a fresh process does, whatever the caller has set; all of it is his again after.

    Within the block there are gradients and no inference mode, no autocast, float32 as default type and for products
    of matrices, and the CPU as default device. Tensors made in it are ordinary ones, which may take part in autograd
    later. Also a decorator.

    Default type and precision of products belong to the process, not to the thread: a caller who changes them must not
    let two threads call at once.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", torch.accelerator.current_accelerator()):
            kind = device if isinstance(device, str) else device.type if device else ""
            if kind and torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if (dtype := torch.get_default_dtype()) != torch.float32:
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        if (precision := torch.get_float32_matmul_precision()) != "highest":
            stack.callback(torch.set_float32_matmul_precision, precision)
            torch.set_float32_matmul_precision("highest")
        yield
