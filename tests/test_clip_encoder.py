"""The encoder against the package `clip` itself, and what it says of files and names it cannot use."""

import re
import subprocess
import sys
import urllib.error

import numpy as np
import pytest
import torch
from PIL import Image

from models import clip_encoder
from models.clip_encoder import CLIPEncoder, clip, load_clip
from models.errors import UserError


def small_clip(vision_layers=(1, 1, 1, 1), vision_width=8, patch=None, context_length=77):
    torch.manual_seed(0)
    return clip.model.CLIP(16, 32, vision_layers, vision_width, patch, context_length, 49408, 64, 1, 1)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "small.pt"
    state = {name: value.half() if value.is_floating_point() else value
             for name, value in small_clip().state_dict().items()}
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def encoder(file):
    return load_clip(file)


def picture(height, width):
    pixels = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.BICUBIC)


def test_half_precision_file_is_loaded_frozen_in_float32(encoder):
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in encoder.parameters())
    assert not any(module.training for module in encoder.train().modules())
    assert (encoder.embed_dim, encoder.resolution, encoder.context_length) == (16, 32, 77)


def test_vision_transformer_file(tmp_path):
    model = small_clip(vision_layers=1, vision_width=64, patch=16)
    torch.save(model.state_dict(), tmp_path / "vit.pt")
    assert load_clip(tmp_path / "vit.pt").encode_images(torch.zeros(2, 3, 40, 32)).shape == (2, 16)


def test_text_features_are_the_package_s(encoder):
    sentences = ["a photo of a face with makeup.", "a photo of a face without makeup."]
    with torch.no_grad():
        expected = encoder.model.encode_text(clip.tokenize(sentences))
    torch.testing.assert_close(encoder.encode_text(sentences), expected)


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (50, 71), (97, 40), (20, 24)])
def test_images_are_prepared_as_the_package_prepares_them(encoder, size):
    seen = []
    hook = encoder.model.visual.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = picture(*size)
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1
    encoder.encode_images(tensor)
    hook.remove()
    expected = clip.clip._transform(32)(image)
    # The package rounds to whole grey levels (0.015 here) and clips what a bicubic overshoots.
    assert (seen[0][0] - expected).abs().median() < 0.01
    assert (seen[0][0] - expected).abs().mean() < 0.03


@pytest.mark.parametrize("side", [32, 48])
def test_gradients_reach_the_images_alone(encoder, side):
    images = torch.rand(2, 3, side, side, requires_grad=True)
    encoder.encode_images(images).square().sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(p.grad is None for p in encoder.parameters())


def test_features_of_an_image_do_not_depend_on_its_batch(encoder):
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    torch.testing.assert_close(encoder.encode_images(images)[:1], encoder.encode_images(images[:1]),
                               rtol=1e-4, atol=1e-5)


def test_a_sentence_too_long_is_quoted():
    encoder = CLIPEncoder(small_clip(context_length=8))
    assert encoder.encode_text(["one two three four five six"]).shape == (1, 16)
    with pytest.raises(UserError, match=r"'one two three four five six seven' .* up to 6 tokens"):
        encoder.encode_text(["short", "one two three four five six seven"])


@pytest.mark.parametrize("name, advice", [
    ("RN51", "did you mean RN50?"), ("nowhere/model.pt", "there is no file"), ("ViT-B/33", "did you mean ViT-B/32?"),
    (".", "give a file, or one of"),
])
def test_neither_name_nor_file(name, advice):
    with pytest.raises(UserError, match=re.escape(advice)) as caught:
        load_clip(name)
    assert "\n" not in str(caught.value)


def unreadable(kind, path, whole):
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not weights")
    elif kind == "truncated":
        path.write_bytes(whole.read_bytes()[:100_000])
    elif kind == "other network":
        torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    elif kind == "tensor":
        torch.save(torch.zeros(3), path)
    elif kind == "empty state":
        torch.save({}, path)
    elif kind == "module":
        torch.save(torch.nn.Linear(2, 2), path)
    elif kind == "missing weight":
        state = torch.load(whole, weights_only=True)
        del state["visual.bn1.weight"]
        torch.save(state, path)
    elif kind == "other script":
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "other network", "tensor", "empty state", "module",
                                  "missing weight", "other script"])
def test_a_file_that_holds_no_clip(kind, tmp_path, file):
    path = tmp_path / "model.pt"
    unreadable(kind, path, file)
    with pytest.raises(UserError, match="holds no CLIP") as caught:
        load_clip(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_weights_that_cannot_be_fetched(monkeypatch, tmp_path):
    def offline(url, root):
        with open(f"{root}/half", "wb") as output:
            output.write(b"half a file")
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(clip_encoder, "CACHE", tmp_path)
    monkeypatch.setattr(clip.clip, "_download", offline)
    with pytest.raises(UserError, match="no network") as caught:
        load_clip("ViT-B/32")
    assert str(tmp_path / "ViT-B-32.pt") in str(caught.value) and "https://" in str(caught.value)
    assert not list(tmp_path.iterdir())


IMPORT = "import sys, models.clip_encoder; assert 'open_clip' not in sys.modules"


def test_import_is_silent_and_leaves_out_what_is_extra():
    done = subprocess.run([sys.executable, "-W", "always", "-c", IMPORT], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("package", ["open_clip", "tokenizers"])
def test_extra_that_is_not_installed(package, monkeypatch):
    monkeypatch.delitem(sys.modules, "models.open_clip_encoder", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install -r requirements-open-clip\.txt") as caught:
        load_clip("open_clip:ViT-B-16-SigLIP/webli")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(file, encoder):
    on_gpu = load_clip(file, "cuda")
    images = torch.rand(2, 3, 48, 48) * 2 - 1
    torch.testing.assert_close(on_gpu.encode_images(images.cuda()).cpu(), encoder.encode_images(images),
                               rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(on_gpu.encode_text(["a face"]).cpu(), encoder.encode_text(["a face"]),
                               rtol=1e-2, atol=1e-3)
