"""invert.py from end to end, and what it refuses."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from models.untrusted.tensor_files import load_tensors

SMALL = ["--samples=16", "--steps=3", "--no-cuda"]
OWN = '''
import torch
from torch import nn


class Painter(nn.Module):
    """Images of 16 px, whose colours and places z says, with a W of its own."""

    z_dim, resolution = 6, 16

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 3 * 16 * 16)

    def mapping(self, z):
        return torch.tanh(self.first(z))

    def synthesis(self, w):
        return torch.tanh(self.second(w)).unflatten(1, (3, 16, 16))

    def forward(self, z):
        return self.synthesis(self.mapping(z))


def build():
    return Painter()
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working directory with two pictures, and what is none."""
    place = tmp_path_factory.mktemp("place")
    noise = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((400, 480)).save(place / "one.jpg")
    Image.fromarray(noise[::-1]).save(place / "two.png")
    (place / "text.png").write_text("no picture\n")
    (place / "huge.png").write_bytes(empty_png(20_000, 10_000))
    (place / "my_gan.py").write_text(OWN)
    return place


def empty_png(width, height):
    """A PNG of a few bytes that claims so many pixels."""
    file = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    file.seek(0, io.SEEK_END)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for name, content in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b"")):
        file.write(struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content)))
    return file.getvalue()


def codes_of(process, place, gan, name="inverted"):
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    pool = place / "experiments" / "latent_codes" / gan / f"{gan}-{name}"
    return pool, sorted(path for path in pool.iterdir() if path.is_dir())


def test_pictures_become_a_pool_that_is_walked(place, data, run_warm):
    gan = f"--gan={data / 'stylegan2_tiny.pth'}"
    process = run_warm("invert.py", gan, "-v", "one.jpg", "two.png", *SMALL, cwd=place)
    pool, codes = codes_of(process, place, "stylegan2_tiny")
    assert len(codes) == 2 and f"pool: {pool.relative_to(place)}" in process.stdout
    lines = process.stdout.splitlines()
    assert lines[0].startswith("one.jpg: distance 0.") and "400 px around (200, 240)" in lines[1]
    assert lines[-1].startswith("next: python traverse_latent_space.py --w-space --pool=stylegan2_tiny-inverted")
    assert load_tensors(codes[0] / "latent_code_w+.pt").shape == (1, 10, 32)

    torch.save(torch.eye(32)[:1], place / "along.pt")
    walk = run_warm("traverse_latent_space.py", "--directions=along.pt", gan, "--stylegan-space=W", "--w-space",
                    f"--pool={pool.name}", "--shift-steps=1", "--eps=0.1", "--no-cuda", cwd=place)  # fmt: skip
    assert walk.returncode == 0, walk.stderr
    (result,) = place.glob(f"along-*/results/{pool.name}/2_0.1_0.2/{codes[0].name}")
    paths = load_tensors(result / "paths_latent_codes.pt")
    torch.testing.assert_close(paths[0, 1:2], load_tensors(codes[0] / "latent_code_w+.pt"))


@pytest.mark.parametrize("space, stored", [("Z", "latent_code_z.pt"), ("W", "latent_code_w+.pt")])
def test_a_generator_of_one_s_own_is_inverted_in_z_and_w(space, stored, place, run_warm):
    process = run_warm("invert.py", "--gan=python:my_gan.py:build", f"--stylegan-space={space}", f"--name={space}",
                       "two.png", "--no-reach", *SMALL, cwd=place)  # fmt: skip
    _, (code,) = codes_of(process, place, "my_gan.build", space)
    assert (code / stored).is_file() and "two.png: distance 0." in process.stdout


@pytest.mark.parametrize("arguments, words", [
    ("text.png", "'text.png' is not a picture"),
    ("huge.png", "64 million"),
    ("gone.png", "there is no picture gone.png"),
    (".", "'.' is not a file"),
    ("one.jpg --gan=pggan_portraits64 --stylegan-space=W+", "has no space W+"),
    ("one.jpg --gan=PGGAN --stylegan-space=W", "has no space W"),
    ("one.jpg --gan=BIGGAN", "hold a class"),
    ("one.jpg --gan=biggan-deep-128", "hold a class"),
    ("one.jpg --steps=3 --seconds=1", "leave out one of the two"),
    ("one.jpg --truncation=0.7", "--truncation goes with Z"),
    ("one.jpg --compare=vgg", "'vgg' is not a comparison"),
    ("one.jpg --compare=clip:gone.pt", "gone.pt"),
    ("one.jpg --align=face", "needs a generator of faces"),
    ("one.jpg --name=a/b", "use letters, digits"),
    ("one.jpg --stylegan-space=Z --start=mean --no-reach", "--start=samples"),
])  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(arguments, words, place, data, tmp_path, run_warm):
    files = {"PGGAN": data / "pggan_tiny.pth", "BIGGAN": data / "biggan_pytorch_tiny.pth"}
    given = arguments.split()
    if not any(one.startswith("--gan") for one in given):
        given.append(f"--gan={data / 'stylegan2_tiny.pth'}")
    for name, file in files.items():
        given = [one.replace(f"--gan={name}", f"--gan={file}") for one in given]
    for file in place.glob("*.*"):
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    before = set(tmp_path.rglob("*"))
    process = run_warm("invert.py", *given, "--no-cuda", cwd=tmp_path)
    said = [line for line in process.stderr.splitlines() if not line.endswith(" ..")]
    assert process.returncode == 2 and len(said) == 1 and words in said[0], process.stderr
    assert {path for path in set(tmp_path.rglob("*")) - before if path.is_file()} == set()


def test_help_says_that_own_code_is_run(run_warm, place):
    process = run_warm("invert.py", "-h", cwd=place)
    assert process.returncode == 0 and "code is run" in " ".join(process.stdout.split())
