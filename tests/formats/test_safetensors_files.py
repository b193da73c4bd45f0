"""Safetensors files that are not a generator, or not whole."""

import pytest
import safetensors.torch
import torch
from reading import error_of

from models.formats import convert


@pytest.mark.parametrize(
    "tensors, metadata, named",
    [
        ({"layer0.weight": torch.zeros(2, 2)}, {}, "lod"),
        ({"conv.weight": torch.zeros(2, 2)}, {}, "ProgGAN"),
        ({"layer0.weight": torch.zeros(2, dtype=torch.int32)}, {}, "floats"),
        (None, {"conv_clamp": "much"}, "conv_clamp"),
        (None, {"conv_clamp": "-1"}, "conv_clamp"),
    ],
)
def test_other_safetensors_are_refused(tensors, metadata, named, data, tmp_path):
    tensors = tensors or torch.load(data / "stylegan2_tiny.pth")["generator_smooth"]
    safetensors.torch.save_file(tensors, tmp_path / "other.safetensors", metadata)
    assert named in error_of(tmp_path / "other.safetensors")


@pytest.mark.parametrize("kept", [0.001, 0.5, 0.999])
def test_truncated_safetensors(kept, data, tmp_path):
    convert(data / "pggan_tiny.pth", tmp_path / "cut.safetensors")
    whole = (tmp_path / "cut.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: int(kept * len(whole))])
    error_of(tmp_path / "cut.safetensors")
