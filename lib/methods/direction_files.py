"""Files of directions, as other projects leave them and as others can read them.

    .npy            (K, d), (K, L, d) or (d,): InterFaceGAN's boundaries are (1, d)
    .npz            an array `directions`; GANSpace's `lat_comp` (K, 1, d); or any array, if it is the only one
    .pt             a tensor, or a dict with one of those; a `eigvec` (d, d), as rosinality's SeFa leaves it
    .safetensors    the same keys as .npz

What this project writes is a .npz of

    directions      (K, d) of Z, W or S, or (K, L, d) of all layers of W+; unit vectors
    lengths         (K,): of a shift of 1, which is 1 but for edits
    names           (K,), or (K, 2) where a path has two sentences, of which positive shifts lead to the first
    space           Z, W, W+ or S
    truncation      of the codes
    gan, gan_sha256 the generator
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lib.latent_space import LAYERED, latent_space
from models.errors import UserError
from models.files import replacing
from models.load_generator import generator_name
from models.untrusted.numpy_files import array_names, load_array, load_named_array
from models.untrusted.safetensors_files import load_safetensors
from models.untrusted.tensor_files import load_tensors

SUFFIXES = (".npy", ".npz", ".pt", ".safetensors")
KEYS = ("directions", "DIRECTIONS", "lat_comp", "eigvec")
LONGEST_NAME = 300  # characters


@dataclass(frozen=True)
class DirectionFile:
    """What a file of directions has. directions (K, d) or (K, L, d); lengths (K,), or None where they are unit vectors
    to walk in the space's own units; labels: one for each. The rest is None where the file does not say it."""

    directions: torch.Tensor
    labels: list
    lengths: torch.Tensor | None = None
    space: str | None = None
    truncation: float | None = None
    gan_sha256: str | None = None


