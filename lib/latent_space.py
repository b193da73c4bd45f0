"""The latent spaces that paths run in: each samples codes, shifts them, and makes images of them.

Codes are what a generator takes; positions are the part that a path moves, as vectors (B, dim).

    space   codes                          positions
    Z       (B, z_dim)                     the code: what goes into the network
            (B, z_dim + embed_dim)         z, if the generator is conditional; the class stays
    W       (B, num_layers, w_dim)         the one w that all layers share
    W+      (B, num_layers, w_dim)         layers 0..L, concatenated; the others stay
    S       (B, sum of style widths)       the styles of convolutions 0..L; those of the others and of RGB layers stay
"""

import math

import torch

from lib.config import DEFAULT_STYLEGAN_LAYER
from models.class_names import class_indices
from models.errors import UserError

JUNG_SAMPLES = 2000


class Space:
    """What all spaces have. layer: the last layer that paths move, if they do not move all. classes: indices of those
    that codes are drawn from, if the generator is conditional."""

    name = layer = classes = None
    resolution = None  # pixels per side of the images; None: the generator's
    truncates = True  # whether the image of a stored code depends on the truncation

    def __init__(self, generator, truncation=1.0):
        self.generator, self.truncation = generator, truncation

    @property
    def device(self):
        return next(self.generator.parameters()).device

    @property
    def stored_dim(self):
        """How many numbers of a code a pool stores in its latent_code_z.pt."""
        return self.generator.z_dim

    def codes_of_stored(self, stored):
        """What a pool stores (B, stored_dim) -> codes."""
        return self.codes_of(stored)


class ZSpace(Space):
    name = "Z"

    def __init__(self, generator, truncation=1.0):
        super().__init__(generator, truncation)
        self.dim = generator.z_dim

    def codes_of(self, z):
        return z

    def positions(self, codes):
        return codes

    def shift(self, codes, offsets):
        return codes + offsets

    def synthesise(self, codes):
        """Codes (B, z_dim) -> images (B, 3, R, R), nominally in [-1, 1]."""
        return self.generator.from_z(codes, self.truncation, self.resolution)

    def features(self, codes, layer):
        """Codes (B, z_dim) -> what one of the generator's `feature_layers` gives (B, C, H, W)."""
        return self.generator.features_from_z(codes, self.truncation, layer)


class ScaledZSpace(ZSpace):
    """Z where truncation scales z: codes, positions and what pools store are the z that goes into the network."""

    truncates = False

    def codes_of(self, z):
        return self.generator.truncate(z, self.truncation)

    def codes_of_stored(self, stored):
        return stored

    def synthesise(self, codes):
        """Codes (B, z_dim) -> images (B, 3, R, R), nominally in [-1, 1]."""
        return self.generator.from_z(codes, resolution=self.resolution)


class ConditionalZSpace(ZSpace):
    """Z of a conditional generator: a code is z followed by the embedding of its class. Paths move z alone."""

    def __init__(self, generator, truncation=1.0, classes=None):
        """classes: indices of the classes that codes are drawn from; None: all."""
        super().__init__(generator, truncation)
        self.classes = [*range(generator.num_classes)] if classes is None else classes

    @property
    def stored_dim(self):
        return self.generator.z_dim + self.generator.embed_dim

    def codes_of(self, z):
        """Standard normal z (B, z_dim) -> codes (B, z_dim + embed_dim), with z truncated and a random class.

        The class is a hash of the bits of z. So whoever draws z draws the class with it, the same z has the same class
        again, and the distribution of z is the same in all classes.
        """
        classes = torch.tensor(self.classes, device=z.device)[_hashed(z) % len(self.classes)]
        return self.generator.codes(self.generator.truncate(z, self.truncation), classes)

    def codes_of_stored(self, stored):
        return stored

    def positions(self, codes):
        return codes[:, : self.dim]

    def shift(self, codes, offsets):
        return torch.cat([codes[:, : self.dim] + offsets, codes[:, self.dim :]], dim=1)


def _hashed(z):
    """A hash (B,), in [0, 2^31), of the bits of each row of z (B, d)."""
    bits, hashed = z.float().contiguous().view(torch.int32).long(), 0
    for column in bits.unbind(1):
        hashed = (hashed ^ column) * 0x9E3779B97F4A7C1  # integers wrap
    return hashed >> 32 & 0x7FFFFFFF


class WPlusSpace(Space):
    name = "W+"

    def __init__(self, generator, truncation=1.0, layer=DEFAULT_STYLEGAN_LAYER):
        """Paths move layers 0..`layer`."""
        super().__init__(generator, truncation)
        self.layer, self.moved = layer, layer + 1
        self.dim = self.moved * generator.w_dim

    def codes_of(self, z):
        return self.generator.w_plus(self.generator.mapping(z), self.truncation)

    def codes_of_w_plus(self, w_plus):
        return w_plus

    def positions(self, codes):
        return codes[:, : self.moved].flatten(1)

    def shift(self, codes, offsets):
        moved = codes[:, : self.moved] + offsets.unflatten(1, (self.moved, -1))
        return torch.cat([moved, codes[:, self.moved :]], dim=1)

    def synthesise(self, codes):
        """Codes (B, num_layers, w_dim) -> images (B, 3, R, R), nominally in [-1, 1]."""
        return self.generator(codes, self.resolution)

    def features(self, codes, layer):
        """Codes (B, num_layers, w_dim) -> what one of the generator's `feature_layers` gives (B, C, H, W)."""
        return self.generator.features(codes, layer)


