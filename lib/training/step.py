"""One training step of any method: from what an iteration drew to the gradient of the trained weights.

    batch --ends--> codes --see, in parts--> features --loss--> scalar
    scalar --> features --> codes, part by part; then from all codes, in one go, to the trained weights

With a micro-batch size M the frozen networks see M images at a time, without a graph; once the loss' gradient with
respect to the features is known, each part is made again with a graph of its own, down which that gradient is sent.
Of several processes each sees its share of the codes, and the loss is taken of all features by each. Either way the
gradient is that of the whole batch in one pass.
"""

import torch

from lib import distributed
from lib.training.frozen import FrozenHalf


def step(method, batch, frozen=None, micro_batch_size=None):
    """Add the gradient of one batch's loss to the trained weights', and to nothing else's; returns the loss (a float).

    method: a `lib.methods.method.Method`. frozen: the `FrozenHalf` of its `see`; by default in float32.
    """
    ends = method.ends(batch)
    value, gradients = gradient_of_ends(method, batch, ends, frozen or FrozenHalf(method.see), micro_batch_size)
    torch.autograd.backward([end for end in ends if end.requires_grad], gradients)
    return value


def gradient_of_ends(method, batch, ends, frozen, micro_batch_size=None):
    """The loss, a float, and its gradient with respect to each of the ends (B, ...) that has a graph.

    The gradient with respect to weights that the loss itself owns is added to theirs.
    """
    leaves = [end.detach().requires_grad_(end.requires_grad) for end in ends]
    sights = [_Sight(frozen, leaf, batch, micro_batch_size) for leaf in leaves]
    loss = method.loss([sight.seen for sight in sights], leaves, batch)
    loss.backward()
    return loss.item(), [sight.gradient() for sight in sights if sight.leaf.requires_grad]


class _Sight:
    """What the frozen half makes of one end's codes: seen in parts, gathered from all processes."""

    def __init__(self, frozen, leaf, batch, micro_batch_size):
        self.frozen, self.leaf, self.batch = frozen, leaf, batch
        self.is_shared = len(leaf) >= distributed.world_size()  # fewer rows than processes: each sees them all
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
        """All codes' features, as `see` gave them: a tensor, or a tuple of tensors."""
        return self.features[0] if len(self.features) == 1 else tuple(self.features)

    def gradient(self):
        """The gradient with respect to the codes: that of their features, and what the loss took of the codes."""
        pulls = [torch.zeros_like(one) if one.grad is None else one.grad for one in self.features]
        pulls = zip(*(pull[self.own].split(self.size) for pull in pulls))
        found = []
        for part, made, pull in zip(self.parts, self.made, pulls):
            made = made if self.at_once else self.frozen(part, self.batch)
            found.append(self.frozen.gradient(made, part, pull))
        found = self._gathered(found)
        return found if self.leaf.grad is None else found + self.leaf.grad
