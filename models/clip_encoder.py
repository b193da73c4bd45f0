"""A frozen CLIP: sentences and images into one embedding space."""

import hashlib
import json
import os
import socket
import tempfile
import urllib.parse
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import nn
from torchvision.transforms.functional import center_crop, pad

from models.clip_interface import DOWNLOAD_TIMEOUT, OPEN_CLIP, Interface
from models.errors import UserError, quoted, unknown
from models.files import sha256
from models.formats.openai_clip import clip, read_clip
from models.registry import CLIP_FILES
from models.resizing import resized
from models.untrusted.tensor_files import BrokenFile

MOST_SENTENCES = 256  # encoded at once, so that a large corpus does not fill the memory
CACHE = Path("~/.cache/clip")  # where the package `clip` keeps what it downloads


def interface_of(model):
    """The `Interface` of a `clip.model.CLIP`."""
    return Interface(model.text_projection.shape[1], clip_tokens, model.context_length, model.visual.input_resolution)


def clip_tokens(sentence):
    """The token ids of a sentence, by CLIP's own tokenizer."""
    tokenizer = clip.clip._tokenizer
    return [tokenizer.encoder["<|startoftext|>"], *tokenizer.encode(sentence), tokenizer.encoder["<|endoftext|>"]]


class CLIPEncoder(nn.Module):
    """Encodes with a model that has `encode_text` and `encode_image`, which is converted to float32 and frozen.

    The features are as the model projects them, NOT of unit length: normalise them for a cosine. `embed_dim` is E,
    `resolution` the side of the images that the model sees, `context_length` the number of tokens that it reads.
    """

    def __init__(self, model, interface=None):
        """interface: an `Interface`; by default, that of a `clip.model.CLIP`."""
        super().__init__()
        self.model = model.float().eval().requires_grad_(False)
        self.interface = interface or interface_of(model)
        self.embed_dim = self.interface.embed_dim
        self.resolution = self.interface.resolution
        self.context_length = self.interface.context_length
        # ((x + 1) / 2 - m) / s for pixels x in [-1, 1], as one subtraction and one division.
        mean, deviation = (torch.tensor(x).reshape(-1, 1, 1) for x in (self.interface.mean, self.interface.deviation))
        self.register_buffer("mean", 2 * mean - 1, persistent=False)
        self.register_buffer("deviation", 2 * deviation, persistent=False)

    @cached_property
    def fingerprint(self):
        """A hash of the weights and of how images are prepared."""
        seen = replace(self.interface, tokenize=None)  # a function, which has no name that lasts
        digest = hashlib.sha256(json.dumps(asdict(seen)).encode())
        for key, tensor in self.model.state_dict().items():
            digest.update(key.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def train(self, mode=True):
        """Stays in evaluation mode: the encoder is frozen, including its batch statistics."""
        return super().train(False)

    @torch.no_grad()
    def encode_text(self, sentences):
        """Sentences (list of n >= 1 str) -> features (n, E).

        Raises UserError for a sentence of more than `context_length` tokens, including those for its start and end.
        """
        tokens = torch.tensor([self._tokens(sentence) for sentence in sentences]).to(self.mean.device)
        parts = [self.model.encode_text(part) for part in tokens.split(MOST_SENTENCES)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _tokens(self, sentence):
        tokenize, length = self.interface.tokenize, self.context_length
        ids = tokenize(sentence)
        if len(ids) > length:
            readable = length - len(tokenize(""))
            raise UserError(f"{quoted(sentence, 120)} is too long for this CLIP, which reads up to {readable} tokens "
                            "(a token is a word or a part of one): shorten it")
        return ids + [self.interface.padding] * (length - len(ids))

    @cached_property
    def _unused_tokens(self):
        """For each token of CLIP's, whether the table has zeros for it."""
        return (self.model.token_embedding.weight == 0).all(dim=1).tolist()

    def unknown_words(self, sentences):
        """The words of sentences (list of str) that training never showed to this CLIP, in their order.

        A CLIP of this repository has learned a few hundred words: its tables keep zeros for all other tokens.
        """
        if self.interface.tokenize is not clip_tokens:
            return []
        tokenizer, unused = clip.clip._tokenizer, self._unused_tokens
        words = dict.fromkeys(word for text in sentences for word in tokenizer.pat.findall(text.lower()))
        return [word for word in words if word.isalnum() and any(unused[i] for i in tokenizer.encode(word))]

    def encode_images(self, images):
        """Images (B, 3, H, W) in [-1, 1] -> features (B, E), differentiable with respect to the images.

        They are resized as in the model's training: most models resize the shorter side and crop the middle.
        """
        if images.shape[-2:] != (self.resolution, self.resolution):
            images = _fitted(images, self.interface)
        return self.model.encode_image((images - self.mean) / self.deviation)


def _fitted(images, interface):
    """Images (B, 3, H, W) -> (B, 3, R, R)."""
    side, mode = interface.resolution, interface.resize_mode
    if mode == "longest":
        scale = side / max(images.shape[-2:])
        size = [round(length * scale) for length in images.shape[-2:]]
    else:
        size = [side, side] if mode == "squash" else side
    images = resized(images, size, interface.interpolation)
    if mode == "longest":
        rows, columns = (side - length for length in images.shape[-2:])
        images = pad(images, [columns // 2, rows // 2, (columns + 1) // 2, (rows + 1) // 2], interface.background)
    return center_crop(images, side)


def load_clip(name_or_file, device="cpu"):
    """A frozen `CLIPEncoder` on `device`, from a name of `clip.available_models()`, a file, or "open_clip:..".

    A file is one of OpenAI's or a plain state dict. Weights of a known name are downloaded once into ~/.cache/clip.
    What may follow "open_clip:" is described in `models.open_clip_encoder`. Raises UserError for something that is
    neither a name nor a file, for a file that does not hold a CLIP, and for weights that cannot be downloaded.
    """
    name_or_file = str(CLIP_FILES.get(name_or_file, name_or_file))
    if name_or_file.startswith(OPEN_CLIP):
        return _load_open_clip(name_or_file.removeprefix(OPEN_CLIP)).to(device)
    if name_or_file in clip.available_models():
        file = _fetch(name_or_file)
    elif os.path.isfile(name_or_file):
        file = name_or_file
    else:
        raise unknown(name_or_file, "a CLIP", [*CLIP_FILES, *clip.available_models(), f"{OPEN_CLIP}MODEL/PRETRAINED"])
    try:
        model = read_clip(file)
    except BrokenFile as error:
        raise UserError(f"{file} holds no CLIP that can be read ({error}): give the state dict of a CLIP, a file of "
                        "OpenAI's, or one of " + ", ".join(clip.available_models())) from None
    return CLIPEncoder(model).to(device)


def _load_open_clip(name):
    try:
        from models.open_clip_encoder import load_open_clip
    except ModuleNotFoundError as error:
        raise UserError(f"{OPEN_CLIP}{name} needs the package {error.name}: "
                        "pip install -r requirements-open-clip.txt") from None
    return CLIPEncoder(*load_open_clip(name))


def would_be_downloaded(name_or_file):
    """Whether `load_clip` would first download these weights, as far as that can be told."""
    return str(name_or_file) in clip.available_models() and not _cached(str(name_or_file)).is_file()


def _cached(name):
    """Where the weights of a known model are kept."""
    return CACHE.expanduser() / os.path.basename(urllib.parse.urlparse(clip.clip._MODELS[name]).path)


def _fetch(name):
    """The file with the weights of a known model, downloaded unless it is in the cache and intact."""
    url, file = clip.clip._MODELS[name], _cached(name)
    folder = file.parent
    if file.is_file() and sha256(file) == url.split("/")[-2]:  # the address carries the hash of the file
        return file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as partial, _socket_timeout(DOWNLOAD_TIMEOUT):
            os.replace(clip.clip._download(url, partial), file)
    except (OSError, RuntimeError, TypeError) as error:  # TypeError: an answer without a length
        raise UserError(f"the weights of {name} are not in {file} and could not be downloaded ({error}): "
                        f"fetch {url} and put it there") from None
    return file


@contextmanager
def _socket_timeout(seconds):
    """Sets a timeout for connections that are opened inside, since urllib has none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
