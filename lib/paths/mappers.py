"""Mappers: networks that turn a latent code into an edit of it, one for each path.

StyleCLIP's latent mapper (Patashnik et al., ICCV 2021, section 5) and CF-CLIP's (Yu et al., ACM MM 2022), with the
names of their published weights. The edited code is w + 0.1 M(w); the 0.1 is part of the paths here.

    levels            a perceptron for each of three groups of W+ layers
    single            one perceptron for all layers of W+
    styles            in S, a perceptron for each convolution's style vector
    counterfactual    as levels, after w was fused with what another network makes of the sentence's CLIP feature
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from lib.paths.paths import Paths
from models.errors import UserError
from models.stylegan2 import Dense

STRENGTH = 0.1  # of what a network gives
DEPTH = 4  # layers of a perceptron
LR_MULTIPLIER = 0.01  # stored weights are 100 times as large as the ones applied
LEAKY_SLOPE, GAIN = 0.2, math.sqrt(2)
EPSILON = 1e-8

GROUPS = {"course": slice(0, 4), "medium": slice(4, 8), "fine": slice(8, None)}  # of layers; spelt as published
NORMS = ("channels", "layers")


class Activated(Dense):
    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, LR_MULTIPLIER)

    def forward(self, x):
        return F.leaky_relu(super().forward(x), LEAKY_SLOPE) * GAIN


class Normalise(nn.Module):
    """x over the root mean square of its channels, the last dimension; as published, over that of dimension 1.

    In (B, L, width) that one counts the layers, by a slip (StyleCLIP's issue 82): of a code whose layers are all the
    same w it leaves nothing but the signs. The published weights need it.
    """

    def __init__(self, norm):
        super().__init__()
        self.dim = {"channels": -1, "layers": 1}[norm]

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(dim=self.dim, keepdim=True) + EPSILON)


class Perceptron(nn.Module):
    def __init__(self, width, norm, inputs=None):
        """inputs: width of x, where it is another than that of the layers."""
        super().__init__()
        layers = [Activated(width if i or inputs is None else inputs, width) for i in range(DEPTH)]
        self.mapping = nn.Sequential(Normalise(norm), *layers)

    def forward(self, x):
        return self.mapping(x)


class LevelsMapper(nn.Module):
    """Positions of W+ (B, L width) -> edits (B, L width); zeros on the layers of a group that is left out."""

    def __init__(self, width, norm, groups=tuple(GROUPS)):
        super().__init__()
        self.width = width
        for group in groups:
            self.add_module(f"{group}_mapping", Perceptron(width, norm))

    def forward(self, positions):
        return self.edit(positions.unflatten(1, (-1, self.width))).flatten(1)

    def edit(self, w):
        """(B, L, width) -> (B, L, width)."""
        parts = []
        for group, layers in GROUPS.items():
            part, network = w[:, layers], getattr(self, f"{group}_mapping", None)
            parts.append(network(part) if network is not None and part.shape[1] else torch.zeros_like(part))
        return torch.cat(parts, dim=1)


class SingleMapper(nn.Module):
    """Positions of W+ (B, L width) -> edits (B, L width)."""

    def __init__(self, width, norm):
        super().__init__()
        self.width = width
        self.mapping = Perceptron(width, norm)

    def forward(self, positions):
        return self.mapping(positions.unflatten(1, (-1, self.width))).flatten(1)


class StylesMapper(nn.Module):
    """Positions of S (B, sum of widths) -> edits (B, sum of widths).

    A network is called by the place of its style vector among all, those of the RGB layers included.
    """

    def __init__(self, widths):
        """widths: of the convolutions' style vectors, in order."""
        super().__init__()
        self.widths = list(widths)
        for i, width in enumerate(self.widths):
            # In (B, channels) dimension 1 is the channels', whatever the norm.
            self.add_module(_style_name(i), Perceptron(width, "channels"))

    def forward(self, positions):
        parts = positions.split(self.widths, dim=1)
        return torch.cat([getattr(self, _style_name(i))(part) for i, part in enumerate(parts)], dim=1)


def _style_name(convolution):
    """Behind the first convolution, and every second from there on, stands an RGB layer: 0, 2, 3, 5, 6, 8, .."""
    return f"mapper_{convolution + (convolution + 1) // 2}"


class FusedLevelsMapper(LevelsMapper):
    """As LevelsMapper, of w fused with another code of its shape."""

    def __init__(self, width, norm, groups=tuple(GROUPS)):
        super().__init__(width, norm, groups)
        self.fc = Activated(2 * width, width)

    def fuse(self, w, others):
        """(B, L, width) twice -> (B, L, width)."""
        return self.fc(torch.cat([w, others], dim=-1))


class TextMapper(nn.Module):
    """A sentence's CLIP feature (n, E) -> a code of W+ (n, L, width)."""

    def __init__(self, num_layers, embed_dim, width, norm):
        super().__init__()
        self.num_layers = num_layers
        for i in range(num_layers):
            self.add_module(f"mapper_{i}", Perceptron(width, norm, embed_dim))

    def forward(self, feature):
        # Each network sees (n, 1, E): with the published norm nothing but the feature's signs.
        return torch.cat([getattr(self, f"mapper_{i}")(feature[:, None]) for i in range(self.num_layers)], dim=1)


class CounterfactualMapper(nn.Module):
    """Positions of W+ (B, L width) -> edits (B, L width) towards one sentence."""

    def __init__(self, width, norm, groups, num_layers, text):
        """text (E,): the sentence's CLIP feature, not of unit length."""
        super().__init__()
        self.mapper = FusedLevelsMapper(width, norm, groups)
        self.text_mapper = TextMapper(num_layers, len(text), width, norm)
        self.register_buffer("text", text)

    def forward(self, positions):
        w = positions.unflatten(1, (-1, self.mapper.width))
        text = self.text_mapper(self.text[None])
        return self.mapper.edit(self.mapper.fuse(w, text.expand_as(w))).flatten(1)


class Mappers(Paths):
    """K networks of one kind; a path is straight, and a shift of 1 along it is the edit that was trained."""

    from_start = True

    def __init__(self, networks, norm):
        super().__init__()
        self.mappers = nn.ModuleList(networks)
        self.norm = norm

    @property
    def num_paths(self):
        return len(self.mappers)

    def forward(self, x, indices):
        """Positions x (B, d), path indices (B,) -> edits (B, d)."""
        indices, edits = indices.to(x.device), torch.zeros_like(x)
        for k in indices.unique().tolist():
            rows = indices == k
            edits[rows] = STRENGTH * self.mappers[k](x[rows])
        return edits

    def draw_weights(self, generator):
        """New weights: N(0, 100^2), and biases of 0."""
        for module in self.modules():
            if isinstance(module, Dense):
                module.weight.data = torch.randn(module.weight.shape, generator=generator) / LR_MULTIPLIER
                module.bias.data.zero_()
        return self

    # What the tensors of a state dict do not show.
    def get_extra_state(self):
        return {"norm": self.norm}

    def set_extra_state(self, state):
        if state != {"norm": self.norm}:
            raise RuntimeError(f"these mappers normalise over {self.norm}, and the state dict is of {state}")

    @classmethod
    def from_state(cls, state, space, source, counterfactual=False):
        """From a state dict. counterfactual: whether CF-CLIP's networks are expected.

        Raises UserError, naming `source`, where it does not hold mappers of a space, a `lib.latent_space` one.
        """
        extra = state.get("_extra_state") if isinstance(state, dict) else None
        norm = extra.get("norm") if isinstance(extra, dict) else None
        tensors = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)} if norm else {}
        keys = [key for key in tensors if isinstance(key, str) and key.startswith("mappers.")]
        if norm not in NORMS or not keys:
            raise UserError(f"{source} does not hold mappers")
        if any(".text_mapper." in key for key in keys) != counterfactual:
            one, other = ("cf-clip", "styleclip-mapper")[:: 1 if counterfactual else -1]
            raise UserError(f"{source} has the networks of {other}, not of {one}")
        num_paths = len({key.split(".")[1] for key in keys})
        networks = [_network(tensors, f"mappers.{k}.", space, norm, source) for k in range(num_paths)]
        mappers = cls(networks, norm)
        _check_fit(tensors, mappers.state_dict(), source)
        mappers.load_state_dict(state)
        return mappers


