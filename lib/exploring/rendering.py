"""From a look to its picture: paths are followed from the start, their offsets add, and spaces compose.

    z + offsets in Z -> w+ of it, + offsets in W and W+ -> styles of it, + offsets in S -> image

Each path is followed from the start by itself, so that it does not matter in which order sliders are moved. A picture
is made alone, and the offsets are added in one order, so that a look has the same bytes again.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch

from lib.latent_space import latent_space
from lib.paths.tracing import follow
from lib.pixels import to_uint8
from lib.walking.sampling import space_of_pool
from models.errors import UserError

STEPS = 16  # in either direction, in which a path is followed, as traverse_latent_space.py does
KEPT_STARTS, KEPT_BYTES = 64, 1 << 28  # of starts, and of paths that are followed from them
QUICK = 128  # pixels: larger pictures get a preview
# Pixels of a preview, at least. A StyleGAN2 of the published widths makes 64 in 0.2 s, 256 in 0.9 s, on one core.
CPU_PREVIEW, GPU_PREVIEW = 64, 256


@dataclass(frozen=True)
class Route:
    """Path k of some paths, in their space. reach: how far it goes in either direction."""

    space: Any
    paths: Any
    k: int
    reach: float


@dataclass(frozen=True)
class Codes:
    """A start: z (1, z_dim), or None where it is not known, and its code (1, ...): w+ where the generator has W."""

    z: torch.Tensor | None
    code: torch.Tensor


class Renderer:
    """The pictures of looks. Not for several threads at once."""

    def __init__(self, generator, classes=None):
        """classes: indices of those that a conditional generator's codes are drawn from; None: all."""
        self.generator, self.classes = generator, classes
        self.has_w = not {"W", "W+"}.isdisjoint(generator.family.spaces)
        self._spaces, self._starts, self._followed, self._bytes = {}, OrderedDict(), OrderedDict(), 0

    @property
    def preview(self):
        """Pixels of previews; None where pictures are small, or the generator cannot stop early."""
        resolution, on_cpu = self.generator.resolution, next(self.generator.parameters()).device.type == "cpu"
        least = CPU_PREVIEW if on_cpu else GPU_PREVIEW
        smaller = [side for side in self.generator.image_sizes if least <= side < resolution]
        return smaller[0] if smaller and resolution > QUICK else None

    def picture(self, look, routes, resolution=None):
        """The pixels (H, W, 3) of a look. routes: {slider's id: `Route`} of at least those that are moved. resolution:
        pixels per side, one of the generator's image sizes; None: all."""
        return to_uint8(self.image(look, routes, resolution))[0]

    def image(self, look, routes, resolution=None):
        """The image (1, 3, H, W) of a look."""
        code, styled = self._composed(look, routes)
        space = self._space("S" if styled else self._home, look.start.truncation, resolution)
        return space.synthesise(code)

    def code(self, look, routes):
        """The code (1, ...) of a look as pools store it: w+, or what a generator without W takes. Raises UserError
        where it has styles that no w+ has."""
        code, styled = self._composed(look, routes)
        if styled:
            raise UserError("a pool holds codes of W+, and sliders in style space (S) lead to what no such code gives: "
                            "set them to 0")
        return code

    def start(self, start):
        """The `Codes` of a `Start`. Raises UserError where it does not fit the generator."""
        if start not in self._starts:
            self._starts[start] = self._started(start)
            if len(self._starts) > KEPT_STARTS:
                self._starts.popitem(last=False)
        self._starts.move_to_end(start)
        return self._starts[start]

    @property
    def _home(self):
        return "W+" if self.has_w else "Z"

    def _space(self, name, truncation, resolution=None):
        key = name, truncation, resolution
        if key not in self._spaces:
            classes = self.classes if self.generator.family.conditional else None
            made = space_of_pool(self.generator, "Z", truncation, classes) if name != "S" else latent_space(
                self.generator, "S", None, truncation)
            made.resolution = resolution
            self._spaces[key] = made
        return self._spaces[key]

    def _started(self, start):
        space, generator = self._space(self._home, start.truncation), self.generator
        if start.seed is not None:
            z = torch.randn(1, generator.z_dim, generator=torch.Generator().manual_seed(start.seed)).to(space.device)
            code = space.codes_of(z)
            return Codes(z if self.has_w else code, code)
        code = start.code().to(space.device)
        if self.has_w and code.shape in ((generator.w_dim,), (generator.num_layers, generator.w_dim)):
            return Codes(None, code.expand(1, generator.num_layers, generator.w_dim))
        if not self.has_w and code.shape == (space.stored_dim,):
            return Codes(code[None], code[None])
        raise UserError(f"this code has the shape {tuple(code.shape)}: it is another generator's")

    def _composed(self, look, routes):
        """(the code (1, ...) of a look, whether it is of styles)."""
        start = self.start(look.start)
        moves = {name: [] for name in self.generator.family.spaces}
        for slider, shift in look.moved_by:
            route = routes[slider]
            moves[route.space.name].append((route.space, self._follow(look.start, slider, route).at(shift)))
        code = start.code
        if self.has_w and moves["Z"]:
            z = _moved(start.z, moves["Z"])
            code = self._space(self._home, look.start.truncation).codes_of(z)
        elif not self.has_w:
            code = _moved(code, moves["Z"])
        for name in ("W", "W+"):
            code = _moved(code, moves.get(name, ()))
        if not moves.get("S"):
            return code, False
        return _moved(moves["S"][0][0].codes_of_w_plus(code), moves["S"]), True

    def _follow(self, start, slider, route):
        key = start, slider
        if key not in self._followed:
            codes = self._codes_in(route.space, start)
            found = follow(route.space, route.paths, codes, route.k, STEPS, route.reach / STEPS)
            self._followed[key] = found
            self._bytes += _size(found)
            while self._bytes > KEPT_BYTES and len(self._followed) > 1:
                self._bytes -= _size(self._followed.popitem(last=False)[1])
        self._followed.move_to_end(key)
        return self._followed[key]

    def _codes_in(self, space, start):
        """A start as a code (1, ...) of a space. Raises UserError where it has none."""
        codes = self.start(start)
        if space.name == "Z":
            if codes.z is None:
                raise UserError("this slider moves codes of Z, and a picture of one's own has only a code of W+: use "
                                "sliders of W, W+ or S")
            return codes.z
        return space.codes_of_w_plus(codes.code)


def _moved(codes, moves):
    for space, offsets in moves:
        codes = space.shift(codes, offsets)
    return codes


def _size(followed):
    return sum(value.nbytes for value in vars(followed).values() if isinstance(value, torch.Tensor))
