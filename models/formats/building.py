"""A state dict in our layout -> its network."""

import math
import re

import torch

from models.errors import UserError
from models.formats.genforce import check_filled
from models.registry import FAMILIES

LARGEST = 4096  # pixels
MOST_BLOCKS = 100  # more than any published network has
LONGEST_NAME = 200  # characters of the names of a class
MOST_LAYERS = 100  # of a mapping network
MOST_DIMENSIONS = 8192  # of codes: what is computed from all pairs of dimensions takes half a gigabyte
MOST_CHANNELS = 16_384
MOST_ROWS = 100_000  # classes, and rows of tables
MOST_NUMBERS = 1 << 28  # of a layer's feature maps, for one image: 1 GiB, eight times what StyleGAN2 has at 1024 px


def build(state, options, file):
    """The network with these tensors; its settings follow from their shapes.

    options: {name: value} of `genforce.OPTIONS`. Raises UserError, naming `file`, where they do not fit a network.
    """
    check_filled(state, file)
    shapes = {key: tuple(value.shape) for key, value in state.items()}
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
    excess = _excess(first, channels)
    if excess:
        raise UserError(f"{file} is not a {network.__name__}: it has {excess}")
    doubles = not hasattr(network, "upsampling")  # whether each block doubles the resolution
    if doubles and 2 << len(channels) > LARGEST:
        raise UserError(f"{file} is not a {network.__name__}: its layers exceed {LARGEST} px")
    if len(channels) > MOST_BLOCKS:
        raise UserError(f"{file} is not a {network.__name__}: it has {len(channels)} layers")
    if doubles and any(width * (4 << i) ** 2 > MOST_NUMBERS for i, width in enumerate(channels)):
        raise UserError(f"{file} is not a {network.__name__}: a layer of it would take more than 1 GiB for one image")
    return *first, channels


def _excess(first, channels):
    """What exceeds its limit of a network's settings, in words; None where nothing does.

    first: all settings but the last: the dimensions of codes, which may be those of all layers of a mapping network, or
    are followed by those of a class; then numbers of classes and rows.
    """
    widths = first[0] if isinstance(first[0], list) else first[:2]
    if len(widths) - 1 > MOST_LAYERS:
        return f"{len(widths) - 1:,} mapping layers"
    if not all(1 <= width <= MOST_DIMENSIONS for width in widths):
        return f"codes of {max(widths):,} dimensions, where 1 to {MOST_DIMENSIONS:,} are possible"
    if not all(1 <= width <= MOST_CHANNELS for width in channels):
        return f"{max(channels):,} channels, where 1 to {MOST_CHANNELS:,} are possible"
    rows = [number for number in first[2:] if isinstance(number, int)]
    if not all(number <= MOST_ROWS for number in rows):
        return f"{max(rows):,} classes or rows"
    return None


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
