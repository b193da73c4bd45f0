"""A name or a file -> a frozen generator."""

from pathlib import Path

import torch

from models.errors import UserError
from models.pggan import ProgGAN
from models.registry import GENERATORS
from models.stylegan2 import StyleGAN2
from models.tensor_files import load_tensors

CHECKPOINT_KEYS = ("generator_smooth", "generator")  # in genforce files; the first is the average of the second


def load_generator(name_or_file, device="cpu"):
    """Load a generator in float32, frozen, in evaluation mode.

    `name_or_file` is a name of `registry.GENERATORS` or a genforce checkpoint. Raises UserError where there is no such
    thing, where the file is of another kind, and where its tensors do not fit a network, naming the first that differs.
    """
    weights = GENERATORS.get(str(name_or_file))
    file = weights.file if weights else Path(name_or_file)
    if not file.is_file():
        raise UserError(_missing(name_or_file, weights))
    state = _state_dict(file)
    generator = _build(state, file)
    if weights and (type(generator).__name__, generator.resolution) != (weights.kind, weights.resolution):
        raise UserError(
            f"{file} holds a {type(generator).__name__} of {generator.resolution} px, and {name_or_file} is a "
            f"{weights.kind} of {weights.resolution} px: put the right file there"
        )
    return generator.float().requires_grad_(False).eval().to(device)


def generator_name(name_or_file):
    """The name that experiments and pools of this generator carry: a file's stem."""
    return str(name_or_file) if str(name_or_file) in GENERATORS else Path(name_or_file).stem


def _missing(name_or_file, weights):
    if weights is None:
        return (
            f"{name_or_file!r} is neither a file nor a generator; the generators are {', '.join(GENERATORS)}"
        )
    fetch = f"run `{weights.fetched_by}`" if weights.fetched_by else "restore it with `git checkout models/pretrained`"
    return f"the weights of {name_or_file} are not in {weights.file}: {fetch}"


def _state_dict(file):
    """The tensors of a genforce checkpoint, by key."""
    content = load_tensors(file)
    found = [content[key] for key in CHECKPOINT_KEYS if isinstance(content, dict) and key in content]
    if not found or not _is_state_dict(found[0]):
        keys = " or ".join(CHECKPOINT_KEYS)
        raise UserError(f"{file} is no genforce generator: it has no float tensors under {keys}")
    return found[0]


def _is_state_dict(state):
    return isinstance(state, dict) and all(
        isinstance(key, str) and isinstance(value, torch.Tensor) and value.is_floating_point()
        for key, value in state.items()
    )


def _build(state, file):
    """The network whose settings are read off the state dict's shapes, with its tensors."""
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    network = StyleGAN2 if any(key.startswith("synthesis.") for key in shapes) else ProgGAN
    try:
        with torch.device("meta"):
            generator = network(*network.settings(shapes))
    except KeyError as error:
        raise UserError(f"{file} is no {network.__name__}: its key {error} is missing") from None
    except IndexError:
        odd = next(key for key, shape in shapes.items() if key.endswith("weight") and len(shape) < 2)
        raise UserError(f"{file} is no {network.__name__}: its {odd} has shape {shapes[odd]}") from None
    _check_shapes(shapes, {key: tuple(value.shape) for key, value in generator.state_dict().items()}, file)
    broken = next((key for key, value in state.items() if not value.isfinite().all()), None)
    if broken:
        raise UserError(f"{file} is broken: {broken} is not finite")
    generator.load_state_dict(state, assign=True)
    return generator


def _check_shapes(found, expected, file):
    """Raise UserError at the first key that is missing, unknown, or of another shape."""
    for key in [*expected, *found]:
        if found.get(key) != expected.get(key):
            raise UserError(
                f"{file} does not fit: {key} has shape {found.get(key, 'none, it is missing')}, "
                f"expected {expected.get(key, 'no such key')}"
            )
