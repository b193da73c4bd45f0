"""The population of drawn portraits that the embedded BigGAN learns: a class and a latent code decide a portrait.

The class is the background's colour, and whether there are glasses; z decides the rest. Each layer of a BigGAN, from 4
pixels on, sees a part of z of its own, so z's parts decide from coarse to fine: the shape of head and hair, the
features of the face, its details, then colours. Within a part each factor reads z along its own direction, a row of a
random orthonormal matrix, through the normal distribution's cumulative function.
"""

import torch

from lib.files import save_tensors
from lib.judges.portrait_factors import FACTORS
from scripts.portraits import world

PARTS = (
    ("head_turn", "head_tilt", "face_width", "hair_amount", "hair_length", "femininity", "eye_size", "nose_size"),
    ("age", "smile", "mouth_open", "eye_open", "brow_angle", "brow_height", "beard", "nose_wrinkle"),
    ("makeup", "tears"),
    ("skin_tone", "hair_color", "eye_color", "shirt_hue", "background_lightness"),
    (),
)
PART = 8  # numbers of z
Z_DIM = PART * len(PARTS)
BACKGROUNDS = {"red": 0.0, "yellow": 0.19, "green": 0.42, "blue": 0.77}  # the factor background_hue
CLASSES = [{"background_hue": hue, "glasses": glasses} for glasses in (0.0, 1.0) for hue in BACKGROUNDS.values()]
NAMES = [f"{lenses} on {colour}" for lenses in ("no glasses", "glasses") for colour in BACKGROUNDS]


def directions():
    """The factors that z decides, and unit vectors that read them off it: (names, (names, Z_DIM))."""
    generator, rows = torch.Generator().manual_seed(2019), []
    for i, part in enumerate(PARTS):
        basis = torch.linalg.qr(torch.randn(PART, PART, generator=generator)).Q
        rows += [torch.nn.functional.pad(row, (i * PART, Z_DIM - (i + 1) * PART)) for row in basis[: len(part)]]
    return [name for part in PARTS for name in part], torch.stack(rows)


def factors_of(z, classes):
    """z (B, Z_DIM) and indices of classes (B,) -> factors (B, 25) in [0, 1]."""
    names, rows = directions()
    uniform = torch.special.ndtr(z @ rows.T)
    fixed = torch.tensor([list(facts.values()) for facts in CLASSES])
    values = dict(zip(names, uniform.T)) | dict(zip(CLASSES[0], fixed[classes].T))
    factors = torch.stack([values[name] for name in FACTORS], dim=1)
    decided = [FACTORS.index(name) for name in CLASSES[0]]
    shaped = world.shaped(factors)
    shaped[:, decided] = factors[:, decided]
    return shaped


def draw_codes(count, seed):
    """`count` random latent codes: z (count, Z_DIM) and classes (count,)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, Z_DIM, generator=generator), torch.randint(len(CLASSES), (count,), generator=generator)


def draw_pairs(count, seed):
    """`count` triples: z (count, Z_DIM), the class (count,) and the portrait (count, 3, 64, 64) uint8."""
    z, classes = draw_codes(count, seed)
    return z, classes, world.render_uint8(factors_of(z, classes))


def load_pairs(work, count):
    """The training data, drawn once and kept in `work`."""
    cache = work / f"class_pairs_{count}.pt"
    if not cache.exists():
        save_tensors(draw_pairs(count, seed=1), cache)
    return torch.load(cache, weights_only=True, mmap=True)
