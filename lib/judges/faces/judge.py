"""The networks whose weights are there, as one judge."""

import hashlib

import torch

from lib.judges.faces.action_units import ActionUnits
from lib.judges.faces.arcface import ArcFace
from lib.judges.faces.celeba_attributes import CelebAAttributes
from lib.judges.faces.checkpoints import load_network
from lib.judges.faces.fairface import FairFace
from lib.judges.faces.frames import Frames
from lib.judges.faces.hopenet import Hopenet
from lib.judges.faces.s3fd import S3FD
from lib.judges.judge import Identity, Judge
from models.errors import UserError

READERS = (FairFace, Hopenet, CelebAAttributes, S3FD, ActionUnits)  # in the order of their numbers
NETWORKS = (*READERS, ArcFace)
# Whose inner features tell images apart, best first: whole images before crops, large trunks before small ones.
FEATURES = (CelebAAttributes, Hopenet, FairFace, ArcFace)


class FaceJudge(Judge):
    """Images -> what the given networks read from them.

    networks: instances of some of `NETWORKS`, frozen and in evaluation mode. fingerprint, note: as in `Judge`; the note
    says what absent networks would have read.
    """

    def __init__(self, networks, fingerprint, note=""):
        self._networks = {type(network): network for network in networks}
        self._readers = [self._networks[kind] for kind in READERS if kind in self._networks]
        self.names = [name for reader in self._readers for name in reader.names]
        self.units = [unit for reader in self._readers for unit in reader.units]
        self.ranges = [ends for reader in self._readers for ends in reader.ranges]  # WarpedGANSpace's
        self.fingerprint, self.note = fingerprint, note
        self.identity = arcface_identity(self._networks[ArcFace]) if ArcFace in self._networks else None

    def __call__(self, images):
        """(B, 3, H, W) in [-1, 1] -> (B, N) in the order of `names`, in `units`; each row from its own image alone."""
        with torch.no_grad(), _exact():
            frames = self._frames(images)
            numbers = [reader.read(frames) for reader in self._readers]
            return torch.cat(numbers, 1) if numbers else torch.empty(len(images), 0, device=images.device)

    def features(self, images):
        """(B, 3, H, W) in [-1, 1] -> inner features (B, F) of the first of `FEATURES` that is there; None without."""
        found = next((self._networks[kind] for kind in FEATURES if kind in self._networks), None)
        if found is None:
            return None
        with torch.no_grad(), _exact():
            return found.features(self._frames(images))

    def _frames(self, images):
        detector = self._networks.get(S3FD)
        return Frames(images, detector and detector.detect)


def arcface_identity(arcface):
    """The `Identity` of an `ArcFace`: the cosine of its features."""

    def embed(images):
        with torch.no_grad(), _exact():
            return arcface.features(Frames(images))

    return Identity("ArcFace", "cosine", 1.0, embed, lambda features, others: (features * others).sum(dim=1))


def _exact():
    """Convolutions in full float32 also on GPUs that round their factors by default."""
    cudnn = torch.backends.cudnn
    return cudnn.flags(enabled=True, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False)


def load_face_judge(device="cpu"):
    """The `FaceJudge` of all networks whose weights are there. Raises UserError as `load_network`, and without any."""
    present = [kind for kind in NETWORKS if kind.checkpoint.file.is_file()]
    absent = [kind for kind in NETWORKS if kind not in present]
    command = f"`python download.py --only {' '.join(kind.checkpoint.archive for kind in absent)}`"
    if not present:
        raise UserError(f"the judge faces has no weights: run {command}")
    note = f"the judge faces leaves out {'; '.join(map(_lost, absent))}: run {command} for these" if absent else ""
    return FaceJudge([load_network(kind, device) for kind in present], _fingerprint(present), note)


def load_identity(device="cpu"):
    """ArcFace's `Identity`, for judges that have none of their own; None where its weights are absent."""
    return arcface_identity(load_network(ArcFace, device)) if ArcFace.checkpoint.file.is_file() else None


def _lost(kind):
    """In words, what is lost without a network."""
    if kind is ArcFace:
        return "identity"
    lost = ", ".join(kind.names)
    return f"{lost} and crops around the face" if kind is S3FD else lost


def _fingerprint(kinds):
    """A hash of which networks are there and of their files' SHA-256."""
    lines = "\n".join(f"{kind.__name__} {kind.checkpoint.sha256}" for kind in kinds)
    return f"faces-{hashlib.sha256(lines.encode()).hexdigest()}"
