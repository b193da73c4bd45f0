"""The training step, compared with the plain one and with what the arithmetic allows: time and memory.

    python -m scripts.bench.step
    python -m scripts.bench.step --gan stylegan2 --resolution 256 --batch-size 3 --repeats 5 --threads 2
    python -m scripts.bench.step --gan biggan biggan-deep --resolution 128 256

Generators of the published shapes and a CLIP ViT-B/32, both with random weights; nine paths of 64 dipoles, in W+ layers
0 to 11 for StyleGAN2. The plain step is in `plain.py`, ours is `lib.training.step.step`; Adam follows either.
Both run in turn in one process, on the same batch. The table has the medians, and the command fails if the two disagree
on the gradient of the support sets. Peak memory is measured in a new process for each.

The floor is the time that the arithmetic needs: the multiplications and additions of direct convolutions, one forward
pass for the plain images, one forward and one backward pass for the shifted ones, at the rate of a large float32 matrix
product in the same run. A step can be faster only by needing fewer multiplications.
"""

import argparse
import sys

from scripts.bench.networks import RESOLUTIONS

NUM_PATHS, NUM_DIPOLES = 9, 64
OBJECTIVE = ("nonlinear", "contrastive", 0.5)
SHIFT_RANGE = (0.25, 0.45)
LEAST_COSINE = 0.9999  # between the two steps' gradients
MATRIX = {"cpu": 4096, "cuda": 16384}  # side of the matrices whose product gives the rate


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench.step", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gan", nargs="+", choices=RESOLUTIONS, default=["stylegan2", "pggan"])
    parser.add_argument("--resolution", nargs="+", type=int, choices=[128, 256, 512, 1024], default=[256, 1024],
                        help="of each generator, those that it is published with (default: 256 1024)")
    parser.add_argument("--batch-size", nargs="+", type=int, default=[3, 9])
    parser.add_argument("--device", default=None, help="cpu or cuda (default: cuda where there is one)")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: torch's own choice)")
    parser.add_argument("--repeats", type=int, default=5, help="timed steps of each kind (default: 5)")
    parser.add_argument("--processor-time", action="store_true",
                        help="CPU: measure processor time instead of elapsed time, for a machine with other work; it "
                        "is the sum over all threads, so use --threads 1")
    parser.add_argument("--no-plain", action="store_true", help="measure only our step")
    return parser.parse_args(arguments)


class Bench:
    """Both steps of one setting, on one batch."""

    def __init__(self, gan, resolution, batch_size, device, threads):
        import torch

        from lib.latent_space import latent_space
        from scripts.bench.networks import contraclip, random_networks

        if threads:
            torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        generator, clip_encoder = (network.to(device) for network in random_networks(gan, resolution))
        self.space = latent_space(generator, "W+" if gan == "stylegan2" else "Z")
        self.clip_encoder = clip_encoder
        self.method = contraclip(
            self.space, clip_encoder, torch.randn(NUM_PATHS, 2, 512), NUM_DIPOLES, self.space.dim**0.5,
            batch_size=batch_size, css_beta=0.75, temperature=OBJECTIVE[2],
            min_shift_magnitude=SHIFT_RANGE[0], max_shift_magnitude=SHIFT_RANGE[1],
        )  # fmt: skip
        self.support_sets = self.method.trained
        self.optimizer = torch.optim.Adam(self.support_sets.parameters(), lr=1e-6)
        self.batch = [tensor.to(device) for tensor in self.method.draw(0)]
        self.device = device

    def step(self, kind):
        """One whole iteration -> the gradient of the support sets."""
        from lib.training.repeatable import repeatable
        from lib.training.step import step
        from scripts.bench import plain

        networks = [self.space.generator, self.clip_encoder]
        for network in networks:
            network.requires_grad_(kind == "plain")
            network.zero_grad()
        self.optimizer.zero_grad()
        if kind == "plain":
            rest = self.support_sets, self.method.text, self.batch, OBJECTIVE
            plain.step_loss(self.space, self.clip_encoder, *rest).backward()
        else:
            with repeatable(self.device):  # as in train.py
                step(self.method, self.batch)
        self.optimizer.step()
        return self.support_sets.SUPPORT_SETS.grad

    def seconds(self, kind, clock):
        """Time of one step."""
        import torch

        synchronise = torch.cuda.synchronize if self.device == "cuda" else lambda: None
        synchronise()
        start = clock()
        self.step(kind)
        synchronise()
        return clock() - start

    def check(self):
        """Cosine of the two gradients. (The first step changes the support sets too little to matter.)"""
        from lib.training.trainer import gradient_cosine

        return gradient_cosine(self.step("plain"), self.step("ours"))

    def operations(self):
        """The floating-point operations that a step needs with direct convolutions."""
        from torch.utils.flop_counter import FlopCounterMode

        from scripts.bench import plain

        # With gradients enabled for the weights, since attention otherwise uses a kernel that the counter does not
        # know.
        self.space.generator.requires_grad_(True)
        self.clip_encoder.requires_grad_(True)
        codes = self.space.codes_of(self.batch[0][:1])
        with FlopCounterMode(display=False) as counter:
            self.clip_encoder.encode_images(plain.images_of(self.space.generator, codes))
        return 3 * len(self.batch[0]) * counter.get_total_flops()


