"""What training asks of a GPU, so that a run gives the same weights each time, and its end."""

import pytest
import torch
from torch.utils import deterministic

from lib.training.repeatable import repeatable


def settings():
    cudnn, attention = torch.backends.cudnn, torch.backends.cuda
    return {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "filled": deterministic.fill_uninitialized_memory,
        "cudnn": (cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32),
        "attention": (attention.math_sdp_enabled(), attention.mem_efficient_sdp_enabled()),
    }


def test_a_gpu_is_asked_for_the_same_sums_until_the_end():
    before = settings()
    with pytest.raises(KeyboardInterrupt), repeatable("cuda"):
        assert settings() == {"deterministic": True, "warn_only": True, "filled": False,
                              "cudnn": (True, False, False), "attention": (True, False)}  # fmt: skip
        raise KeyboardInterrupt
    assert settings() == before


def test_a_cpu_is_left_alone():
    before = settings()
    with repeatable(torch.device("cpu")):
        assert settings() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gradient_through_clip_is_the_same_each_time(tiny_clip_file):
    from models.clip_encoder import load_clip

    encoder, images = load_clip(tiny_clip_file, "cuda"), torch.rand(8, 3, 256, 256, device="cuda").requires_grad_()
    with repeatable("cuda"):
        first, second = (torch.autograd.grad(encoder.encode_images(images).sum(), images)[0] for _ in "ab")
    assert torch.equal(first, second)
