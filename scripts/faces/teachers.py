"""The numbers that teach the CLIP: attributes of sampled faces, as published networks and pixels give them.

    smile               face-api's expression network: happy against neutral
    mouth, right, up, eyes
                        geometry of facemesh's points
    woman               face-api's network of age and gender
    light, light_right, blue_background, bright_background
                        pixels of the person and of the background, which the selfie network separates
    glasses, hat, beard, long_hair
                        logistic probes on faceres' descriptor and the pixels of a region, fitted to half of the labels

The judge of these faces reads other networks, or other features with the other half of the labels, for each attribute
(docs/faces.md); nothing here uses it.
"""

from pathlib import Path

import numpy as np
import torch
from scipy.special import logit
from scipy.stats import norm, rankdata
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict

from models.errors import UserError
from models.face_networks import EXPRESSIONS
from models.load_generator import load_generator
from scripts.faces.captions import INDEX, MIRRORED, NAMES
from scripts.faces.labels import halves
from scripts.faces.score import look_at

# The shares of the images that are clearly on the positive and on the negative side of an attribute.
SHARES = {"smile": (0.3, 0.4), "glasses": (0.14, 0.6), "hat": (0.13, 0.6), "beard": (0.15, 0.5),
          "long_hair": (0.18, 0.5), "woman": (0.2, 0.5), "eyes": (0.35, 0.2)}  # fmt: skip
USUAL_SHARES = (0.35, 0.35)
RARE, SOFTNESS = ("glasses", "hat", "beard", "long_hair", "woman"), 1.25
LABELS = {"glasses": "glasses", "hat": "hat", "beard": "facial_hair", "long_hair": "long_hair"}
REGIONS = {"glasses": (slice(20, 36), slice(10, 54)), "hat": (slice(0, 24), slice(8, 56)),
           "beard": (slice(38, 60), slice(14, 50)), "long_hair": (slice(4, 64), slice(0, 64))}  # fmt: skip
PROBED = 96, 24  # principal components of descriptors and of a region's pixels that probes see
SURROUNDINGS = 40, 16  # principal components of the pixels and of the points
# Points of facemesh that are each other's mirror image, and those in the middle; none of the mouth.
PAIRS = np.array([
    (33, 263), (133, 362), (159, 386), (145, 374), (70, 300), (105, 334), (107, 336), (129, 358), (98, 327), (205, 425),
    (50, 280), (21, 251), (54, 284), (103, 332), (67, 297), (109, 338), (127, 356), (234, 454), (93, 323), (132, 361),
    (58, 288), (172, 397), (136, 365), (150, 379)])  # fmt: skip
MIDDLE = np.array([10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1, 2, 18, 200, 199, 175, 152])
GREY = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]


def load_scores(work, names=None):
    """What scripts.faces.score wrote: {name: array (N, ..)}; of some arrays only, where `names` are given."""
    files = sorted((Path(work) / "scores").glob("*.npz"))
    if not files:
        raise UserError(f"{work}/scores has no files: run python -m scripts.faces.score first")
    parts = [np.load(file) for file in files]
    return {name: np.concatenate([part[name] for part in parts]) for name in names or parts[0].files}


def in_parts(*arrays, size=4000):
    """Parts of arrays of N rows, which take a few GB as numbers of pixels if taken at once."""
    return [tuple(array[start : start + size] for array in arrays) for start in range(0, len(arrays[0]), size)]


def geometry(mesh):
    """Points (N, 1404) of facemesh -> mouth opening, turning to the image's right, raising of the head, eye opening."""
    points = mesh.astype(np.float32).reshape(-1, 468, 3)

    def between(first, second):
        return np.linalg.norm(points[:, first, :2] - points[:, second, :2], axis=1)

    eyes = between(33, 263)
    mouth = between(13, 14) / eyes
    sides = points[:, [234, 454]]
    right = (points[:, 1, 0] - sides[:, :, 0].mean(axis=1)) / (sides[:, 1, 0] - sides[:, 0, 0])
    forehead, chin = points[:, 10], points[:, 152]
    up = np.arctan2(forehead[:, 2] - chin[:, 2], chin[:, 1] - forehead[:, 1])
    opening = (between(159, 145) / between(33, 133) + between(386, 374) / between(362, 263)) / 2
    return {"mouth": mouth, "right": right, "up": up, "eyes": opening}


