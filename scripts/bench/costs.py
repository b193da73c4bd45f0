"""What a generator costs with the default recipe: an iteration of train.py, a walk, an evaluation.

    python -m scripts.bench.costs
    python -m scripts.bench.costs --generator portraits faces
    python -m scripts.bench.costs --device cuda

Processor time of one thread, and the most memory of a process that trains, libraries and weights included; on a GPU,
the clock's time, and the GPU's memory. A row each:

    iteration    of --loss=paired with four codes for each path, both ends of which are seen
    walk         one path from one code: 33 images and their film
    evaluation   one path from one code: 14 images with their judge, without LPIPS
    samples      2,000 of the generator, as its judge reads them once

At 64 px, and on a GPU, iterations and walks are measured as they are. Of larger networks, of the published shapes with
random weights, a CPU is given one code by --micro-batch-size=1 and a walk of nine images, and what an iteration of nine
paths and a whole walk take follows from the numbers of images; so do the samples of all. GFLOP is the arithmetic of one
image through generator and CLIP: a GPU of F TFLOP/s takes at least 72 * 3 * GFLOP / F milliseconds for an iteration,
one pass forward and one of twice that backward.
"""

import argparse
import time

from scripts.bench.step import fresh_process, machine, peak_resident

EMBEDDED = {  # generator, truncation, corpus, judge
    "portraits": ("stylegan2_portraits64", 0.7, "attributes", "portraits"),
    "faces": ("dcgan_faces64", 0.85, "faces", "faces64"),
}
PUBLISHED = {"stylegan2_256": 256, "stylegan2_512": 512, "stylegan2_1024": 1024}
PATHS = 9  # of which the published shapes' iteration is reckoned
STEPS, FEW_STEPS, EPS, STEPS_READ, SAMPLES = 16, 4, 0.1, 5, 2000