def peak_memory(kind, *setting):
    """Bytes that a process needs for two steps of this kind, including weights and libraries; None if it runs out of
    memory. To be called in a new process."""
    import torch

    if setting[-2] == "cpu":
        limit_memory()
    try:
        bench = Bench(*setting)
        for _ in range(2):
            bench.step(kind)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if "memory" not in str(error):
            raise
        return None
    if setting[-2] == "cuda":
        return torch.cuda.max_memory_allocated()
    return peak_resident()


def peak_resident():
    """The peak memory of this process, in bytes. (`getrusage` would include that of its parent.)"""
    import re
    from pathlib import Path

    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def limit_memory():
    """Limit the memory of this process, so that it fails before the machine runs out of memory."""
    import resource
    from pathlib import Path

    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    resource.setrlimit(resource.RLIMIT_DATA, (available * 1024, resource.RLIM_INFINITY))


def fresh_process(function, *arguments):
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def matrix_rate(device, clock):
    """Floating-point operations per second of a large float32 matrix product: the best of five."""
    import torch

    side = MATRIX[device]
    a = torch.randn(side, side, device=device)
    times = []
    for _ in range(6):
        start = clock()
        (a @ a)[0, 0].item()  # waits for the device
        times.append(clock() - start)
    return 2 * side**3 / min(times[1:])


def row(gan, resolution, batch_size, options):
    """Measure one setting -> its row of the table, whether the gradients agree, and the rate of a matrix product."""
    import time
    from statistics import median

    clock = time.process_time if options.processor_time else time.perf_counter
    setting = (gan, resolution, batch_size, options.device, options.threads)
    kinds = ["ours"] if options.no_plain else ["plain", "ours"]
    memory = {kind: fresh_process(peak_memory, kind, *setting) for kind in kinds}
    kinds = [kind for kind in kinds if memory[kind]]
    bench = Bench(*setting)
    cosine = bench.check() if len(kinds) == 2 else None
    times = {kind: [] for kind in kinds}
    rates = []
    for _ in range(options.repeats):
        rates.append(matrix_rate(options.device, clock))
        for kind in kinds:
            times[kind].append(bench.seconds(kind, clock))
    typical = {kind: median(values) for kind, values in times.items()}
    floor = bench.operations() / median(rates)

    def shown(values, form):
        return [form.format(values[kind]) if values.get(kind) else "-" for kind in ("plain", "ours")]

    gib = {kind: value and value / 2**30 for kind, value in memory.items()}
    pair = len(typical) == 2
    cells = [f"{gan} {resolution}", str(batch_size), *shown(typical, "{:.3g}")]
    cells += [f"{typical['plain'] / typical['ours']:.2f}" if pair else "-", f"{floor:.3g}"]
    cells += [*shown(gib, "{:.2f}"), f"{cosine:.6f}" if pair else "-"]
    return "| " + " | ".join(cells) + " |", cosine is None or cosine > LEAST_COSINE, median(rates)


def machine(device):
    import platform

    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    if device == "cpu" and sys.platform == "linux":
        from pathlib import Path

        name = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line)
        name = f"{name.split(': ')[1]}, {torch.get_num_threads()} threads"
    return f"{name}, torch {torch.__version__}"


def main(arguments):
    options = parse(arguments)
    import torch

    if options.device is None:
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.threads:
        torch.set_num_threads(options.threads)
    unit = "processor time" if options.processor_time else "time"
    print(f"{machine(options.device)}; {unit}, median of {options.repeats}\n")
    print("| generator | batch | plain s | ours s | ratio | floor s | plain GiB | ours GiB | cosine |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    agree, rates = True, []
    for gan in options.gan:
        for resolution in (size for size in options.resolution if size in RESOLUTIONS[gan]):
            for batch_size in options.batch_size:
                line, fine, rate = row(gan, resolution, batch_size, options)
                print(line, flush=True)
                agree &= fine
                rates.append(rate)
    if not rates:
        sys.exit(f"none of the generators is published with {options.resolution} px: see {RESOLUTIONS}")
    print(f"\nA float32 matrix product ran at {min(rates) / 1e9:.0f} to {max(rates) / 1e9:.0f} GFLOP/s.")
    if not agree:
        sys.exit(f"the two steps' gradients differ: a cosine is not above {LEAST_COSINE}")


if __name__ == "__main__":
    main(sys.argv[1:])