def _network(tensors, prefix, space, norm, source):
    """The network whose tensors begin with a prefix, with weights of its own yet."""
    names = {key.removeprefix(prefix) for key in tensors if key.startswith(prefix)}
    if space.name == "S":
        return StylesMapper(moved_widths(space))
    if space.name != "W+":
        raise UserError(f"{source} has mappers, which work in W+ or S, not {space.name}")
    groups = [group for group in GROUPS if any(f"{group}_mapping." in name for name in names)]
    width = space.generator.w_dim
    if "text" in names:
        text = tensors[f"{prefix}text"].detach().float()
        return CounterfactualMapper(width, norm, groups, space.moved, text.flatten())
    if any(name.startswith("mapping.") for name in names):
        return SingleMapper(width, norm)
    return LevelsMapper(width, norm, groups)


def moved_widths(space):
    """The widths of the style vectors that paths in S move."""
    return list(space.widths.values())[: space.layer + 1]


def _check_fit(tensors, expected, source):
    """Raise UserError where the tensors are not those that are expected, or not finite."""
    expected = {key: value for key, value in expected.items() if isinstance(value, torch.Tensor)}
    for key in sorted(expected.keys() ^ tensors.keys()):
        raise UserError(f"{source} does not hold mappers for this generator: {key} is "
                        f"{'missing' if key in expected else 'unknown'}")
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape:
            raise UserError(f"{source} does not fit this generator: {key} is {tuple(tensor.shape)}, not "
                            f"{tuple(expected[key].shape)}")
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise UserError(f"{source} has {key} that is not finite: its training has diverged")
