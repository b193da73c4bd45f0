"""What a generator costs with the default recipe: an iteration of train.py, a walk, an evaluation.

    python -m scripts.bench.costs
    python -m scripts.bench.costs --generator portraits faces

Processor time of one thread, and the most memory of a process that trains, libraries and weights included. A row each:

    iteration    of --loss=paired with four codes for each path, both ends of which are seen
    walk         one path from one code: 33 images and their film
    evaluation   one path from one code: 14 images with their judge, without LPIPS
    samples      2,000 of the generator, as its judge reads them once

At 64 px iterations and walks are measured as they are. Of larger networks, of the published shapes with random weights,
one code by --micro-batch-size=1 and a walk of nine images are measured, and what an iteration of nine paths and a whole
walk take follows from the numbers of images; so do the samples of all. GFLOP is the arithmetic of one image through
generator and CLIP: at best, a GPU of F TFLOP/s takes 72 * 3 * GFLOP / F milliseconds for an iteration, one pass forward
and one of twice that backward.
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
    """The networks of a row, and what they take. seconds: the clock."""

    def __init__(self, name):
        import torch

        from lib.latent_space import latent_space
        from models.load_generator import load_generator
        from scripts.bench.networks import random_networks

        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.is_whole = name in EMBEDDED
        if self.is_whole:
            self.gan, truncation, self.corpus, self.judge_name = EMBEDDED[name]
            generator, self.clip = load_generator(self.gan), None
        else:
            self.gan, truncation, self.corpus = "", 0.7, "attributes"
            generator, self.clip = random_networks("stylegan2", PUBLISHED[name])
        self.space = latent_space(generator, "W" if "W" in generator.family.spaces else "Z", truncation=truncation)

    def method(self):
        """The default method, begun without its text start."""
        from lib.config import CLIP_OF
        from lib.methods.dipole_paths import PAIRED, ContraCLIPSettings
        from lib.methods.paired import PairedContraCLIP

        settings = ContraCLIPSettings(gan=self.gan, corpus=self.corpus, clip_model=CLIP_OF.get(self.gan, ""), **PAIRED)
        labels = PairedContraCLIP.find_labels(settings)
        method = PairedContraCLIP(settings, self.space, labels)
        if self.clip is None:
            method.load_text("cpu")
        else:
            method.clip_encoder = self.clip
        batch_size = PairedContraCLIP.batch_size(settings, len(labels)) if self.is_whole else 1
        method.settings = type(settings)(**{**vars(settings), "batch_size": batch_size})
        method.begin_roughly()
        return method

    def iteration(self):
        """(seconds of an iteration, bytes at most)."""
        from lib.training.step import step

        method, micro = self.method(), None if self.is_whole else 1
        optimizer = method.optimizer()
        for _ in range(2):  # the first one warms up
            begin = time.process_time()
            step(method, method.draw(0), micro_batch_size=micro)
            optimizer.step()
            seconds = time.process_time() - begin
        images, usual = 2 * method.settings.batch_size, 2 * 4 * PATHS
        return seconds if self.is_whole else seconds / images * usual, peak_resident()

    def operations(self):
        """Floating-point operations of one image, from its code to its features, with direct convolutions."""
        from torch.utils.flop_counter import FlopCounterMode

        method = self.method()
        for network in (method.clip_encoder, self.space.generator):
            network.requires_grad_(True)  # frozen ones compute in ways that the counter does not know
        codes = self.space.codes_of(method.draw(0)[0][:1])
        with FlopCounterMode(display=False) as counter:
            method.see(codes, None)
        return counter.get_total_flops()

    def walk(self):
        """Seconds of a path from one code, with its film."""
        from lib.settings import WalkSettings
        from scripts.bench.rendering import walk_from_one

        steps = STEPS if self.is_whole else FEW_STEPS
        settings = WalkSettings(shift_steps=steps, eps=EPS, frames=False, film=True)
        begin = time.process_time()
        walk_from_one(self.space, self.line(), settings)
        return (time.process_time() - begin) * (2 * STEPS + 1) / settings.frames_per_path

    def line(self):
        import torch

        from lib.paths.lines import Lines

        return Lines.random(1, self.space.dim, torch.Generator().manual_seed(0))

    def evaluation(self):
        """(seconds of a path from one code, seconds of the generator's samples)."""
        import torch

        from lib.evaluation.reading import Reader
        from lib.paths.tracing import trace

        reader = Reader(self.space, self.judge())
        start = self.space.codes_of(torch.randn(1, self.space.generator.z_dim))
        with torch.no_grad():
            path = trace(self.space, self.line(), start, STEPS_READ, EPS)[0]
            reader.along(start, path[:, :3], lambda n: None)  # warms up
            begin = time.process_time()
            reader.along(start, path, lambda n: None)
            along = time.process_time() - begin
            reader.at_reach(start, path[:, [1, -2]], lambda n: None)
        return time.process_time() - begin, along / path.shape[1] * SAMPLES

    def judge(self):
        from lib.dipoles import load_corpus
        from lib.judges import load_judge
        from lib.judges.sentences import SentencesJudge

        if self.is_whole:
            return load_judge(self.judge_name)
        return SentencesJudge("random", self.clip, load_corpus(self.corpus))


def measured(name, what):
    """One method of `Costs`. To be called in a process of its own, whose memory it is."""
    return getattr(Costs(name), what)()


def row(name):
    seconds, peak = fresh_process(measured, name, "iteration")
    operations, walk = (fresh_process(measured, name, what) for what in ("operations", "walk"))
    evaluation, samples = fresh_process(measured, name, "evaluation")
    computed = "" if name in EMBEDDED else " (computed)"
    cells = [f"`{name}`", f"{operations / 1e9:.3g}", f"{seconds:.3g} s{computed}", f"{peak / 2**30:.2f} GiB"]
    cells += [f"{walk:.3g} s{computed}", f"{evaluation:.3g} s", f"{samples / 60:.2g} min (computed)"]
    return f"| {' | '.join(cells)} |"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.costs", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*EMBEDDED, *PUBLISHED]
    parser.add_argument("--generator", nargs="+", choices=names, default=names)
    options = parser.parse_args(arguments)
    print(f"{machine('cpu')}; processor time of one thread\n")
    print("| generator | GFLOP per image | iteration | memory | walk | evaluation | samples, once |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in options.generator:
        print(row(name), flush=True)


if __name__ == "__main__":
    main()
