"""Pools of latent codes on disk: written by sample_gan.py, read by traverse_latent_space.py.

    experiments/latent_codes/<gan>/<gan>-<n>/
        args.json
        sheet.jpg                                           the images of the first codes, side by side
        <sha1 of the code>/
            latent_code_z.pt                            (1, z_dim), truncated where that scales z; of a BigGAN, with the
                                                        class: (1, z_dim + embed_dim)
            latent_code_w.pt, latent_code_w+.pt         (1, w_dim), (1, num_layers, w_dim): where it has W, truncated
            image_z.jpg or image_w.jpg

Pools of codes that come from elsewhere have only latent_code_w+.pt and image_w.jpg. What those of inverted pictures
have, `lib.inversion.pools` says.
"""

import fcntl
import os
import sys
from contextlib import contextmanager, suppress
from hashlib import sha1
from pathlib import Path

import torch

from lib.config import LATENT_CODES
from lib.files import check_generator, read_json, save_tensors, write_json
from lib.settings import GeneratorSettings, read_object
from models import directories
from models.errors import UserError, quoted
from models.untrusted.tensor_files import load_tensors

MOST_BYTES = 1 << 29  # of a pool's W+ codes: 14,000 of StyleGAN2's at 1024 px


def code_hash(code):
    """The name of a code (1, ...): SHA-1 of its float32 bytes."""
    return sha1(code.numpy().tobytes()).hexdigest()


def read_w_plus(file, generator):
    """W+ codes from a file, a tensor (n, num_layers, w_dim) or (n, w_dim) -> (n, num_layers, w_dim).

    Raises UserError if it has another shape or is not finite.
    """
    codes = load_tensors(file)
    layers, width = generator.num_layers, generator.w_dim
    expected = f"one tensor (n, {layers}, {width}) or (n, {width})"
    if not isinstance(codes, torch.Tensor):
        raise UserError(f"{file} holds a {type(codes).__name__}, expected {expected}")
    if 0 in codes.shape or codes.shape[1:] not in ((layers, width), (width,)):
        raise UserError(f"{file} has shape {tuple(codes.shape)}, expected {expected}: it is another generator's")
    if not codes.is_floating_point() or not codes.isfinite().all():
        raise UserError(f"{file} has codes that are not finite floating-point numbers: write it again")
    if 4 * len(codes) * layers * width > MOST_BYTES:
        raise UserError(f"{file} has {len(codes):,} codes, too many for one pool: give them in several files")
    codes = codes.float()
    return codes if codes.ndim == 3 else codes[:, None].repeat(1, layers, 1)


def read_conditional(file, space):
    """Codes of a conditional generator from a tensor (n, z_dim + embed_dim) or (n, z_dim) in a file -> (n, z_dim +
    embed_dim). Codes without a class get that of the space, which must have one class.

    Raises UserError if the tensor has another shape or is not finite.
    """
    codes, width, z_dim = load_tensors(file), space.stored_dim, space.generator.z_dim
    if not isinstance(codes, torch.Tensor) or codes.ndim != 2 or not len(codes) or codes.shape[1] not in (width, z_dim):
        found = tuple(codes.shape) if isinstance(codes, torch.Tensor) else f"no shape, it is a {type(codes).__name__}"
        raise UserError(f"{file} has {found}, expected one tensor (n, {width}) or (n, {z_dim})")
    if not codes.is_floating_point() or not codes.isfinite().all():
        raise UserError(f"{file} has codes that are not finite floats")
    codes = codes.float()
    if codes.shape[1] == width:
        return codes
    if len(space.classes) != 1:
        raise UserError(f"{file} has z without a class: give one with --biggan-target-classes")
    classes = torch.tensor(space.classes * len(codes), device=space.device)
    return space.generator.codes(codes.to(space.device), classes).cpu()


@contextmanager
def claimed(directory, settings):
    """A pool's directory, made where it is missing, with all other processes kept out of it. settings: `PoolSettings`,
    or those of another kind of pool.

    Where another process is making a pool with the same settings, waits until it has finished. Raises UserError if the
    pool has codes of other settings, and if there is a symbolic link in the place of a directory.
    """
    directories.hold(LATENT_CODES, make=True)
    lock = None
    try:
        directories.hold(directory, make=True)
        _check_settings(directory, settings)
        lock = _lock(directory)
        for stale in directory.glob(".*.partial"):  # files and codes that a process left which was killed
            directories.remove(stale)
        if not _check_settings(directory, settings):
            write_json(settings.to_json(), directory / "args.json")
        yield
    finally:
        directories.release(directory)
        with suppress(OSError):  # unless it is empty, as nothing has been begun
            directory.rmdir()
        directories.release(LATENT_CODES)
        if lock is not None:
            os.close(lock)


def _lock(directory):
    """A descriptor of the directory, which holds its lock until it is closed."""
    lock = directories.open_directory(directory)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"another process is making {directory}: waiting for it", file=sys.stderr, flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _check_settings(directory, settings):
    """Whether a pool was begun there. Raises UserError if it has codes of other settings."""
    file = directory / "args.json"
    if not file.is_file():
        return False
    before = type(settings).read(read_object(file), file)
    differing = before.differences(settings, ignored=check_generator(before, settings, directory))
    if differing:
        raise UserError(f"{directory} was made with other arguments ({differing}): repeat them, or give another --name")
    return True


