"""One training step of any method: from what an iteration drew to the gradient of the trained weights.

    batch --ends--> codes --see, in parts--> features --loss--> scalar
    scalar --> features --> codes, part by part; then from all codes, in one go, to the trained weights

With a micro-batch size M, the frozen networks see M images at a time, without a graph. Once the gradient of the loss
with respect to the features is known, each part is computed again with a graph, and its part of the gradient is sent
back through it. Of several processes, each sees its share of the codes and computes the loss of all features. In both
cases, the gradient is that of the whole batch in one pass.
"""

import torch

from lib import distributed
from lib.training.frozen import FrozenHalf


def step(method, batch, frozen=None, micro_batch_size=None):
    """Add the gradient of one batch's loss to that of the trained weights. Returns the loss, a float.

    method: a `lib.methods.method.Method`. frozen: the `FrozenHalf` of its `see`; by default, one in float32.
    """
    ends = method.ends(batch)
    value, gradients = gradient_of_ends(method, batch, ends, frozen or FrozenHalf(method.see), micro_batch_size)
    torch.autograd.backward([end for end in ends if end.requires_grad], gradients)
    return value


def to_device(batch, device):
    """A batch with its tensors on a device: a tensor, or tuples, lists and dicts of tensors and other values."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return type(batch)(to_device(item, device) for item in batch)
    return batch


def gradient_of_ends(method, batch, ends, frozen, micro_batch_size=None):
    """The loss, a float, and its gradient with respect to each of the ends (B, ...) that has a graph.

    If the loss has weights of its own, their gradient is added to them.
    """
    leaves = [end.detach().requires_grad_(end.requires_grad) for end in ends]
    sights = [_Sight(frozen, leaf, batch, micro_batch_size) for leaf in leaves]
    loss = method.loss([sight.seen for sight in sights], leaves, batch)
    loss.backward()
    return loss.item(), [sight.gradient() for sight in sights if sight.leaf.requires_grad]


class _Sight:
    """The features of one end's codes: computed in parts by the frozen half, and gathered from all processes."""

    def __init__(self, frozen, leaf, batch, micro_batch_size):
        self.frozen, self.leaf, self.batch = frozen, leaf, batch
        self.is_shared = len(leaf) >= distributed.world_size()  # with fewer rows than processes, each sees all of them
        self.own = distributed.rows(len(leaf)) if self.is_shared else slice(None)
        codes = leaf.detach()[self.own]
        self.size = micro_batch_size or len(codes)
        self.at_once = self.size >= len(codes)
        self.parts = [part.requires_grad_(leaf.requires_grad) for part in codes.split(self.size)]
        with torch.set_grad_enabled(leaf.requires_grad and self.at_once):
            self.made = [frozen(part, batch) for part in self.parts]
        self.features = [self._gathered(features).requires_grad_(leaf.requires_grad) for features in zip(*self.made)]

    def _gathered(self, parts):
        own = torch.cat(parts)
        return distributed.gather(own, len(self.leaf)) if self.is_shared else own.detach()

    @property
    def seen(self):
        """The features of all codes, as `see` returns them: a tensor, or a tuple of tensors."""
        return self.features[0] if len(self.features) == 1 else tuple(self.features)

    def gradient(self):
        """The gradient with respect to the codes: through their features, and directly, if the loss uses the codes."""
        pulls = [torch.zeros_like(one) if one.grad is None else one.grad for one in self.features]
        pulls = zip(*(pull[self.own].split(self.size) for pull in pulls))
        found = []
        for part, made, pull in zip(self.parts, self.made, pulls):
            made = made if self.at_once else self.frozen(part, self.batch)
            found.append(self.frozen.gradient(made, part, pull))
        found = self._gathered(found)
        return found if self.leaf.grad is None else found + self.leaf.grad
