"""Where codes are sought: offsets from the mean of a space, in units in which its codes are standard normal.

In these units one learning rate serves every generator, and the square of an offset is how unlikely the code is. W has
its covariance taken out for that (Zhu et al. 2020, arXiv:2012.09036, do the same to W's activations before the last
leaky ReLU).

    space   common          layers          codes
    Z       (B, 1, z_dim)                   (B, z_dim)
    W       (B, 1, w_dim)                   (B, num_layers, w_dim)
    W+      (B, 1, w_dim)   (B, L, w_dim)   (B, num_layers, w_dim), where one w feeds all layers of an image of z
    W+      (B, L, w_dim)                   (B, num_layers, w_dim), where the mapping gives each layer a w of its own
"""

import torch

from lib.draws import generator_for
from lib.latent_space import latent_space
from models.errors import UserError

SAMPLES = 4096  # of W, for its mean and covariance
LEAST_DEVIATION = 0.05  # of the largest one, in any direction: where samples hardly differ, pictures may
STREAM = 20  # of `generator_for`


class Coordinates:
    """space: Z, W or W+, of a whole generator. M is 1, or L where each layer has a w of its own."""

    def __init__(self, space):
        self.space = space
        if space.name == "Z":
            self.mean = torch.zeros(1, space.dim, device=space.device)
            scale = space.truncation if space.generator.family.scales_z else 1.0
            self.basis, self.inverse = scale * self._unit(), self._unit() / scale
        else:
            self._measure(self._vectors(self._samples()))
        self.has_layers = space.name == "W+" and len(self.mean) == 1

    def _unit(self):
        return torch.eye(self.mean.shape[-1], device=self.space.device)[None]

    @torch.no_grad()
    def _samples(self):
        noise = generator_for(0, STREAM, 0)
        z = torch.randn(SAMPLES, self.space.generator.z_dim, generator=noise).to(self.space.device)
        return self.space.codes_of(z)

    def _measure(self, vectors):
        """mean (M, d), basis (M, d, d) and its inverse, of vectors (N, M, d)."""
        self.mean = vectors.mean(dim=0)
        centred = (vectors - self.mean).transpose(0, 1)
        covariance = centred.transpose(1, 2) @ centred / len(vectors)
        values, directions = torch.linalg.eigh(covariance.cpu())  # which not every device has
        deviations = values.clamp(min=0).sqrt()
        deviations = deviations.clamp(min=LEAST_DEVIATION * deviations.max())
        self.basis = (deviations[:, :, None] * directions.transpose(1, 2)).to(self.mean)
        self.inverse = (directions / deviations[:, None]).to(self.mean)

    def _vectors(self, codes):
        """Codes -> (B, M, d)."""
        if codes.ndim == 2:
            return codes[:, None]
        return codes[:, :1] if "W" in self.space.generator.family.spaces else codes

    def of(self, codes):
        """Codes of the space -> common offsets (B, M, d)."""
        return torch.einsum("bmd,mde->bme", self._vectors(codes) - self.mean, self.inverse)

    def codes(self, common, layers=None):
        """Offsets (B, M, d), and where layers differ in those too (B, L, d), -> codes of the space."""
        offsets = common if layers is None else common + layers
        codes = self.mean + torch.einsum("bmd,mde->bme", offsets, self.basis.expand(offsets.shape[1], -1, -1))
        if self.space.name == "Z":
            return codes[:, 0]
        return codes.expand(-1, self.space.generator.num_layers, -1)


def space_of(space, name=None):
    """The space in which codes of `space` are sought: Z, W or W+, of the whole generator.

    name: of another one than its own. Raises UserError where the generator has no such space, where its codes hold a
    class, and where codes of Z are asked for and the space is not Z, or the other way round.
    """
    family = space.generator.family
    if family.conditional:
        raise UserError(f"codes of a {family.name} hold a class, and pictures are inverted without classes: choose "
                        "another generator")
    name = name or {"S": "W+"}.get(space.name, space.name)
    found = latent_space(space.generator, name, None, space.truncation if name == "Z" else 1.0)
    if (name == "Z") != (space.name == "Z"):
        raise UserError(f"codes of {name} are of no use in {space.name}: leave out the space of the inversion")
    found.resolution = space.resolution
    return found