@torch.no_grad()
def codes_of_z(space, z):
    """Everything that a pool stores of one random z (1, z_dim): {file name: tensor}, of which the last one is the code.

    space: W or W+, or Z if the generator has neither.
    """
    codes = space.codes_of(z.to(space.device)).cpu()
    if space.name == "Z":
        return {"latent_code_z.pt": codes}
    return {"latent_code_z.pt": z, "latent_code_w.pt": codes[:, 0].clone(), "latent_code_w+.pt": codes.clone()}


def write_codes(directory, batch, image_name, synthesise, save_image, beside=None):
    """Write codes and their images, each whole or not at all. Codes that are there already are left alone.

    batch: {file name: tensor (1, ...)} for each code; the first tensor names the directory, the last one is what the
    generator takes. synthesise: codes (B, ...) -> frames (B, H, W, 3) uint8. save_image: writes a frame (H, W, 3) to a
    file. beside: for each code, a function that writes more files into the directory that it is given. If one code is
    missing, the whole batch is synthesised, so that a pool that was interrupted ends with the same images as one that
    was not.
    """
    targets = [directory / code_hash(next(iter(codes.values()))) for codes in batch]
    if all(target.is_dir() for target in targets):
        return
    frames = synthesise(torch.cat([list(codes.values())[-1] for codes in batch]))
    for target, codes, frame, write in zip(targets, batch, frames, beside or [None] * len(batch)):
        if target.is_dir():
            continue
        partial = directory / f".{target.name}.partial"
        directories.remove(partial)
        try:
            for name, code in codes.items():
                save_tensors(code, partial / name)
            save_image(frame, partial / image_name)
            if write:
                write(partial)
            directories.rename(partial, target)
        finally:
            directories.remove(partial)


def find_pool(name_or_directory, gan, gan_sha256):
    """The directory of a pool, by its name below experiments/latent_codes/<gan>/ or its path.

    Raises UserError if there is none, or if it was made with another generator file.
    """
    named = LATENT_CODES / gan / name_or_directory
    for directory in (named, Path(name_or_directory)):
        if directory.is_dir():
            check_generator(_made_with(directory), GeneratorSettings(gan=gan, gan_sha256=gan_sha256), directory)
            return directory
    others = [found.parent.name for found in LATENT_CODES.glob("*/*") if found.name == str(name_or_directory)]
    if others:
        raise UserError(f"the pool {quoted(name_or_directory)} is of {quoted(others[0])}, and these paths are of "
                        f"{gan}: make one with sample_gan.py --gan={gan}")
    raise UserError(f"there is no pool {quoted(name_or_directory)}: {named} is not a directory, make it with "
                    f"sample_gan.py --gan={gan}")


def truncation_of(directory):
    """The truncation that a pool's args.json names; None if it names none."""
    file = directory / "args.json"
    content = read_json(file) if file.is_file() else None
    stated = content.get("truncation") if isinstance(content, dict) else None
    return stated if type(stated) in (int, float) else None


def _made_with(directory):
    """What a pool's args.json says of its generator; nothing if there is no such file or another program wrote it."""
    file = directory / "args.json"
    content = read_json(file) if file.is_file() else None
    stated = content.get("gan_sha256") if isinstance(content, dict) else None
    return GeneratorSettings(gan="", gan_sha256=stated if isinstance(stated, str) else None)


def code_directories(pool):
    """The directories of the pool's codes, sorted by name. Raises UserError if there are none."""
    found = sorted(path for path in pool.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not any(any(path.glob("latent_code_*.pt")) for path in found):
        raise UserError(f"{pool} is not a pool, as it has no latent codes: make one with sample_gan.py")
    return found


def read_code(directory, space, w_space=False):
    """The code of one directory as the space takes it: (1, z_dim), (1, num_layers, w_dim), or (1, styles).

    By default that of latent_code_z.pt, with the space's truncation unless that scales z; with `w_space`, that of
    latent_code_w+.pt as it is, for pools without z. Raises UserError if the file is missing or has another shape.
    """
    generator = space.generator
    if w_space:
        file, shape = directory / "latent_code_w+.pt", (1, generator.num_layers, generator.w_dim)
    else:
        file, shape = directory / "latent_code_z.pt", (1, space.stored_dim)
        if not file.is_file() and (directory / "latent_code_w+.pt").is_file():
            advice = "use an experiment in W, W+ or S" if space.name == "Z" else "add --w-space"
            raise UserError(f"{directory} has no latent_code_z.pt, since its pool has W+ codes only: {advice}")
    code = load_tensors(file)
    if not isinstance(code, torch.Tensor) or tuple(code.shape) != shape:
        found = tuple(code.shape) if isinstance(code, torch.Tensor) else type(code).__name__
        raise UserError(f"{file} has shape {found}, expected {shape}: it is another generator's")
    if not code.isfinite().all():
        raise UserError(f"{file} is not finite: make the pool again")
    code = code.float().to(space.device)
    return space.codes_of_w_plus(code) if w_space else space.codes_of_stored(code)
