"""The Muon optimizer: momentum whose matrix updates are made orthogonal.

An update that AdamW would scale element by element is here replaced by the
nearest matrix with all singular values near one, found by a few Newton-Schulz
iterations. A small transformer gets by with far fewer tokens that way, which
is what counts when all the compute is a CPU. Keller Jordan et al., 2024,
"Muon: An optimizer for hidden layers in neural networks".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
# Scales an orthogonal update to the size of a typical AdamW update, so that
# both kinds of optimizer can share a learning rate.
ADAMW_SIZE = 0.2


def orthogonalize(updates: torch.Tensor) -> torch.Tensor:
    """Moves the singular values of [batch, rows, columns] towards one."""
    a, b, c = COEFFICIENTS
    transposed = updates.shape[1] > updates.shape[2]
    x = updates.mT if transposed else updates
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if transposed else x


class Muon(torch.optim.Optimizer):
    """For the weight matrices inside the layers; not for embeddings and norms."""

    def __init__(self, params: Iterable[torch.Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for parameter in group["params"]:
                by_shape[parameter.shape].append(parameter)
            for shape, parameters in by_shape.items():
                self._step_alike(parameters, group, ADAMW_SIZE * max(shape) ** 0.5)

    def _step_alike(self, parameters: list[torch.Tensor], group: dict, size: float) -> None:
        """One batched update of all matrices of one shape."""
        updates = []
        for parameter in parameters:
            state = self.state[parameter]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
            updates.append(parameter.grad.lerp(state["momentum"], group["momentum"]))
        for parameter, update in zip(parameters, orthogonalize(torch.stack(updates))):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update, alpha=-group["lr"] * size)
