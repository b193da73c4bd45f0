"""The plain PyTorch twins of the kernels: they define what is computed, and are used wherever the kernels are not."""

import torch.nn.functional as F


def upfirdn2d(x, kernel, up, down, padding):
    """As `models.ops.upfirdn2d`, for a kernel (kh, kw); up and down: (vertical, horizontal)."""
    batch, channels, height, width = x.shape
    if up != (1, 1):
        spread = x.new_zeros(batch, channels, height, up[0], width, up[1])
        spread[:, :, :, 0, :, 0] = x
        x = spread.view(batch, channels, height * up[0], width * up[1])
    x = F.pad(x, padding)
    return F.conv2d(x, kernel.to(x.dtype).expand(channels, 1, -1, -1), stride=down, groups=channels)


def bias_act(x, bias, noise, slope, gain, clamp):
    """As `models.ops.bias_act`."""
    y = x if noise is None else x + noise.to(x.dtype)
    if bias is not None:
        y = y + bias.to(x.dtype)[:, None, None]
    y = F.leaky_relu(y, slope, inplace=y is not x)  # no derivative needs the sum, so a tensor is saved
    if gain != 1:
        y = y * gain
    return y if clamp is None else y.clamp(-clamp, clamp)
