"""Each method's training step against a plain one of the same mathematics: time, memory, and whether they agree.

    python -m scripts.bench.methods --threads 1 --processor-time
    python -m scripts.bench.methods --method latentclr --resolution 256 --repeats 3

A StyleGAN2 of the published shapes with random weights, paths in W. In the plain step (`plain.py`) nothing is frozen
and all is in one graph. Both run in turn on one batch; the table has the medians of whole iterations, Adam included.
The command fails where the two disagree on the paths' gradient. Peak memory is of a fresh process for each.
"""

import argparse
import sys

from scripts.bench import step as whole_step

# The settings of a method, smaller than the published ones where a plain step would not fit into a computer.
SETTINGS = {
    "warpedganspace": {"batch_size": 4, "num_support_sets": 32, "num_support_dipoles": 64, "learn_gammas": True,
                       "min_shift_magnitude": 0.1, "max_shift_magnitude": 0.2, "lr": 1e-4},
    "latentclr": {"batch_size": 4, "num_directions": 8, "alpha": 1.0, "feature_layer": "layer4", "lr": 1e-3},
}  # fmt: skip


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench.methods", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--method", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--resolution", type=int, default=256, choices=[64, 256, 1024])
    parser.add_argument("--device", default=None, help="cpu or cuda (default: cuda where there is one)")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: torch's own choice)")
    parser.add_argument("--repeats", type=int, default=3, help="timed steps of each kind (default: 3)")
    parser.add_argument("--processor-time", action="store_true", help="time the processor spends, not the clock's")
    return parser.parse_args(arguments)


def plain_sight(method):
    """(generator, codes) -> what the method's `see` gives, written plainly."""
    from lib.methods.latentclr import layer_named
    from scripts.bench import plain

    last = getattr(method.settings, "feature_layer", None)
    return lambda generator, codes: plain.stylegan2_images(generator, codes, last and layer_named(last))


class Bench:
    """Both steps of one method, on one batch."""

    def __init__(self, name, resolution, device, threads):
        import torch

        from lib.latent_space import latent_space
        from lib.methods import find_method
        from scripts.bench.networks import random_generator

        if threads:
            torch.set_num_threads(threads)
        torch.manual_seed(0)
        space = latent_space(random_generator("stylegan2", resolution).to(device), "W")
        cls = find_method(name)
        settings = cls.Settings(gan="", method=name, stylegan_space="W", **SETTINGS[name])
        self.method = cls(settings, space, cls.find_labels(settings))
        self.method.begin()
        self.method.trained.to(device)
        self.optimizer, self.device = self.method.optimizer(), device
        self.batch = tuple(tensor.to(device) for tensor in self.method.draw(0))

    def step(self, kind, optimise=True):
        """One whole iteration -> the gradient of the paths."""
        import torch

        from lib.training.step import step
        from scripts.bench import plain

        generator = self.method.space.generator.requires_grad_(kind == "plain")
        generator.zero_grad()
        self.optimizer.zero_grad()
        if kind == "plain":
            plain.method_loss(self.method, self.batch, plain_sight(self.method)).backward()
        else:
            step(self.method, self.batch)
        gradients = [one.grad.flatten().clone() for one in self.method.paths.parameters() if one.grad is not None]
        if optimise:
            self.optimizer.step()
        return torch.cat(gradients)

    def seconds(self, kind, clock):
        """Time of one iteration."""
        import torch

        synchronise = torch.cuda.synchronize if self.device == "cuda" else lambda: None
        synchronise()
        start = clock()
        self.step(kind)
        synchronise()
        return clock() - start

    def check(self):
        """Cosine of the two gradients."""
        from lib.training.trainer import gradient_cosine

        return gradient_cosine(self.step("plain", optimise=False), self.step("ours", optimise=False))


def peak_memory(kind, *setting):
    """Bytes that a process needs for two iterations, weights and libraries included. To be called in a fresh one."""
    import torch

    bench = Bench(*setting)
    for _ in range(2):
        bench.step(kind)
    return torch.cuda.max_memory_allocated() if bench.device == "cuda" else whole_step.peak_resident()


def row(name, options):
    """Measure one method -> its line of the table, and whether the gradients agree."""
    import time
    from statistics import median

    clock = time.process_time if options.processor_time else time.perf_counter
    setting = name, options.resolution, options.device, options.threads
    kinds = ("plain", "ours")
    memory = [whole_step.fresh_process(peak_memory, kind, *setting) / 2**30 for kind in kinds]
    bench = Bench(*setting)
    cosine = bench.check()
    times = [median(bench.seconds(kind, clock) for _ in range(options.repeats)) for kind in kinds]
    cells = [name, *(f"{one:.3g}" for one in times), f"{times[0] / times[1]:.2f}"]
    cells += [*(f"{one:.2f}" for one in memory), f"{cosine:.6f}"]
    return "| " + " | ".join(cells) + " |", cosine > whole_step.LEAST_COSINE


def main(arguments):
    options = parse(arguments)
    import torch

    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if options.threads:
        torch.set_num_threads(options.threads)
    unit = "processor time" if options.processor_time else "time"
    print(f"{whole_step.machine(options.device)}; {unit}, median of {options.repeats}")
    print(f"StyleGAN2 of {options.resolution} px\n")
    print("| method | plain s | ours s | ratio | plain GiB | ours GiB | cosine |")
    print("|---|---|---|---|---|---|---|", flush=True)
    agree = True
    for name in options.method:
        line, fine = row(name, options)
        print(line, flush=True)
        agree &= fine
    if not agree:
        sys.exit(f"the two steps' gradients differ: a cosine is not above {whole_step.LEAST_COSINE}")


if __name__ == "__main__":
    main(sys.argv[1:])
