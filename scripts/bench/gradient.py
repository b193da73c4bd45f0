"""What --precision, --synthesis-resolution and --micro-batch-size do to a step's gradient, time and memory.

    python -m scripts.bench.gradient --gan stylegan2_portraits64 --batch-size 9
    python -m scripts.bench.gradient --gan stylegan2 --resolution 256 --batch-size 3 --threads 2

The name of a generator stands for its weights, its CLIP and the nine paths of `attributes`; `stylegan2` and `pggan`
stand for random weights of the published shapes and of a CLIP ViT-B/32. The cosine is between the gradient of the
support sets and that of the same batch in float32, at full resolution, in one pass. Memory is the GPU's peak, or on the
CPU the most that autograd holds for a backward pass at any time.
"""

import argparse
import sys
import time
from statistics import median

PATHS, DIPOLES = 9, 64


def parse(arguments):
    p = argparse.ArgumentParser(
        prog="python -m scripts.bench.gradient", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("--gan", default="stylegan2_portraits64",
                   help="a generator's name, or stylegan2 or pggan for random weights")
    p.add_argument("--resolution", type=int, choices=(256, 1024), default=256, help="with random weights")
    p.add_argument("--batch-size", type=int, default=9)
    p.add_argument("--micro-batch-sizes", type=int, nargs="*", default=[1, 3], metavar="M")
    p.add_argument("--synthesis-resolutions", type=int, nargs="*", metavar="R", help="default: a half and a quarter")
    p.add_argument("--precisions", nargs="*", choices=("tf32", "bf16", "fp16"), help="default: all that have an effect")
    p.add_argument("--repeats", type=int, default=3, help="timed steps, after one that is not timed")
    p.add_argument("--threads", type=int, help="CPU threads")
    p.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    return p.parse_args(arguments)


def build(args, device):
    """ContraCLIP on the generator and CLIP that the arguments name."""
    import torch

    from lib.config import CLIP_OF
    from lib.dipoles import encode_dipoles, load_corpus
    from lib.latent_space import latent_space
    from models.clip_encoder import load_clip
    from models.load_generator import load_generator
    from scripts.bench.networks import contraclip, random_networks

    if args.gan in ("stylegan2", "pggan"):
        generator, encoder = random_networks(args.gan, args.resolution)
        space = latent_space(generator.to(device), "W+" if args.gan == "stylegan2" else "Z")
        features = torch.randn(PATHS, 2, 512)
    else:
        generator, encoder = load_generator(args.gan, device), load_clip(CLIP_OF.get(args.gan, "ViT-B/32"))
        space = latent_space(generator, "W" if "W" in generator.family.spaces else "Z")
        features = encode_dipoles(load_corpus("attributes"), encoder)
    radius = 1.2 * space.dim**0.5  # about the Jung radius of Z, and of the portraits' W
    return contraclip(space, encoder.to(device), features, DIPOLES, radius, batch_size=args.batch_size,
                      temperature=0.1, min_shift_magnitude=0.4, max_shift_magnitude=0.8)


class Held:
    """Counts the bytes that autograd holds for a backward pass."""

    now = most = 0

    def __init__(self, tensor):
        self.tensor = tensor
        Held.now += tensor.nbytes
        Held.most = max(Held.most, Held.now)

    def __del__(self):
        Held.now -= self.tensor.nbytes


def measure(args, method, precision="fp32", resolution=None, micro=None):
    """(gradient, median seconds, megabytes) of a step."""
    import torch

    from lib.training.frozen import FrozenHalf
    from lib.training.step import step

    device, sets = method.space.device, method.trained
    batch = [tensor.to(device) for tensor in method.draw(0)]
    frozen = FrozenHalf(method.see, precision)
    method.space.resolution, seconds = resolution, []
    for _ in range(args.repeats + 1):
        sets.zero_grad()
        began = time.perf_counter()
        step(method, batch, frozen, micro)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    gradient = torch.cat([parameter.grad.flatten() for parameter in sets.parameters()])
    sets.zero_grad()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step(method, batch, frozen, micro)
        most = torch.cuda.max_memory_allocated()
    else:
        Held.now = Held.most = 0
        with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
            step(method, batch, frozen, micro)
        most = Held.most
    return gradient, median(seconds[1:]), most / 1e6


def main(arguments):
    args = parse(arguments)

    import torch

    from lib.training.trainer import gradient_cosine

    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if args.threads:
        torch.set_num_threads(args.threads)
    method = build(args, device)
    generator = method.space.generator
    precisions = args.precisions or (["tf32"] if device.type == "cuda" else []) + ["bf16", "fp16"]
    halves = generator.image_sizes[-3:-1][::-1]
    resolutions = args.synthesis_resolutions if args.synthesis_resolutions is not None else halves
    rows = [("fp32, whole", {})]
    rows += [(f"--precision={name}", {"precision": name}) for name in precisions]
    rows += [(f"--synthesis-resolution={size}", {"resolution": size}) for size in resolutions]
    rows += [(f"--micro-batch-size={size}", {"micro": size}) for size in args.micro_batch_sizes]
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{args.gan}, {generator.resolution} px, batch {args.batch_size}, {where}, torch {torch.__version__}\n")
    print("| step | cosine | seconds | time | MB | memory |\n|---|---|---|---|---|---|")
    exact = None
    for name, options in rows:
        gradient, seconds, megabytes = measure(args, method, **options)
        exact = exact or (gradient, seconds, megabytes)
        print(f"| `{name}` | {gradient_cosine(gradient, exact[0]):.6f} | {seconds:.2f} | {seconds / exact[1]:.2f} | "
              f"{megabytes:.0f} | {megabytes / exact[2]:.2f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
