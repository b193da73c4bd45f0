"""How time and memory of a training step grow: one sweep for each quantity, and a plot of all of them.

    python -m scripts.bench.scaling
    python -m scripts.bench.scaling --sweep paths dipoles --plot docs/scaling.png

    paths       K, of 64 dipoles in 512 dimensions, batch 16    only support sets and Adam
    dipoles     N, for 9 paths in 512 dimensions, batch 16      only support sets and Adam
    dimension   d, for 9 paths of 64 dipoles, batch 16          only support sets and Adam
    batch       B, on the embedded portraits                    the whole step
    micro       M of a batch of 16, on the portraits            the whole step, --micro-batch-size M
    resolution  R of a StyleGAN2 of the published widths, with CLIP ViT-B/32 (random weights), batch 1: the whole step
    processes   P that torchrun starts, on the portraits, batch 8, one thread each: train.py from its 10th iteration on

Each point is measured in a new process: the median time of its steps, and the largest growth of its memory since just
before the support sets were made (for `resolution`, since before the networks were made).
"""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

SWEEPS = {
    "paths": [8, 32, 128, 512, 2048],
    "dipoles": [8, 32, 128, 512, 2048],
    "dimension": [128, 512, 2048, 6144],
    "batch": [1, 2, 4, 8, 16, 32],
    "micro": [1, 2, 4, 8, 16],
    "resolution": [32, 64, 128, 256],
    "processes": [1, 2],
}
PATHS, DIPOLES, DIMENSION, BATCH = 9, 64, 512, 16
REPOSITORY = Path(__file__).resolve().parent.parent.parent


def growth(begin, threads):
    """begin() -> step(). The median seconds of a step, and the largest growth of memory since before begin(), in
    bytes."""
    import torch

    from scripts.bench.step import peak_resident

    torch.set_num_threads(threads)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    step, times = begin(), []
    while len(times) < 3 or (sum(times) < 3 and len(times) < 20):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return median(times[1:]), max(0, peak_resident() - before)


def support_sets_alone(paths, dipoles, dimension, threads):
    import torch

    from lib.paths.support_sets import LatentSupportSets

    def begin():
        generator = torch.Generator().manual_seed(0)
        sets = LatentSupportSets.random(paths, dipoles, dimension, dimension**0.5, 0.5, generator)
        optimizer = torch.optim.Adam(sets.parameters(), lr=1e-4)
        codes = torch.randn(BATCH, dimension, generator=generator)
        indices = torch.randint(paths, (BATCH,), generator=generator)

        def step():
            optimizer.zero_grad()
            (sets(codes, indices) * codes).sum().backward()
            optimizer.step()

        return step

    return growth(begin, threads)


def whole_step(networks, batch_size, micro_batch_size, threads):
    """networks: "portraits", or the resolution of a generator of the published widths."""
    import torch

    from lib.latent_space import latent_space
    from lib.training.step import step as train_step
    from models.clip_encoder import load_clip
    from models.load_generator import load_generator
    from scripts.bench.networks import contraclip, random_networks

    def load():
        if networks == "portraits":
            return load_generator("stylegan2_portraits64"), load_clip("clip_portraits64")
        return random_networks("stylegan2", networks)

    def begin(loaded=None):
        generator, clip_encoder = loaded or load()
        space = latent_space(generator, "W+")
        text_features = torch.randn(PATHS, 2, clip_encoder.embed_dim, generator=torch.Generator().manual_seed(0))
        method = contraclip(space, clip_encoder, text_features, DIPOLES, space.dim**0.5, batch_size=batch_size,
                            temperature=0.1, min_shift_magnitude=0.1, max_shift_magnitude=0.2)
        optimizer = torch.optim.Adam(method.trained.parameters(), lr=1e-4)
        batch = method.draw(0)

        def step():
            optimizer.zero_grad()
            train_step(method, batch, micro_batch_size=micro_batch_size)
            optimizer.step()

        return step

    if networks == "portraits":
        loaded = load()
        return growth(lambda: begin(loaded), threads)
    return growth(begin, threads)


def processes_together(count):
    """Seconds an iteration of train.py on `count` processes, from the 10th to the 40th, and no memory."""
    elapsed = []
    for iterations in (10, 40):
        flags = ["--gan=stylegan2_portraits64", "--stylegan-space=W+", "--corpus=attributes", "--loss=contrastive",
                 "--batch-size=8", f"--max-iter={iterations}", "--no-cuda"]  # fmt: skip
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        with tempfile.TemporaryDirectory() as directory:
            start = time.perf_counter()
            subprocess.run([*launcher, REPOSITORY / "train.py", *flags], cwd=directory, check=True, capture_output=True,
                           env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)})  # fmt: skip
            elapsed.append(time.perf_counter() - start)
    return (elapsed[1] - elapsed[0]) / 30, None


def measure(sweep, value, threads):
    """(seconds, bytes) of one point. To be called in a new process."""
    alone = {"paths": PATHS, "dipoles": DIPOLES, "dimension": DIMENSION}
    if sweep in alone:
        return support_sets_alone(*(alone | {sweep: value}).values(), threads)
    if sweep == "processes":
        return processes_together(value)
    batch = {"batch": value, "micro": BATCH, "resolution": 1}[sweep]
    networks = value if sweep == "resolution" else "portraits"
    return whole_step(networks, batch, value if sweep == "micro" else None, threads)


def plot(found, path):
    """One panel for each sweep: time on the left axis, memory on the right, both logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(3.6 * columns, 3 * rows), squeeze=False)
    for panel in axes.flat[len(found) :]:
        panel.axis("off")
    for panel, (sweep, points) in zip(axes.flat, found.items()):
        values = [value for value, _, _ in points]
        panel.plot(values, [1000 * seconds for _, seconds, _ in points], "o-", color="tab:blue")
        panel.set(title=sweep, xscale="log", yscale="log")
        panel.set_xticks(values, [str(value) for value in values], minor=False)
        panel.set_xticks([], minor=True)
        panel.set_ylabel("ms per step", color="tab:blue")
        if points[0][2] is not None:
            other = panel.twinx()
            other.plot(values, [max(size, 2**17) / 2**20 for _, _, size in points], "s--", color="tab:red")
            other.set_yscale("log")
            other.set_ylabel("MiB", color="tab:red")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweep", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: one per core")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="needs matplotlib")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where results are kept, and read from if they exist")
    args = parser.parse_args()
    found = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    spawn = multiprocessing.get_context("spawn")
    for sweep in args.sweep:
        if sweep not in found:
            found[sweep] = []
            for value in SWEEPS[sweep]:
                with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                    found[sweep].append((value, *pool.submit(measure, sweep, value, args.threads).result()))
            if args.json:
                args.json.write_text(json.dumps(found))
        print(f"\n| {sweep} | ms per step | MiB |\n|---|---|---|")
        for value, seconds, size in found[sweep]:
            print(f"| {value} | {1000 * seconds:.3g} | {'-' if size is None else f'{size / 2**20:.0f}'} |", flush=True)
    if args.plot:
        plot({sweep: found[sweep] for sweep in args.sweep}, args.plot)


if __name__ == "__main__":
    main()
