"""A frozen CLIP: sentences and images into one embedding space."""
import hashlib
import os
import pickle
import socket
import tempfile
import urllib.parse
import warnings
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, resize

from models.errors import UserError
from models.registry import CLIP_FILES

with warnings.catch_warnings():
    # The package `clip` asks setuptools for its copy of `packaging`, which is deprecated but pinned and harmless.
    warnings.filterwarnings("ignore", message=".*pkg_resources.*")
    import clip

# The mean and deviation of the pixels in [0, 1] that CLIP was trained on (clip.clip._transform).
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)

CACHE = Path("~/.cache/clip")  # where the package `clip` keeps what it downloads
DOWNLOAD_TIMEOUT = 15  # seconds without an answer

# How the loading of a file fails that holds something else, or nothing whole: unpickling, a missing key, a wrong shape.
NOT_A_CLIP = (RuntimeError, pickle.UnpicklingError, LookupError, AttributeError, AssertionError, TypeError, ValueError,
              ArithmeticError, EOFError, OSError, NameError)


class CLIPEncoder(nn.Module):
    """Encodes with a `clip.model.CLIP`, which it makes float32 and freezes.

    The features are as CLIP projects them, NOT of unit length: normalise where a cosine is meant. `embed_dim` is E,
    `resolution` the side of the images that the model sees, `context_length` the tokens that a sentence may have.
    """

    def __init__(self, model):
        super().__init__()
        self.model = model.float().eval().requires_grad_(False)
        self.embed_dim = model.text_projection.shape[1]
        self.resolution = model.visual.input_resolution
        self.context_length = model.context_length
        # ((x + 1) / 2 - m) / s for pixels x in [-1, 1], as one subtraction and one division.
        self.register_buffer("mean", 2 * torch.tensor(MEAN)[:, None, None] - 1, persistent=False)
        self.register_buffer("deviation", 2 * torch.tensor(DEVIATION)[:, None, None], persistent=False)

    def train(self, mode=True):
        """Stays in evaluation mode: the encoder is frozen, its batch statistics too."""
        return super().train(False)

    @torch.no_grad()
    def encode_text(self, sentences):
        """Sentences (list of n >= 1 str) -> features (n, E).

        Raises UserError for a sentence of more than `context_length` tokens, its start and end included.
        """
        rows = []
        for sentence in sentences:
            try:
                rows.append(clip.tokenize(sentence, context_length=self.context_length))
            except RuntimeError:
                raise UserError(f"{sentence!r} is too long for this CLIP, which reads up to {self.context_length - 2} "
                                 "tokens (a token is a word or a part of one): shorten it") from None
        return self.model.encode_text(torch.cat(rows).to(self.mean.device))

    def encode_images(self, images):
        """Images (B, 3, H, W) in [-1, 1] -> features (B, E), differentiable with respect to the images.

        The shorter side is brought to the model's resolution and the middle is cut out, as CLIP was trained.
        """
        if images.shape[-2:] != (self.resolution, self.resolution):
            images = resize(images, self.resolution, InterpolationMode.BICUBIC, antialias=True)
            images = center_crop(images, self.resolution)
        return self.model.encode_image((images - self.mean) / self.deviation)


def load_clip(name_or_file, device="cpu"):
    """A frozen `CLIPEncoder` on `device`, from a name of `clip.available_models()` or a file.

    A file is either one of OpenAI's or a plain state dict. Weights of a known name are fetched once into ~/.cache/clip.
    Raises UserError for what is neither a name nor a file, for a file that holds no CLIP, and where weights have to be
    fetched and cannot be; each says in one line what to do.
    """
    name_or_file = str(CLIP_FILES.get(name_or_file, name_or_file))
    if name_or_file in clip.available_models():
        file = _fetch(name_or_file)
    elif os.path.isfile(name_or_file):
        file = name_or_file
    else:
        raise UserError(f"{name_or_file!r} is neither a file nor a CLIP model; the models are "
                                + ", ".join(clip.available_models()))
    try:
        # On the CPU first, so that what fails here is the file and not the device. Half-precision weights become float.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.*")  # OpenAI's files are TorchScript archives
            model, _ = clip.load(str(file), device="cpu", jit=False)
    except NOT_A_CLIP as error:
        reason = " ".join(str(error).split()).split(". ")[0][:160]
        raise UserError(f"{file} holds no CLIP that can be read ({type(error).__name__}: {reason}): give a state dict "
                         "of a CLIP, a file of OpenAI's, or one of " + ", ".join(clip.available_models())) from None
    return CLIPEncoder(model).to(device)


def _fetch(name):
    """The file with the weights of a known model, downloaded unless it is already in the cache, whole."""
    url = clip.clip._MODELS[name]
    folder = CACHE.expanduser()
    file = folder / os.path.basename(urllib.parse.urlparse(url).path)
    if file.is_file() and _sha256(file) == url.split("/")[-2]:  # the address carries the hash of the file
        return file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as partial, _socket_timeout(DOWNLOAD_TIMEOUT):
            os.replace(clip.clip._download(url, partial), file)
    except (OSError, RuntimeError, TypeError) as error:  # TypeError: an answer without a length
        raise UserError(f"the weights of {name} are not in {file} and could not be downloaded ({error}): "
                              f"fetch {url} and put it there") from None
    return file


def _sha256(file):
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _socket_timeout(seconds):
    """Bounds the silence of connections opened inside, which urllib leaves unbounded."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
