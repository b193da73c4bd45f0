"""Ranger: rectified Adam (Liu et al. 2020) with gradient centralisation (Yong et al. 2020) and look-ahead (Zhang et al.
2019), in the combination that StyleCLIP and CF-CLIP train with.
"""

import math

import torch

BETAS, EPSILON = (0.95, 0.999), 1e-5
LOOK_AHEAD, SHARE = 6, 0.5  # every so many steps the slow weights go this share of the way to the fast ones
RECTIFIED_FROM = 5  # length of the average of squares from which Adam's step is taken


class Ranger(torch.optim.Optimizer):
    """Weights whose gradient is None are left alone, and their steps are not counted."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, group["lr"])
        return loss

    def _step(self, parameter, lr):
        state = self.state[parameter]
        if not state:
            state |= {"step": 0, "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter),
                      "slow": parameter.clone()}  # fmt: skip
        state["step"] += 1
        gradient = centralised(parameter.grad)
        state["mean"].lerp_(gradient, 1 - BETAS[0])
        state["square"].mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        size, is_rectified = step_size(state["step"])
        if is_rectified:
            parameter.addcdiv_(state["mean"], state["square"].sqrt().add_(EPSILON), value=-lr * size)
        else:
            parameter.add_(state["mean"], alpha=-lr * size)
        if state["step"] % LOOK_AHEAD == 0:
            state["slow"].lerp_(parameter, SHARE)
            parameter.copy_(state["slow"])


def centralised(gradient):
    """A gradient less its mean over all dimensions but the first, where it has more than one."""
    if gradient.ndim < 2:
        return gradient
    return gradient - gradient.mean(dim=tuple(range(1, gradient.ndim)), keepdim=True)


def step_size(step):
    """How long step number 1, 2, .. is, in learning rates, and whether it is divided by the root of the squares.

    It has RAdam's rectification (eq. 4) and both corrections of bias; while there are too few squares, the mean's.
    """
    decay, longest = BETAS[1] ** step, 2 / (1 - BETAS[1]) - 1
    length = longest - 2 * step * decay / (1 - decay)
    unbiased = 1 / (1 - BETAS[0] ** step)
    if length <= RECTIFIED_FROM:
        return unbiased, False
    variance = (length - 4) / (longest - 4) * (length - 2) / length * longest / (longest - 2)
    return math.sqrt((1 - decay) * variance) * unbiased, True
