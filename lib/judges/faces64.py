"""The judge of the embedded photographic faces: small published networks, none of which taught the CLIP of these faces
what it judges here.

    smile               facemesh: the mouth's width and how high its corners are; emotion: happy (the mean of the three)
    mouth open          landmarks68
    turned right        landmarks68
    light               the pixels of the middle of the image
    blue background     the pixels of the upper corners
    glasses, hat, beard, long hair
                        logistic probes on inner features of facemesh, fitted to the half of the hand labels that the
                        CLIP's teachers did not see (`scripts/faces/probes.py`); 0 is where yes and no are as likely
    woman               faceres; only `faces64:woman` reads it

Left and right are the image's. Persons are compared by faceres' descriptor, which the CLIP's teachers also use.
"""

import hashlib

import numpy as np
import torch
import torch.nn.functional as F

from lib.judges.face_attributes import ATTRIBUTES, UNITS, own_factor
from lib.judges.judge import Identity, Judge
from models.errors import UserError
from models.face_networks import DIRECTORY, EMOTIONS, GREY, INPUTS, MARGIN, FaceNetwork, enlarged, prepared
from models.files import sha256
from models.untrusted.tensor_files import load_tensors

PROBES = DIRECTORY / "probes.pt"
WOMAN = "woman"
FACE = 0.99  # facemesh's probability of a face, from which on an image shows one; 96% of dcgan_faces64's do

# {probe: outputs of facemesh that it sees, whose pixels are averaged two by two}
PROBED = {
    "glasses": ("left_eye_features", "right_eye_features"),
    "hat": ("trunk_features",),
    "beard": ("lips_features",),
    "long hair": ("trunk_features",),
}
FEATURES = tuple(dict.fromkeys(name for outputs in PROBED.values() for name in outputs))

# Numbers of facemesh's points: the outer corners of the eyes, those of the mouth, the middle of the lips.
MESH_EYES, MESH_CORNERS, MESH_LIPS = (33, 263), (61, 291), (13, 14)
# Numbers of the 68 landmarks: the same corners of the eyes, the inner lips, the tip of the nose, the ends of the jaw.
EYES, UPPER_LIP, LOWER_LIP, NOSE, JAW = (36, 45), (61, 62, 63), (67, 66, 65), 30, (0, 16)
# Of an image's side: rows and columns of the face's middle, and of the background left and right of it.
MIDDLE = (0.36, 0.72), (0.33, 0.67)
CORNERS = ((0.0, 0.25), (0.0, 0.14)), ((0.0, 0.25), (0.86, 1.0))
LEAST_WIDTH = 0.2  # of a face, as a share of the side; where there is no face, landmarks are close together
LEAST = 1e-3  # probabilities are kept away from 0 and 1 by this much before their logit is taken


class Faces64Judge(Judge):
    note = ("identity is compared by faceres' descriptor, from which the CLIP's teachers of glasses, hat, beard and "
            "long hair read too")

    def __init__(self, woman=False):
        """woman: read this number too. Raises UserError where onnxruntime or a file of the networks is missing."""
        threads = torch.get_num_threads()
        self.names = [name for name in ATTRIBUTES if woman or name != WOMAN]
        self.units = [UNITS[name] for name in self.names]
        self.networks = {name: FaceNetwork(name, threads) for name in ("facemesh", "emotion", "landmarks68", "faceres")}
        self.probes = load_probes()
        files = [*(DIRECTORY / f"{name}.onnx" for name in self.networks), PROBES]
        hashes = " ".join([*self.names, *map(sha256, files)])
        self.fingerprint = f"faces64-{hashlib.sha256(hashes.encode()).hexdigest()}"
        self.identity = Identity("faceres' cosine", "cosine", 1.0, self.features, F.cosine_similarity)
        self._images = self._pixels = self._described = None  # of the last batch

    def __call__(self, images):
        """Numbers (B, N). What is known of a batch is kept until another tensor comes: do not change one in place."""
        pixels = self._see(images)
        mesh = self._run("facemesh", pixels, ["mesh", *FEATURES], MARGIN)
        emotion = self._run("emotion", pixels, ["probabilities"])
        found = {"smile": smile(measures_of_smile(mesh["mesh"], emotion["probabilities"]), self.probes)}
        found["mouth open"], found["turned right"] = geometry(self._run("landmarks68", pixels, ["points"])["points"])
        found["light"], found["blue background"] = patches(pixels)
        found |= {name: features_of(mesh, name) @ self.probes[name][:-1] + self.probes[name][-1] for name in PROBED}
        if WOMAN in self.names:
            found[WOMAN] = -logit(self._faceres(images)["male"][:, 0])
        numbers = np.stack([found[name] for name in self.names], axis=1)
        return torch.from_numpy(numbers.astype(np.float32)).to(images.device)

    def own(self, labels):
        """By the captions' words: a dipole that differs in one attribute's words has that attribute."""
        found = [own_factor(*label) if not isinstance(label, str) else None for label in labels]
        return [(self.names.index(own[0]), own[1]) if own and own[0] in self.names else None for own in found]

    def features(self, images):
        """faceres' descriptors (B, 1024)."""
        return torch.from_numpy(self._faceres(images)["descriptor"]).to(images.device)

    def accepts(self, images):
        """Whether each image shows a face, by facemesh: (B,), of bool."""
        flags = self._run("facemesh", self._see(images), ["flag"], MARGIN)["flag"]
        return torch.from_numpy(flags[:, 0] >= FACE)

    def _run(self, name, pixels, outputs, margin=0):
        return self.networks[name].run(prepared(pixels, INPUTS[name], margin), outputs)

    def _see(self, images):
        """The images, enlarged. Several things are asked of each batch, so what is known of the last one is kept."""
        if self._images is not images:
            self._images, self._pixels, self._described = images, enlarged(images), None
        return self._pixels

    def _faceres(self, images):
        """What faceres gives, the network that takes half of the time."""
        pixels = self._see(images)
        if self._described is None:
            self._described = self._run("faceres", pixels, ["male", "descriptor"], MARGIN)
        return self._described


