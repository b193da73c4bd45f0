"""Resizing on a GPU: products with matrices, which give what torchvision gives."""

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resize

from models import resizing


class OnGPU:
    """Images that say that they are on a GPU."""

    is_cuda, device, dtype = True, torch.device("cpu"), torch.float32

    def __init__(self, images):
        self.images, self.shape = images, images.shape

    def float(self):
        return self.images


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape, size", [((64, 64), 224), ((256, 256), 224), ((40, 64), 24), ((65, 40), 24),
                                         ((40, 64), [30, 50])])  # fmt: skip
def test_products_with_matrices_are_torchvisions_images_and_gradients(shape, size, mode):
    images = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    expected = resize(images, size, InterpolationMode(mode), antialias=True)
    found = resizing.resized(OnGPU(images), size, mode)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    direction = torch.linspace(-1, 1, expected.numel()).reshape(expected.shape)
    gradients = [torch.autograd.grad(one, images, direction)[0] for one in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-4)


def test_on_a_cpu_they_are_torchvisions_to_the_bit():
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(resizing.resized(images, 224, "bicubic"), resize(images, 224, InterpolationMode.BICUBIC))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gradients_on_a_gpu_are_the_same_each_time():
    images = torch.rand(4, 3, 256, 256, device="cuda").requires_grad_()
    direction = torch.rand(4, 3, 224, 224, device="cuda")
    first, second = (torch.autograd.grad(resizing.resized(images, 224, "bicubic"), images, direction)[0] for _ in "ab")
    assert torch.equal(first, second)