def lighting(images, mask):
    """Images (N, 3, 64, 64) uint8 and masks of the person (N, 64, 64) uint8 -> statistics of light and background.

    The face is the part of the person in the middle of the image, and what is hardly the person is the background.
    """
    pixels = images.astype(np.float32) / 255
    grey = (pixels * GREY).sum(axis=1)
    rows, columns = np.mgrid[:64, :64]
    middle = ((rows - 34) / 20) ** 2 + ((columns - 31.5) / 16) ** 2 <= 1
    face = (mask > 128) * middle + 1e-6
    background = (mask < 40) + 1e-6

    def mean(values, where):
        return (values * where).sum(axis=(1, 2)) / where.sum(axis=(1, 2))

    light = mean(grey, face)
    blue = pixels[:, 2] - (pixels[:, 0] + pixels[:, 1]) / 2
    return {"light": light, "blue_background": mean(blue, background), "bright_background": mean(grey, background),
            "light_right": (mean(grey, face * (columns > 31)) - mean(grey, face * (columns <= 31))) / (light + 0.05)}


def region(images, name):
    """Images (N, 3, 64, 64) uint8 -> a region's grey pixels, standardised within an image: (N, pixels)."""
    grey = (images[(slice(None), slice(None), *REGIONS[name])] * GREY).sum(axis=1)
    grey = grey[:, ::2, ::2].reshape(len(images), -1)
    return (grey - grey.mean(axis=1, keepdims=True)) / (grey.std(axis=1, keepdims=True) + 1)


def labelled():
    """What the networks say of the labelled images of the teachers' half and of their mirror images, and the labels of
    both, one after the other: of `attributes`."""
    z, answers = halves()[0]
    generator = load_generator("dcgan_faces64")
    looks = [look_at(generator, torch.from_numpy(z), mirrored) for mirrored in (False, True)]
    both = {name: np.concatenate([look[name] for look in looks]) for name in ("descriptor", "images")}
    return both, {name: np.tile(label, 2) for name, label in answers.items()}