def load_probes(file=PROBES):
    """{probe: weights of its features, and a constant}, and "smile": mean and deviation (2, 3) of what it is made of.

    Raises UserError where the file is missing or holds anything else.
    """
    if not file.is_file():
        raise UserError(f"{file} is missing: restore it with git, or make it with python -m scripts.faces.probes")
    return {name: tensor.numpy() for name, tensor in load_tensors(file).items()}


def measures_of_smile(points, emotions):
    """Points (B, 1404) of facemesh and probabilities of EMOTIONS (B, 7) -> width, lift, happy (B, 3)."""
    points = points.reshape(len(points), -1, 3)[:, :, :2]
    eyes = distance(points, *MESH_EYES)
    lift = points[:, MESH_LIPS, 1].mean(axis=1) - points[:, MESH_CORNERS, 1].mean(axis=1)
    happy = logit(emotions[:, EMOTIONS.index("happy")])
    return np.stack([distance(points, *MESH_CORNERS) / eyes, lift / eyes, happy], axis=1)


def smile(measures, probes):
    """Width, lift and happy (B, 3) -> their mean (B,), each in standard deviations of what the generator shows."""
    mean, deviation = probes["smile"]
    return ((measures - mean) / deviation).mean(axis=1)


def geometry(points):
    """Landmarks (B, 136) -> mouth opening and turn to the right, (2, B), in lengths of the face itself."""
    points = points.reshape(len(points), -1, 2)
    opening = np.mean([distance(points, *pair) for pair in zip(UPPER_LIP, LOWER_LIP)], axis=0)
    left, right = points[:, JAW, 0].T
    turn = (points[:, NOSE, 0] - (left + right) / 2) / np.maximum(right - left, LEAST_WIDTH)
    return np.stack([opening / np.maximum(distance(points, *EYES), LEAST_WIDTH / 2), turn])


def patches(pixels):
    """Images (B, 3, S, S) in [0, 1] -> grey of the middle, and blue of the upper corners over red and green: (2, B)."""
    grey = np.float32(GREY) @ _patch(pixels, *MIDDLE)
    red, green, blue = np.mean([_patch(pixels, *corner) for corner in CORNERS], axis=0)
    return np.stack([grey, blue - (red + green) / 2])


def _patch(pixels, rows, columns):
    """The mean colour (3, B) of a part of images, whose bounds are shares of the side."""
    (top, bottom), (left, right) = (np.round(np.multiply(bounds, pixels.shape[-1])).astype(int)
                                    for bounds in (rows, columns))
    return pixels[:, :, top:bottom, left:right].mean(axis=(2, 3)).T


def features_of(mesh, probe):
    """Outputs of facemesh -> what a probe sees of them, (B, F)."""
    parts = [mesh[name] for name in PROBED[probe]]
    halved = [part.reshape(*part.shape[:2], part.shape[2] // 2, 2, -1, 2).mean(axis=(3, 5)) for part in parts]
    return np.concatenate([part.reshape(len(part), -1) for part in halved], axis=1)


def distance(points, first, second):
    """Of two of the points (B, P, 2), by their numbers: (B,)."""
    return np.linalg.norm(points[:, first] - points[:, second], axis=-1)


def logit(probability):
    probability = np.clip(probability, LEAST, 1 - LEAST)
    return np.log(probability / (1 - probability))


def load(argument, request):
    """faces64, or faces64:woman, which reads one number more."""
    if argument not in ("", WOMAN):
        raise UserError(f"the judge faces64 takes nothing after its name, or faces64:{WOMAN}, found {argument!r}")
    return Faces64Judge(argument == WOMAN)
