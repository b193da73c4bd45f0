"""ContraCLIP (Tzelepis et al. 2022): a path for each pair of contrasting sentences.

This file has the authors' losses, which compare one end of a path with its start:

    z ~ N(0, I) -> codes -> images -> CLIP -> f0
    codes + shift * paths(codes, k) -> images -> CLIP -> f1
    loss: how well f1 - f0 points where the text of dipole k asks it to

`--loss=paired`, which compares both ends of a path with each other, is in `paired`.
"""

import math

from lib.methods.dipole_paths import ContraCLIPSettings, DipolePaths

__all__ = ["ContraCLIP", "ContraCLIPSettings"]

DECAY_AFTER = 0.9  # of all iterations; then the learning rate is a tenth


class ContraCLIP(DipolePaths):
    @classmethod
    def build(cls, settings, space, labels, device):
        """The method of the chosen loss."""
        from lib.methods.paired import PairedContraCLIP

        kind = PairedContraCLIP if settings.loss == "paired" else cls
        return kind(settings, space, labels).load_text(device)

    def ends(self, batch):
        z, indices, shifts = batch
        codes = self.space.codes_of(z)
        directions = self.paths(self.space.positions(codes), indices)
        return [codes, self.space.shift(codes, shifts[:, None] * directions)]

    def loss(self, seen, ends, batch):
        from lib.methods import objectives

        (plain, shifted), (_, indices, shifts), idea = seen, batch, self.settings.idea
        targets = objectives.text_targets(idea, self.text, plain, indices, shifts)
        moves = objectives.image_moves(idea, plain, shifted)
        return objectives.loss(self.settings.loss, moves, targets, indices, shifts, self.settings.temperature)

    def learning_rate(self, iteration):
        late = iteration >= math.ceil(DECAY_AFTER * self.settings.max_iter)
        return self.settings.lr / 10 if late else self.settings.lr
