"""Generators of other projects, read as ours. The format of a file is detected from its content:

    genforce        .pth   {"generator_smooth": ...} or {"generator": ...}; StyleGAN2, ProgGAN; BigGAN, DCGAN of ours
    NVIDIA          .pkl   {"G_ema": ...}, pickled by the code of StyleGAN2-ADA-PyTorch or StyleGAN3; StyleGAN2
    rosinality      .pt    {"g_ema": ..., "latent_avg": ...}; StyleGAN2
    BigGAN          .bin, .pth   a bare state dict, of pytorch-pretrained-biggan or BigGAN-PyTorch
    DCGAN           .pt    a state dict of PyTorch's tutorial, bare or under a key: {"netG_state_dict": ...}
    safetensors            the tensors of a genforce file
"""

from pathlib import Path

from models.errors import UserError
from models.files import replacing

# Modules that need torch are imported where they are used: `python -m models.formats -h` imports this file too.

FORMATS = (
    "a genforce .pth, an NVIDIA .pkl, a rosinality .pt, a BigGAN's .bin or .pth, a DCGAN of PyTorch's tutorial, or "
    "safetensors"
)
PICKLE = b"\x80"
# torch.save pickled this number first before it wrote zip archives.
TORCH_MAGIC = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
ZIP = b"PK\x03\x04"


def convert(source, target):
    """Write the generator in the file `source` to `target`: as safetensors where its name ends so, else as genforce.

    `target` is written whole or not at all. Raises UserError as `read_generator` does.
    """
    generator = read_generator(source)

    import torch

    from models.formats import genforce, safetensors

    with replacing(target) as file:
        if Path(target).suffix == ".safetensors":
            file.write(safetensors.content(generator))
        else:
            torch.save(genforce.content(generator), file)


def read_generator(file):
    """The generator in a file of any format: on the CPU, with the precision of the file.

    Its settings follow from the shapes of the tensors. Raises UserError where the file is damaged, contains anything
    but tensors and settings, or is not such a network, naming what differs. Nothing in the file is run.
    """
    if not Path(file).is_file():
        raise UserError(f"{file} is missing")
    from models.formats.building import build

    state, options = _read(Path(file))
    return build(state, options, file)


def _read(file):
    """(state dict in our layout, options) of a file of any format."""
    from models.formats import biggan, dcgan, genforce, nvidia, rosinality, safetensors
    from models.untrusted.tensor_files import load_tensors

    with open(file, "rb") as stream:
        start = stream.read(16)
    if _is_safetensors(start, file):
        return safetensors.read(file)
    if start.startswith(PICKLE) and start[2:14] != TORCH_MAGIC:
        return nvidia.read(file)
    if not start.startswith((PICKLE, ZIP)):
        raise UserError(f"{file} is not a generator file ({FORMATS}): download or copy it again")
    content = load_tensors(file)
    format = next((known for known in (rosinality, biggan, dcgan) if known.recognises(content)), genforce)
    return format.read(content, file)


def _is_safetensors(start, file):
    """A safetensors file begins with eight bytes, the length of its header, and the header, a JSON object."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= file.stat().st_size