def read_directions(path):
    """The `DirectionFile` at a path. Raises UserError where it is missing, damaged, or holds no directions."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path} is not a file of directions, which end in {', '.join(SUFFIXES)}")
    content = _content(path)
    if "" in content:
        key = ""
    else:
        key = next((key for key in KEYS if key in content), None)
        key = next(iter(content)) if key is None and len(content) == 1 else key
    found = content.get(key)
    if not isinstance(found, torch.Tensor) or found.ndim not in (1, 2, 3) or 0 in found.shape:
        raise UserError(f"{path} holds no directions: it has neither one array (K, d) or (K, L, d) nor one that is "
                        f"called {KEYS[0]}")
    directions = found.T if key == "eigvec" and found.ndim == 2 else found
    directions = directions[None] if directions.ndim == 1 else directions
    directions = directions[:, 0] if directions.ndim == 3 and directions.shape[1] == 1 else directions
    if not directions.isfinite().all() or (directions.flatten(1) == 0).all(dim=1).any():
        raise UserError(f"{path} has directions that are zero, or not finite: write it again")
    labels = [path.stem] if len(directions) == 1 else [f"{path.stem} {k}" for k in range(len(directions))]
    return DirectionFile(directions.float(), labels) if "space" not in content else _of_ours(path, directions, content)


def _content(path):
    """{key: tensor or text}, with the key "" where the file is one tensor."""
    if path.suffix == ".npy":
        return {"": load_array(path)}
    if path.suffix == ".npz":
        names = array_names(path)
        wanted = names if "space" in names or len(names) == 1 else [name for name in KEYS if name in names]
        return {name: load_named_array(path, name) for name in wanted}
    content = load_tensors(path) if path.suffix == ".pt" else load_safetensors(path)[0]
    if isinstance(content, torch.Tensor):
        return {"": content}
    content = content if isinstance(content, dict) else {}
    return {key: one for key, one in content.items() if isinstance(one, torch.Tensor)}


def _of_ours(path, directions, content):
    """The `DirectionFile` of a file that this project wrote. Raises UserError where it was edited."""
    names, space, sha256 = (content.get(key) for key in ("names", "space", "gan_sha256"))
    lengths, truncation = (content.get(key) for key in ("lengths", "truncation"))
    is_whole = (
        isinstance(names, list) and len(names) == len(directions) and all(map(_is_label, names))
        and space in ("Z", "W", "W+", "S") and isinstance(sha256, str)
        and isinstance(lengths, torch.Tensor) and lengths.shape == (len(directions),) and bool((lengths > 0).all())
        and isinstance(truncation, torch.Tensor) and truncation.numel() == 1 and 0 < truncation.item() <= 1
    )  # fmt: skip
    if not is_whole:
        raise UserError(f"{path} is not as --export-directions writes it: it was damaged or edited")
    labels = [name if isinstance(name, str) else tuple(name) for name in names]
    truncation = round(truncation.item(), 6)  # as it was before it was a float32
    return DirectionFile(directions.float(), labels, lengths, space, truncation, sha256)


def _is_label(name):
    parts = [name] if isinstance(name, str) else name
    return len(parts) in (1, 2) and all(isinstance(one, str) and one.isprintable() and 0 < len(one) <= LONGEST_NAME
                                        for one in parts)  # fmt: skip


def paths_of(found):
    """The `lib.paths.paths.Paths` of a `DirectionFile`, once the space is known to fit."""
    from lib.paths.edits import Edits
    from lib.paths.lines import Lines

    flat = found.directions.flatten(1)
    if found.lengths is None or (found.lengths == 1).all():
        return Lines(flat)
    return Edits(flat * found.lengths[:, None])


def space_of(found, source, generator, named=None, truncation=None):
    """The space that the directions of a `DirectionFile` run in. named, truncation: where the user gave them.

    Raises UserError, naming `source`, where the file says another space, where it says none and there are several, and
    where the generator's has another dimension.
    """
    spaces, directions = generator.family.spaces, found.directions
    stated = found.space or ("W+" if directions.ndim == 3 else spaces[0] if len(spaces) == 1 else None)
    if named is not None and stated not in (None, named):
        raise UserError(f"{source} has directions in {stated}, not {named}: leave out --stylegan-space")
    if named is None and stated is None:
        raise UserError(f"{source} does not say in which space its directions are: give --stylegan-space, "
                        f"{' or '.join(spaces)}")
    name, psi = named or stated, (found.truncation or 1.0) if truncation is None else truncation
    width = directions[0].numel()
    space = latent_space(generator, name, 0 if name in LAYERED else None, psi)
    if name in LAYERED:
        layers = range(generator.num_layers - (0 if name == "W+" else 1))
        tried = (latent_space(generator, name, layer, psi) for layer in layers)
        space = next((one for one in tried if one.dim == width), space)
    if space.dim != width:
        raise UserError(f"{source} has directions of shape {tuple(directions.shape)}, and {name} of this generator is "
                        f"{_widths(name, generator)}: they are of another generator or space")
    return space


def _widths(name, generator):
    """In a message: how wide directions of a space are."""
    if name == "S":
        convolutions, _ = generator.synthesis.style_widths()
        return f"layers {', '.join(map(str, convolutions.values()))} wide"
    return f"{generator.num_layers} layers {generator.w_dim} wide" if name == "W+" else (
        f"{generator.w_dim if name == 'W' else generator.z_dim} wide")


def write_directions(path, trained):
    """Write the straight paths of a `lib.trained.Trained` to a .npz file.

    Raises UserError where they are not straight, or the file's name ends in something else.
    """
    if Path(path).suffix != ".npz":
        raise UserError(f"--export-directions {path}: the name must end in .npz")
    offsets, space, settings = trained.paths.straight(), trained.space, trained.settings
    if offsets is None:
        raise UserError(f"the paths of {trained.directory} are not straight, or not the same for all codes: they are "
                        "no directions to export")
    name, offsets = _as_stored(space, offsets.cpu())
    lengths = offsets.flatten(1).norm(dim=1)
    directions = offsets / lengths.view(-1, *[1] * (offsets.ndim - 1))
    lengths[(lengths - 1).abs() < 1e-5] = 1
    content = {
        "directions": directions.numpy(), "lengths": lengths.numpy(), "names": np.array(trained.labels),
        "space": np.array(name), "truncation": np.array(space.truncation, dtype=np.float32),
        "gan": np.array(generator_name(settings.gan)), "gan_sha256": np.array(settings.gan_sha256),
    }  # fmt: skip
    with replacing(path) as file:
        np.savez(file, **content)


def _as_stored(space, offsets):
    """(name of the space, offsets (K, d) or (K, num_layers, d)): those of W+ and of single layers with all layers."""
    fed = getattr(space, "fed", None)
    if space.name != "W+" and fed is None:
        return space.name, offsets
    layers, width = space.generator.num_layers, space.generator.w_dim
    stored = torch.zeros(len(offsets), layers, width)
    if fed is None:
        stored[:, : space.layer + 1] = offsets.unflatten(1, (-1, width))
    else:
        stored[:, fed] = offsets[:, None]
    return "W+", stored
