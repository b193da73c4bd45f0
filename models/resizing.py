"""Images of another size, with antialiasing."""

from functools import cache

import torch
import torch.nn.functional as F


def resized(images, size, mode):
    """Images (B, C, H, W) with their shorter side, or with both sides, as `size` says, by a mode such as "bicubic".

    On a GPU they are multiplied with `resizing_matrix` from both sides: the gradient of torch's own operation adds
    numbers there in whatever order they come, and is another one each time.
    """
    if not images.is_cuda:
        # Here, since whoever wants the matrix alone need not wait for torchvision.
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.functional import resize

        return resize(images, size, InterpolationMode(mode), antialias=True)
    height, width = images.shape[-2:]
    if isinstance(size, int):
        longer = int(size * max(height, width) / min(height, width))  # as torchvision has it
        size = (longer, size) if height > width else (size, longer)
    rows, columns = (_on(images.device, *lengths, mode) for lengths in zip((height, width), size))
    with torch.autocast("cuda", enabled=False):
        return (rows @ images.float() @ columns.T).to(images.dtype)


def resizing_matrix(before, after, mode="bicubic"):
    """The matrix (after, before) by which torch resizes a row of pixels."""
    return F.interpolate(torch.eye(before)[None, None], (after, before), mode=mode, antialias=True)[0, 0]


@cache
def _on(device, before, after, mode):
    return resizing_matrix(before, after, mode).to(device)
