"""How fast the CUDA kernels are, against the plain PyTorch that they take the place of and against the memory's speed.

    python -m scripts.bench.kernels
    python -m scripts.bench.kernels --batch-size 8 --repeats 50

Each of a StyleGAN2 layer's operations, in the shapes of the published networks: milliseconds of the GPU, the median of
some repetitions, and what share the kernel reaches of the rate at which the same GPU copies a large tensor. It fails
where kernel and plain PyTorch differ by more than their type's rounding. It needs a GPU.
"""

import argparse

from lib.command_line import run
from models.errors import UserError

# name: (channels, pixels per side before it)
LAYERS = {"512 channels, 64 px": (512, 64), "256 channels, 128 px": (256, 128), "64 channels, 512 px": (64, 512),
          "32 channels, 1024 px": (32, 1024)}  # fmt: skip
TYPES = ("float32", "float16", "bfloat16")
COPIED = 1 << 30  # bytes, many times what a GPU's caches hold


def parse(arguments):
    p = argparse.ArgumentParser(prog="python -m scripts.bench.kernels", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--batch-size", type=int, default=4)
    p.add_argument("--types", nargs="+", choices=TYPES, default=list(TYPES))
    p.add_argument("--repeats", type=int, default=30)
    return p.parse_args(arguments)


def seconds(call, repeats):
    """The GPU's median time of a call, after three that are not counted."""
    import torch

    for _ in range(3):
        call()
    found = []
    for _ in range(repeats):
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        call()
        ended.record()
        ended.synchronize()
        found.append(begun.elapsed_time(ended) / 1000)
    return sorted(found)[len(found) // 2]


def copy_rate(repeats):
    """Bytes per second of a copy, those read and those written."""
    import torch

    source = torch.empty(COPIED, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    return 2 * COPIED / seconds(lambda: target.copy_(source), repeats)


def operations(channels, side, noise, bias):
    """(name, function of x and the module or `reference` that computes it, size of x) of a layer's operations."""
    from models.stylegan2 import ACTIVATION_GAIN, LEAKY_SLOPE, blur_kernel

    kernel = blur_kernel()[0, 0].to(bias.device)
    # After a transposed convolution, which leaves one pixel more; then what follows it; then the image's upsampling.
    yield "filter", lambda ops, x: ops.upfirdn2d(x, kernel, *_pairs(ops, 1), (1, 1, 1, 1)), (channels, side + 1)
    yield ("noise, bias, activation",
           lambda ops, x: ops.bias_act(x, bias, noise, LEAKY_SLOPE, ACTIVATION_GAIN, None), (channels, side))
    yield "upsampled image", lambda ops, x: ops.upfirdn2d(x, kernel, *_pairs(ops, 2), (2, 1, 2, 1)), (3, side)


def _pairs(ops, up):
    return (up, up), (1, 1)


def compared(function, x, repeats):
    """{(pass, which): seconds} of forward and backward passes by kernel and plain PyTorch.

    Raises UserError where images or gradients differ by more than rounding. Where an activation is nearly 0, rounding
    may decide its sign and so its slope: these gradients are not compared.
    """
    import torch

    from models import ops
    from models.ops import reference

    found, outcomes = {}, {}
    for which, module in (("plain", reference), ("kernel", ops)):
        given = x.clone().requires_grad_()
        y = function(module, given)
        direction = torch.linspace(-1, 1, y.numel(), device=y.device).reshape(y.shape).to(y.dtype)
        (gradient,) = torch.autograd.grad(y, given, direction, retain_graph=True)
        outcomes[which] = y.detach(), gradient
        with torch.no_grad():
            found["forward", which] = seconds(lambda module=module: function(module, x), repeats)
        found["backward", which] = seconds(
            lambda y=y, given=given, direction=direction: torch.autograd.grad(y, given, direction, retain_graph=True),
            repeats)  # fmt: skip
    tolerance = 8 * torch.finfo(x.dtype).eps
    y = outcomes["plain"][0]
    clear = y.abs() > 0.01 if y.shape == x.shape else torch.ones((), dtype=torch.bool, device=x.device)
    for kernel, plain, where in zip(outcomes["kernel"], outcomes["plain"], (torch.ones_like(clear), clear)):
        difference = ((kernel.float() - plain.float()).abs() * where).max() / plain.float().abs().max()
        if not difference <= tolerance:
            raise UserError(f"kernel and plain PyTorch differ by {difference:.1e} of the largest value")
    moved = x.element_size() * (x.numel() + outcomes["kernel"][0].numel())
    return found, moved


def main(arguments):
    args = parse(arguments)
    import torch

    from models.ops import set_ops

    set_ops("cuda")
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = False
    rate = copy_rate(args.repeats)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batch {args.batch_size}; "
          f"a copy moves {rate / 1e12:.2f} TB/s\n")
    print("| layer | operation | type | forward ms, plain | kernel | ratio | of a copy's rate | backward ms, plain "
          "| kernel | ratio |\n" + "|---" * 10 + "|")
    for layer, (channels, side) in LAYERS.items():
        noise, bias = torch.randn(1, 1, side, side, device="cuda"), torch.randn(channels, device="cuda")
        for name, function, (depth, width) in operations(channels, side, noise, bias):
            for kind in args.types:
                x = torch.randn(args.batch_size, depth, width, width, device="cuda", dtype=getattr(torch, kind))
                found, moved = compared(function, x, args.repeats)
                print(row(layer, name, kind, found, moved / rate), flush=True)


def row(layer, name, kind, found, floor):
    cells = [layer, name, kind]
    for which in ("forward", "backward"):
        plain, kernel = found[which, "plain"], found[which, "kernel"]
        cells += [f"{1000 * plain:.3f}", f"{1000 * kernel:.3f}", f"{plain / kernel:.1f}"]
        cells += [f"{100 * floor / kernel:.0f}%"] if which == "forward" else []
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    run(main)
