"""Making pools: latent codes, drawn or from a file, and their images."""

from contextlib import nullcontext

import torch
from tqdm import tqdm

from lib import distributed, pools
from lib.config import LATENT_CODES
from lib.latent_space import latent_space
from lib.settings import PoolSettings
from lib.walking.pictures import save_jpeg, save_sheet
from lib.walking.synthesis import Synthesiser, default_batch_size
from models.class_names import suffix_of
from models.errors import UserError
from models.files import sha256
from models.load_generator import generator_file, generator_name

ATTEMPTS = 20  # times the number of codes that are wanted: more are not looked at to find those that a judge accepts

SHEET, SHOWN = "sheet.jpg", 64  # the first codes' images in one picture


def space_of_pool(generator, stylegan_space, truncation, classes):
    """The space of the codes that a pool stores: W or W+, or Z if there is neither. Raises UserError for what is not
    there."""
    space = latent_space(generator, stylegan_space, None, truncation, classes)
    name = next((name for name in ("W", "W+") if name in generator.family.spaces), None)
    return latent_space(generator, name, None, truncation) if name else space


def drawn(space, number, seed, judge=None):
    """That many random codes, as `pools.write_codes` takes them. judge: a `Judge`, whose `accepts` leaves codes out.

    Raises UserError where the judge cannot tell or accepts too few.
    """
    noise, found = torch.Generator().manual_seed(seed), []
    for _ in range(ATTEMPTS):
        z = torch.randn(number, space.generator.z_dim, generator=noise)
        codes = [pools.codes_of_z(space, one) for one in z.split(1)]
        if judge is None:
            return codes
        found += [code for code, good in zip(codes, _accepted(space, codes, judge)) if good]
        if len(found) >= number:
            return found[:number]
    raise UserError(f"the judge accepts only {len(found)} of {ATTEMPTS * number} images: leave out --accepted-by")


def _accepted(space, codes, judge):
    """Whether the judge accepts the image of each code: (N,) of bool."""
    at_once = default_batch_size(space.generator)
    synthesiser = Synthesiser(lambda batch: space.synthesise(batch.to(space.device)), at_once)
    stored = torch.cat([next(reversed(code.values())) for code in codes])
    answers = synthesiser.batches(stored, lambda images: judge.accepts(images.clamp(-1, 1)))
    if answers[0] is None:
        raise UserError("this judge cannot tell which images to accept: name another one with --accepted-by")
    return torch.cat(answers)


def from_file(file, space, gan):
    """The codes of a tensor in a file, as `pools.write_codes` takes them, and their SHA-1. gan: what the user calls the
    generator. Raises UserError where they do not suit it."""
    family = space.generator.family
    if not {"W", "W+"}.isdisjoint(family.spaces):
        stored, codes = "latent_code_w+.pt", pools.read_w_plus(file, space.generator)
    elif family.conditional:
        stored, codes = "latent_code_z.pt", pools.read_conditional(file, space)
    else:
        raise UserError(f"--from-codes takes codes of W or W+, and {gan} is a {family.name}, which has neither: give a "
                        "StyleGAN2")
    return [{stored: code.clone()} for code in codes.split(1)], pools.code_hash(codes)


def pool_directory(gan, classes, name):
    """experiments/latent_codes/<gan>/<gan>[-classes]-<name>. classes: indices, or None for all."""
    gan = generator_name(gan)
    return LATENT_CODES / gan / f"{gan}{suffix_of(classes)}-{name}"


def make_pool(directory, codes, space, settings, batch_size=None):
    """Write codes and their images, together with the other processes. Codes that are there already are not made again.

    codes: as `drawn` returns them. settings: `PoolSettings` without the hash of the generator. batch_size: images at a
    time; by default what fits. Raises UserError if the directory holds codes of other settings.
    """
    values = vars(settings) | {"gan_sha256": sha256(generator_file(settings.gan))}
    image_name = f"image_{settings.stylegan_space.lower()}.jpg"
    batch_size = batch_size or default_batch_size(space.generator)
    synthesise = Synthesiser(lambda batch: space.synthesise(batch.to(space.device)), batch_size)
    own, silent = distributed.share(codes), not distributed.is_first()
    with (
        nullcontext() if silent else pools.claimed(directory, PoolSettings.of(values)),
        tqdm(total=len(own), desc="sampling", unit="code", dynamic_ncols=True, disable=silent) as progress,
    ):
        distributed.wait()
        for first in range(0, len(own), batch_size):
            batch = own[first : first + batch_size]
            pools.write_codes(directory, batch, image_name, synthesise, save_jpeg)
            progress.update(len(batch))
        distributed.wait()
    if not silent:
        names = [pools.code_hash(next(iter(code.values()))) for code in codes[:SHOWN]]
        save_sheet([directory / name / image_name for name in names], directory / SHEET)


def sample_like(settings, generator, number):
    """A pool of random codes with the truncation and the classes of an experiment's settings; its directory."""
    classes, truncation = settings.biggan_target_classes, settings.truncation
    space = space_of_pool(generator, "Z", truncation, classes)
    truncated = "" if truncation == 1 else f"truncation{truncation:g}-"
    directory = pool_directory(settings.gan, classes, f"{truncated}{number}")
    values = {"gan": settings.gan, "truncation": truncation, "biggan_target_classes": classes, "num_samples": number}
    make_pool(directory, drawn(space, number, seed=0), space, PoolSettings.of(values))
    return directory