class Costs:
    """The networks of a row, and what they take."""

    def __init__(self, name, device="cpu"):
        import torch

        from lib.latent_space import latent_space
        from models.load_generator import load_generator
        from scripts.bench.networks import random_networks

        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.device, self.is_embedded = device, name in EMBEDDED
        self.is_whole = self.is_embedded or device == "cuda"
        if self.is_embedded:
            self.gan, truncation, self.corpus, self.judge_name = EMBEDDED[name]
            generator, self.clip = load_generator(self.gan), None
        else:
            self.gan, truncation, self.corpus = "", 0.7, "attributes"
            generator, self.clip = random_networks("stylegan2", PUBLISHED[name])
            self.clip.to(device)
        generator.to(device)
        self.space = latent_space(generator, "W" if "W" in generator.family.spaces else "Z", truncation=truncation)

    def clock(self):
        """Seconds: the processor's, or the clock's once the GPU is done."""
        import torch

        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def method(self):
        """The default method, begun without its text start."""
        from lib.config import CLIP_OF
        from lib.methods.dipole_paths import PAIRED, ContraCLIPSettings
        from lib.methods.paired import PairedContraCLIP

        settings = ContraCLIPSettings(gan=self.gan, corpus=self.corpus, clip_model=CLIP_OF.get(self.gan, ""), **PAIRED)
        labels = PairedContraCLIP.find_labels(settings)
        method = PairedContraCLIP(settings, self.space, labels)
        if self.clip is None:
            method.load_text(self.device)
        else:
            method.clip_encoder = self.clip
        batch_size = PairedContraCLIP.batch_size(settings, len(labels)) if self.is_whole else 1
        method.settings = type(settings)(**{**vars(settings), "batch_size": batch_size})
        method.begin_roughly()
        return method

    def iteration(self):
        """(seconds of an iteration, bytes at most)."""
        import torch

        from lib.training.repeatable import repeatable
        from lib.training.step import step, to_device

        method, micro = self.method(), None if self.is_whole else 1
        optimizer = method.optimizer()
        for _ in range(2):  # the first one warms up
            begin = self.clock()
            with repeatable(self.device):
                step(method, to_device(method.draw(0), self.device), micro_batch_size=micro)
            optimizer.step()
            seconds = self.clock() - begin
        peak = peak_resident() if self.device == "cpu" else torch.cuda.max_memory_allocated()
        images, usual = 2 * method.settings.batch_size, 2 * 4 * PATHS
        return seconds if self.is_whole else seconds / images * usual, peak

    def operations(self):
        """Floating-point operations of one image, from its code to its features, with direct convolutions."""
        from torch.utils.flop_counter import FlopCounterMode

        method = self.method()
        for network in (method.clip_encoder, self.space.generator):
            network.requires_grad_(True)  # frozen ones compute in ways that the counter does not know
        codes = self.space.codes_of(method.draw(0)[0][:1].to(self.device))
        with FlopCounterMode(display=False) as counter:
            method.see(codes, None)
        return counter.get_total_flops()

    def walk(self):
        """Seconds of a path from one code, with its film."""
        from lib.settings import WalkSettings
        from scripts.bench.rendering import walk_from_one

        steps = STEPS if self.is_whole else FEW_STEPS
        settings = WalkSettings(shift_steps=steps, eps=EPS, frames=False, film=True)
        begin = self.clock()
        walk_from_one(self.space, self.line(), settings)
        return (self.clock() - begin) * (2 * STEPS + 1) / settings.frames_per_path

    def line(self):
        import torch

        from lib.paths.lines import Lines

        return Lines.random(1, self.space.dim, torch.Generator().manual_seed(0)).to(self.device)

    def evaluation(self):
        """(seconds of a path from one code, seconds of the generator's samples)."""
        import torch

        from lib.evaluation.reading import Reader
        from lib.paths.tracing import trace

        reader = Reader(self.space, self.judge())
        start = self.space.codes_of(torch.randn(1, self.space.generator.z_dim).to(self.device))
        with torch.no_grad():
            path = trace(self.space, self.line(), start, STEPS_READ, EPS)[0]
            reader.along(start, path[:, :3], lambda n: None)  # warms up
            begin = self.clock()
            reader.along(start, path, lambda n: None)
            along = self.clock() - begin
            reader.at_reach(start, path[:, [1, -2]], lambda n: None)
        return self.clock() - begin, along / path.shape[1] * SAMPLES

    def judge(self):
        from lib.dipoles import load_corpus
        from lib.judges import load_judge
        from lib.judges.sentences import SentencesJudge

        if self.is_embedded:
            return load_judge(self.judge_name, device=self.device)
        return SentencesJudge("random", self.clip, load_corpus(self.corpus))


def measured(name, device, what):
    """One method of `Costs`. To be called in a process of its own, whose memory it is."""
    return getattr(Costs(name, device), what)()


def row(name, device):
    seconds, peak = fresh_process(measured, name, device, "iteration")
    operations, walk = (fresh_process(measured, name, device, what) for what in ("operations", "walk"))
    evaluation, samples = fresh_process(measured, name, device, "evaluation")
    computed = "" if name in EMBEDDED or device == "cuda" else " (computed)"
    cells = [f"`{name}`", f"{operations / 1e9:.3g}", f"{seconds:.3g} s{computed}", f"{peak / 2**30:.2f} GiB"]
    cells += [f"{walk:.3g} s{computed}", f"{evaluation:.3g} s", f"{samples / 60:.2g} min (computed)"]
    return f"| {' | '.join(cells)} |"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.costs", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*EMBEDDED, *PUBLISHED]
    parser.add_argument("--generator", nargs="+", choices=names, default=names)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args(arguments)
    print(f"{machine(options.device)}; {'processor time of one thread' if options.device == 'cpu' else 'clock time'}\n")
    print("| generator | GFLOP per image | iteration | memory | walk | evaluation | samples, once |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in options.generator:
        print(row(name, options.device), flush=True)


if __name__ == "__main__":
    main()