class WSpace(WPlusSpace):
    name = "W"
    fed = None  # indices of the layers that paths move; None: all

    def __init__(self, generator, truncation=1.0):
        super().__init__(generator, truncation)
        self.layer = None
        self.dim = generator.w_dim

    def positions(self, codes):
        return codes[:, self.fed[0] if self.fed else 0]

    def shift(self, codes, offsets):
        if self.fed is None:
            return codes + offsets[:, None]
        shares = offsets.new_zeros(codes.shape[1], 1)
        shares[self.fed] = 1
        return codes + shares * offsets[:, None]


class StyleSpace(Space):
    """StyleGAN2's style space: the vectors that scale the channels into each convolution (Wu et al. 2021).

    A code holds the styles of all convolutions in order, then those of the RGB layers.
    """

    name = "S"

    def __init__(self, generator, truncation=1.0, layer=DEFAULT_STYLEGAN_LAYER):
        """Paths move the styles of convolutions 0..`layer`."""
        super().__init__(generator, truncation)
        self.layer = layer
        convolutions, rgb_layers = generator.synthesis.style_widths()
        self.widths = convolutions | rgb_layers
        self.dim = sum(list(convolutions.values())[: layer + 1])

    def codes_of(self, z):
        return self.codes_of_w_plus(self.generator.w_plus(self.generator.mapping(z), self.truncation))

    def codes_of_w_plus(self, w_plus):
        styles = self.generator.styles(w_plus)
        return torch.cat([styles[name] for name in self.widths], dim=1)

    def positions(self, codes):
        return codes[:, : self.dim]

    def shift(self, codes, offsets):
        return torch.cat([codes[:, : self.dim] + offsets, codes[:, self.dim :]], dim=1)

    def synthesise(self, codes):
        """Codes (B, sum of style widths) -> images (B, 3, R, R), nominally in [-1, 1]."""
        return self.generator.synthesis(self._styles(codes), self.resolution)

    def features(self, codes, layer):
        """Codes (B, sum of style widths) -> what one of the generator's `feature_layers` gives (B, C, H, W)."""
        return self.generator.synthesis.features(self._styles(codes), layer)

    def _styles(self, codes):
        return dict(zip(self.widths, codes.split(list(self.widths.values()), dim=1)))


SPACES = {space.name: space for space in (ZSpace, WSpace, WPlusSpace, StyleSpace)}
LAYERED = {"W+", "S"}  # spaces where paths move only some layers


def latent_space(generator, name="Z", layer=None, truncation=1.0, classes=None):
    """The space `name` (Z, W, W+, S) of a generator. classes: numbers or names of those that a conditional generator's
    codes are drawn from; None: all. Raises UserError if it has no such space, layer or class."""
    generator.family.check("this generator", name, truncation, classes)
    if generator.family.conditional:
        indices = classes and class_indices(map(str, classes), generator.names())
        return ConditionalZSpace(generator, truncation, indices)
    if name == "Z" and generator.family.scales_z:
        return ScaledZSpace(generator, truncation)
    if name in LAYERED:
        # The last layer of W+ drives only an RGB layer, no convolution, and S leaves RGB layers alone.
        last = generator.num_layers - (1 if name == "W+" else 2)
        layer = min(DEFAULT_STYLEGAN_LAYER, last) if layer is None else layer
        if layer > last:
            raise UserError(f"--stylegan-layer is {layer}, and this generator's layers in {name} are 0 to {last}")
        return SPACES[name](generator, truncation, layer)
    return SPACES[name](generator, truncation)


def limit_resolution(space, resolution):
    """Make a space stop the synthesis at `resolution` pixels from now on, with the image that the skip connections have
    summed so far. Raises UserError if the generator has no such image, or if the paths move layers beyond it."""
    sizes = space.generator.image_sizes
    if len(sizes) == 1:
        raise UserError("--synthesis-resolution needs a StyleGAN2, which sums its image over the resolutions: leave "
                        f"it out with a {space.generator.family.name}")
    if resolution not in sizes:
        raise UserError(f"--synthesis-resolution is {resolution}, and this generator has {', '.join(map(str, sizes))}")
    used = 2 * sizes.index(resolution) + (0 if space.name == "S" else 1)
    if space.layer is not None and space.layer > used:
        raise UserError(f"--synthesis-resolution {resolution} ends with layer {used}, and the paths move layers up to "
                        f"{space.layer}: raise it, or lower --stylegan-layer")
    space.resolution = resolution


def feed_layers(space, layers):
    """Let the paths of W move these layers only from now on; the others keep the w that they have. layers: indices.

    Raises UserError where the space is not W, and where the generator has no such layer.
    """
    if space.name != "W":
        raise UserError(f"--feed-layers goes with --stylegan-space=W, not {space.name}")
    last = space.generator.num_layers - 1
    if not layers or max(layers) > last:
        raise UserError(f"--feed-layers is {' '.join(map(str, layers))}, and this generator's layers are 0 to {last}")
    space.fed = sorted({*layers})


def whole_space(space):
    """A space of the same generator whose paths move all layers, in W+ all that there are, in S all convolutions'."""
    if space.name not in LAYERED:
        return space
    last = space.generator.num_layers - (1 if space.name == "W+" else 2)
    whole = latent_space(space.generator, space.name, last, space.truncation)
    whole.resolution = space.resolution
    return whole


def jung_radius_of(positions):
    """Radius of a ball that holds positions (n, d), by Jung's theorem: diameter * sqrt(d / (2 (d + 1)))."""
    dim = positions.shape[1]
    return torch.cdist(positions, positions).max().item() * math.sqrt(dim / (2 * (dim + 1)))


@torch.no_grad()
def jung_radius(space, seed):
    """The Jung radius of the positions of JUNG_SAMPLES random codes."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(JUNG_SAMPLES, space.generator.z_dim, generator=generator).to(space.device)
    return jung_radius_of(space.positions(space.codes_of(z)))
