"""A generator of the user's own: `--gan python:FILE:FUNCTION` runs FILE and calls its FUNCTION, which takes nothing.

FUNCTION returns a module with

    z_dim, resolution           whole numbers
    forward(z)                  standard normal z (B, z_dim) -> images (B, 3, resolution, resolution) in [-1, 1]

and where it has W, with both of

    mapping(z)                  z -> w, (B, w_dim) or, where each layer takes one, (B, num_layers, w_dim)
    synthesis(w)                w -> the images that forward(z) gives

`models.custom_contract` holds it to this when it is loaded. This is the only place where code that a user names is run;
no name but one that begins so leads here.
"""

import hashlib
import random
import sys
import traceback
import types
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models import custom_contract
from models.errors import UserError
from models.files import sha256
from models.registry import Family, own_code

# As the module has no W, until it shows one: truncation scales z. With W, it is towards the mean of W.
FAMILY = Family("module of your own", "models.custom", ("Z",), truncates=True, scales_z=True)
MEAN_SAMPLES = 4096  # of W, to truncate towards


class CustomGenerator(nn.Module):
    """A module of the user's own, as the spaces take a generator. Codes: z (B, z_dim), or w+ (B, num_layers, w_dim)
    where it has W; num_layers is 1 where all layers take the same w.

    sha256: of the code and its weights.
    """

    def __init__(self, module, z_dim, resolution):
        super().__init__()
        self.family, self.z_dim, self.resolution = FAMILY, z_dim, resolution
        self.anchor = nn.Parameter(torch.zeros(()))  # on its device: the module may have no parameters of its own
        self.module = module

    def show_w(self, w):
        """Have W, of which `w` are codes as `mapping` gives them."""
        self.has_layers = w.ndim == 3
        self.num_layers, self.w_dim = w.shape[1] if self.has_layers else 1, w.shape[-1]
        is_shared = bool((w == w[:, :1]).all()) or not self.has_layers
        spaces = ("Z", *(["W"] if is_shared else []), *(["W+"] if self.has_layers else []))
        self.family = replace(FAMILY, spaces=spaces, scales_z=False)
        self.register_buffer("w_avg", self._mean_w())

    @torch.no_grad()
    def _mean_w(self):
        z = torch.randn(MEAN_SAMPLES, self.z_dim, generator=torch.Generator().manual_seed(0))
        parts = z.to(self.anchor.device).split(256)
        return sum(self.mapping(part).sum(dim=0) for part in parts) / MEAN_SAMPLES

    @property
    def feature_layers(self):
        """Its inner layers are not known: only the image."""
        return ["output0"]

    @property
    def image_sizes(self):
        """It makes the whole image only."""
        return [self.resolution]

    def truncate(self, z, psi):
        """Where there is no W: standard normal z (B, z_dim) -> those of a distribution `psi` times as wide."""
        return z if psi == 1 else psi * z

    def mapping(self, z):
        return self.module.mapping(z)

    def w_plus(self, w, psi=1.0):
        """w as `mapping` gives it -> truncated (B, num_layers, w_dim)."""
        truncated = w if psi == 1 else self.w_avg + (w - self.w_avg) * psi
        return truncated if self.has_layers else truncated[:, None]

    def from_z(self, z, psi=1.0, resolution=None):
        """z (B, z_dim) -> images (B, 3, R, R) in [-1, 1]. Without W, z is truncated already, and psi is 1."""
        return self(z if self.family.scales_z else self.w_plus(self.mapping(z), psi))

    def features_from_z(self, z, psi, layer):
        """The image, which is the only layer that is known."""
        return self.from_z(z, psi)

    def features(self, codes, layer):
        """The image, which is the only layer that is known."""
        return self(codes)

    def forward(self, codes, resolution=None):
        """Codes -> images (B, 3, R, R) in [-1, 1]."""
        if self.family.scales_z:
            return self.module(codes)
        return self.module.synthesis(codes if self.has_layers else codes[:, 0])


def load(gan, device="cpu"):
    """The generator that `python:FILE:FUNCTION` names, in float32, frozen, in evaluation mode, on a device.

    Raises UserError where the code is not there, raises an exception, or returns anything but such a module.
    """
    file, function = own_code(gan)
    with _seeded():
        build = getattr(_run(file, gan), function, None)
        if not callable(build):
            raise UserError(f"{gan}: {file} has no function {function}")
        module = told(gan, f"{function}()", device, build)
    if not isinstance(module, nn.Module):
        raise UserError(f"{gan}: {function}() returns a {type(module).__name__}, not a torch.nn.Module")
    z_dim, resolution = custom_contract.sizes(module, gan)
    generator = CustomGenerator(module, z_dim, resolution).float().requires_grad_(False).eval()
    generator = told(gan, f"moving it to {device}", device, generator.to, device)

    def call(name, function, codes):
        return told(gan, name, device, function, codes)

    generator.sha256 = _sha256(generator, file, function)
    w = custom_contract.check(module, z_dim, resolution, generator.anchor.device, gan, call)
    if w is not None:
        told(gan, "mapping(z)", device, generator.show_w, w)
    return generator


def _sha256(generator, file, function):
    """The SHA-256 of file, function and weights, which the file may load from elsewhere."""
    found = hashlib.sha256(f"{sha256(file)} {function}".encode())
    for name, tensor in generator.state_dict().items():
        found.update(f" {name} {tuple(tensor.shape)} ".encode())
        found.update(tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _run(file, gan):
    """The module that running a file gives. What lies beside the file can be imported by it, after all else."""
    source = Path(file).read_bytes()
    # Not by an import: bytecode that lies about may be another file's than the one whose SHA-256 is kept.
    module = types.ModuleType(f"own_generator_{Path(file).stem}")
    module.__file__ = str(Path(file).resolve())
    sys.modules[module.__name__] = module
    folder = str(Path(file).resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    told(gan, "it", "cpu", lambda: exec(compile(source, module.__file__, "exec"), module.__dict__))
    return module


@contextmanager
def _seeded():
    """What the code draws, such as random weights, is the same in each process; what others draw stays as it is."""
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else []):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


def told(gan, what, device, call, *arguments):
    """call(*arguments), of the user's code. Raises UserError, in one line, where that raises anything."""
    try:
        return call(*arguments)
    except (Exception, SystemExit) as error:
        lines = str(error).strip().splitlines() or [""]
        message = f"{gan}: {what} raised {type(error).__name__}: {lines[0][:160]}{_place(error, own_code(gan)[0])}"
        raise UserError(message + _advice(error, device)) from None


def _place(error, file):
    """Where in the file it happened, as " (line 7)"; empty where that is not known."""
    if isinstance(error, SyntaxError):
        return ""  # its text says where
    name = str(Path(file).resolve())
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    return f" (line {lines[-1]})" if lines else ""


def _advice(error, device):
    text = str(error).lower()
    if torch.device(device).type == "cuda" or isinstance(error, torch.OutOfMemoryError):
        return ""
    if not any(word in text for word in ("cuda", "nvidia")):
        return ""
    return ": it needs a GPU, " + ("so leave out --no-cuda" if torch.cuda.is_available() else "and there is none here")
