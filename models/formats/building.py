"""A state dict in our layout -> its network."""

import math
import re

import torch

from models.errors import UserError
from models.registry import FAMILIES

LARGEST = 4096  # pixels
MOST_BLOCKS = 100  # more than any published network has
LONGEST_NAME = 200  # characters of the names of a class
MOST_NUMBERS = 1 << 28  # of a layer's feature maps, for one image: 1 GiB, eight times what StyleGAN2 has at 1024 px


def build(state, options, file):
    """The network with these tensors; its settings follow from their shapes.

    options: {name: value} of `genforce.OPTIONS`. Raises UserError, naming `file`, where they do not fit a network.
    """
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    empty = next((key for key, value in state.items() if not value.numel()), None)
    if empty:
        raise UserError(f"{file} is broken: {empty} is empty")
    network = _network(shapes, file)
    settings = settings_of(network, shapes, file)
    options = _checked(options, network, settings, file)
    with torch.device("meta"):
        generator = network(*settings, **options)
    _check_shapes(shapes, {key: tuple(value.shape) for key, value in generator.state_dict().items()}, file)
    broken = next((key for key, value in state.items() if not value.isfinite().all()), None)
    if broken:
        raise UserError(f"{file} is broken: {broken} is not finite")
    generator.load_state_dict(state, assign=True)
    return generator


def _network(shapes, file):
    """The class of the first family that recognises the keys."""
    for family in FAMILIES.values():
        network = family.network()
        if network.recognises(shapes):
            return network
    first = next(iter(shapes), "no tensors")
    raise UserError(f"{file} is not a {' or '.join(FAMILIES)}: it has {first[:60]}")


class _Shapes(dict):
    """Shapes that remember the last key that was looked up."""

    last = None

    def __getitem__(self, key):
        self.last = key
        return super().__getitem__(key)


def settings_of(network, shapes, file):
    """A network's settings, the numbers of feature maps last, from a state dict's shapes {key: shape}.

    Raises UserError, naming `file`, if the shapes are not those of such a network, or exceed all limits.
    """
    shapes = _Shapes(shapes)
    try:
        *first, channels = network.settings(shapes)
    except KeyError as error:
        raise UserError(f"{file} is not a {network.__name__}: its key {error} is missing") from None
    except IndexError:
        odd = shapes.last
        raise UserError(f"{file} is not a {network.__name__}: its {odd} has shape {shapes[odd]}") from None
    except ValueError as error:
        raise UserError(f"{file} is not a {network.__name__}: {error}") from None
    doubles = not hasattr(network, "upsampling")  # whether each block doubles the resolution
    if doubles and 2 << len(channels) > LARGEST:
        raise UserError(f"{file} is not a {network.__name__}: its layers exceed {LARGEST} px")
    if len(channels) > MOST_BLOCKS:
        raise UserError(f"{file} is not a {network.__name__}: it has {len(channels)} layers")
    if doubles and any(width * (4 << i) ** 2 > MOST_NUMBERS for i, width in enumerate(channels)):
        raise UserError(f"{file} is not a {network.__name__}: a layer of it would take more than 1 GiB for one image")
    return *first, channels


def _checked(options, network, settings, file):
    """The options as the network takes them. Raises UserError at the first one that is invalid or missing."""
    checks = {"conv_clamp": _bound, "upsampling": _upsampling, "class_names": _class_names}
    checked = {}
    for name, value in options.items():
        checked[name] = checks[name](value, settings) if hasattr(network, name) else None
        if checked[name] is None:
            raise UserError(f"{file} is broken: its {name} is {str(value)[:40]!r}")
    if hasattr(network, "upsampling") and "upsampling" not in checked:
        raise UserError(f"{file} is broken: it lacks `upsampling`, which says which blocks double the resolution")
    return checked


def _bound(conv_clamp, _):
    """conv_clamp as a number: safetensors has it as text."""
    try:
        bound = float(conv_clamp)
    except (TypeError, ValueError):
        return None
    return bound if 0 < bound < math.inf else None


def _upsampling(flags, settings):
    is_right = isinstance(flags, str) and re.fullmatch("[01]*", flags) and len(flags) == len(settings[-1]) - 1
    return flags if is_right and 4 << flags.count("1") <= LARGEST else None


def _class_names(text, settings):
    """Names are printed, so they must not contain control characters."""
    names, num_classes = text.split("\n") if isinstance(text, str) else [], settings[2]
    is_right = len(names) == num_classes and all(name.isprintable() and len(name) <= LONGEST_NAME for name in names)
    return text if is_right else None


def _check_shapes(found, expected, file):
    """Raise UserError at the first key that is missing, unknown, or of another shape."""
    for key in [*expected, *found]:
        if found.get(key) != expected.get(key):
            raise UserError(
                f"{file} does not fit: {key} has shape {found.get(key, 'none, it is missing')}, "
                f"expected {expected.get(key, 'no such key')}"
            )