class Probe:
    """A logistic regression of a hand label on what describes an image.

    descriptors and pixels: of unlabelled images, for the principal components. labelled: the same two of the labelled
    ones and of their mirror images, answers (2 N,) 1, 0, or -1 where the eye was unsure. `auc` is cross-validated.
    """

    def __init__(self, descriptors, pixels, labelled, answers):
        self.parts = [PCA(size, whiten=True, random_state=0).fit(part)
                      for size, part in zip(PROBED, (descriptors, pixels))]  # fmt: skip
        sure, images = answers >= 0, np.tile(np.arange(len(answers) // 2), 2)
        seen, answers, images = self.features(*(part[sure] for part in labelled)), answers[sure], images[sure]
        models = [LogisticRegression(C=c, max_iter=2000) for c in (1e-3, 3e-3, 0.01, 0.03, 0.1)]
        folds = {"groups": images, "cv": GroupKFold(10), "method": "decision_function"}
        held_out = [cross_val_predict(model, seen, answers, **folds) for model in models]
        self.auc, best = max((area_under_curve(found, answers), i) for i, found in enumerate(held_out))
        self.model = models[best].fit(seen, answers)

    def features(self, descriptors, pixels):
        return np.concatenate([part.transform(x) for part, x in zip(self.parts, (descriptors, pixels))], axis=1)

    def __call__(self, descriptors, pixels):
        """The logit of each image (N,)."""
        return self.model.decision_function(self.features(descriptors, pixels))


def area_under_curve(scores, answers):
    """The probability that a positive one has a higher score than a negative one."""
    ranks, positive = rankdata(scores), answers == 1
    count = positive.sum()
    return (ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(answers) - count))


def attributes(scores, labelled, answers):
    """Numbers of all attributes (N, len(NAMES)), each with a normal distribution, and the probes' cross-validated AUC.

    scores: of `load_scores`; labelled: the same of the labelled images; answers: {label: (N,)}.
    """
    expression = dict(zip(EXPRESSIONS, np.clip(scores["probabilities"].astype(np.float32), 1e-4, 1).T))
    found = {"smile": np.log(expression["happy"] / expression["neutral"])}
    lit = [lighting(*part) for part in in_parts(scores["images"], scores["mask"])]
    found |= geometry(scores["mesh"]) | {name: np.concatenate([one[name] for one in lit]) for name in lit[0]}
    found["woman"] = logit(np.clip(scores["gender"][:, 1].astype(np.float32), 1e-3, 1 - 1e-3))
    areas = {}
    for name, label in LABELS.items():
        seen = [(one["descriptor"].astype(np.float32),
                 np.concatenate([region(part, name) for (part,) in in_parts(one["images"])]))
                for one in (scores, labelled)]  # fmt: skip
        probe = Probe(*(part[:6000] for part in seen[0]), seen[1], answers[label])
        found[name], areas[name] = probe(*seen[0]), probe.auc
    return np.stack([gaussian(found[name]) for name in NAMES], axis=1).astype(np.float32), areas


def gaussian(numbers):
    """Numbers (N,) -> those of a standard normal distribution in the same order."""
    return norm.ppf((rankdata(numbers) - 0.5) / len(numbers))


def targets(numbers):
    """Numbers of `attributes` -> what features are to follow, with a mean of 0 and a deviation of 1.

    What few faces have is there or not: differences among those that are far from having it mean little.
    """
    found = numbers.copy()
    for name in RARE:
        column = INDEX[name]
        boundary = norm.ppf(1 - SHARES[name][0])
        found[:, column] = np.tanh((numbers[:, column] - boundary) / SOFTNESS)
    return ((found - found.mean(axis=0)) / found.std(axis=0)).clip(-2.5, 2.5)


def sides(numbers):
    """Numbers of `attributes` -> 1 where an attribute is clearly on its positive side, -1 on its negative, else 0."""
    found = np.zeros(numbers.shape, np.int8)
    for name, column in INDEX.items():
        positive, negative = SHARES.get(name, USUAL_SHARES)
        found[numbers[:, column] > norm.ppf(1 - positive), column] = 1
        found[numbers[:, column] < norm.ppf(negative), column] = -1
    return found


def mirrored(numbers):
    """Numbers or sides (N, len(NAMES)) of the mirror images."""
    signs = np.array([-1 if name in MIRRORED else 1 for name in NAMES], numbers.dtype)
    return numbers * signs


def surroundings(scores):
    """Numbers of what sentences do not say: principal components of the pixels, at 16 x 16, and of the points of the
    face, in units of its size. Returns (2, N, sum of SURROUNDINGS), of the images and of their mirror images; the
    component that varies most has a standard deviation of 1, the others the root of their share of that.
    """
    small = [part.reshape(len(part), 3, 16, 4, 16, 4).mean(axis=(3, 5), dtype=np.float32)
             for (part,) in in_parts(scores["images"])]  # fmt: skip
    small = np.concatenate(small)
    points = scores["mesh"].reshape(-1, 468, 3)
    first, second, middle = points[:, PAIRS[:, 0]], points[:, PAIRS[:, 1]], points[:, MIDDLE]
    points = np.concatenate([first, second, middle], axis=1)
    points = points - points.mean(axis=1, keepdims=True)
    points = points / points[:, :, :2].std(axis=(1, 2), keepdims=True)
    first, second, middle = np.split(points, [len(PAIRS), 2 * len(PAIRS)], axis=1)
    swapped = np.concatenate([second, first, middle], axis=1) * np.float32([-1, 1, 1])
    pairs = (small, small[..., ::-1]), (points, swapped)
    parts = []
    for (values, mirrored_values), size in zip(pairs, SURROUNDINGS):
        flat, mirrored_flat = (one.reshape(len(one), -1) for one in (values, mirrored_values))
        fitted = PCA(size, random_state=0).fit(flat[:6000])
        found = np.stack([fitted.transform(one) for one in (flat, mirrored_flat)])
        spread = found[0].std(axis=0)
        parts.append(found / (spread * spread[0]) ** 0.5)
    return np.concatenate(parts, axis=-1).astype(np.float32)
