"""A state dict in our layout -> its network."""

import math

import torch

from models.errors import UserError
from models.registry import FAMILIES

LARGEST = 4096  # pixels
MOST_NUMBERS = 1 << 28  # of a layer's feature maps, for one image: 1 GiB, eight times what StyleGAN2 has at 1024 px


def build(state, conv_clamp, file):
    """The network with these tensors; its settings follow from their shapes.

    Raises UserError, naming `file`, where they do not fit a network.
    """
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    empty = next((key for key, value in state.items() if not value.numel()), None)
    if empty:
        raise UserError(f"{file} is broken: {empty} is empty")
    network = _network(shapes, file)
    options = {} if conv_clamp is None else {"conv_clamp": _bound(conv_clamp, network, file)}
    try:
        with torch.device("meta"):
            generator = network(*_settings(network, shapes, file), **options)
    except KeyError as error:
        raise UserError(f"{file} is not a {network.__name__}: its key {error} is missing") from None
    except IndexError:
        odd = next(key for key, shape in shapes.items() if key.endswith("weight") and len(shape) < 2)
        raise UserError(f"{file} is not a {network.__name__}: its {odd} has shape {shapes[odd]}") from None
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


def _settings(network, shapes, file):
    *first, channels = network.settings(shapes)
    if 2 << len(channels) > LARGEST:
        raise UserError(f"{file} is not a {network.__name__}: its layers exceed {LARGEST} px")
    if any(width * (4 << i) ** 2 > MOST_NUMBERS for i, width in enumerate(channels)):
        raise UserError(f"{file} is not a {network.__name__}: a layer of it would take more than 1 GiB for one image")
    return *first, channels


def _bound(conv_clamp, network, file):
    """conv_clamp as a number: safetensors files have it as text."""
    try:
        bound = float(conv_clamp)
    except (TypeError, ValueError):
        bound = math.nan
    if not hasattr(network, "conv_clamp") or not 0 < bound < math.inf:
        raise UserError(f"{file} is broken: its conv_clamp is {str(conv_clamp)[:40]!r}")
    return bound


def _check_shapes(found, expected, file):
    """Raise UserError at the first key that is missing, unknown, or of another shape."""
    for key in [*expected, *found]:
        if found.get(key) != expected.get(key):
            raise UserError(
                f"{file} does not fit: {key} has shape {found.get(key, 'none, it is missing')}, "
                f"expected {expected.get(key, 'no such key')}"
            )
