"""Each method's training step against a plain one of the same mathematics: time, memory, and whether they agree.

    python -m scripts.bench.methods --threads 1 --processor-time
    python -m scripts.bench.methods --method latentclr --resolution 256 --repeats 3

A StyleGAN2, a CLIP ViT-B/32 and an ArcFace of the published shapes with random weights. In the plain step (`plain.py`)
nothing is frozen and all is in one graph. Each runs in a process of its own, on the same weights and batch; the table
has the medians of whole iterations, the optimiser included, behind a first one, and the processes' peak memory. The
command fails where the two disagree on the loss or on the paths' gradient. ContraCLIP's step is measured by
`scripts.bench.step`.

`styleclip-global` trains nothing: what is measured is the direction of one channel, found in 8 images. There the plain
way has no graph either.
"""

import argparse
import sys

from scripts.bench import step as whole_step

SENTENCES = [("a photo of a smiling person", "a photo of a sad person")]
LARGEST_LOSS_DIFFERENCE = 1e-3  # relative

# space, and settings of a method, smaller than the published ones where a plain step would not fit into a computer.
SETTINGS = {
    "warpedganspace": ("W", {"batch_size": 4, "num_support_sets": 32, "num_support_dipoles": 64, "learn_gammas": True,
                             "min_shift_magnitude": 0.1, "max_shift_magnitude": 0.2, "lr": 1e-4}),
    "latentclr": ("W", {"batch_size": 4, "num_directions": 8, "alpha": 1.0, "feature_layer": "layer4", "lr": 1e-3}),
    "styleclip-mapper": ("W+", {"batch_size": 2, "id_lambda": 0.1, "lr": 0.5}),
    "styleclip-optimization": ("W+", {"batch_size": 4, "lr": 0.1}),
    "cf-clip": ("W+", {"batch_size": 2, "id_lambda": 0.2, "lr": 0.5}),
    "styleclip-global": ("S", {"channel_images": 4, "micro_batch_size": 8}),
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


def method_on(name, resolution, device="cpu"):
    """A method of SETTINGS on random networks, before its `begin`."""
    import torch

    from lib.latent_space import latent_space
    from lib.methods import find_method
    from scripts.bench.networks import random_generator

    torch.manual_seed(0)
    cls, (space, values) = find_method(name), SETTINGS[name]
    settings = cls.Settings(gan="", method=name, stylegan_space=space, **values)
    space = cls.space_of(settings, latent_space(random_generator("stylegan2", resolution).to(device), space))
    method = cls(settings, space, SENTENCES if cls.reads_corpus else cls.find_labels(settings))
    if cls.reads_corpus:
        give_networks(method, device)
    return method


def give_networks(method, device):
    """What the methods with text load in their `build`."""
    import torch
    import torch.nn.functional as F

    from lib.judges.faces.arcface import ArcFace
    from lib.methods.phrasings import encode_phrasings
    from scripts.bench.networks import random_clip

    settings, space = method.settings, method.space
    method.clip_encoder, method.codes, method.arcface, method.vgg = random_clip().to(device), None, None, None
    if getattr(settings, "id_lambda", 0):
        method.arcface = ArcFace().eval().requires_grad_(False).to(device)
    if settings.method == "styleclip-optimization":
        method.codes = space.codes_of(torch.randn(settings.batch_size, space.generator.z_dim).to(device))
    if settings.method in ("styleclip-mapper", "styleclip-optimization"):
        method.targets = F.normalize(method.encode_texts(), dim=1)
    if settings.method == "cf-clip":
        poles = (encode_phrasings(pole, method.clip_encoder)[None] for pole in SENTENCES[0])
        method.target_texts, method.source_texts = poles


class Bench:
    """Both steps of one method, on one batch."""

    def __init__(self, name, resolution, device, threads):
        import torch

        if threads:
            torch.set_num_threads(threads)
        torch.backends.cudnn.allow_tf32 = False
        self.method, self.device = method_on(name, resolution, device), device
        self.frozen = [self.method.space.generator]
        self.frozen += [network for network in map(vars(self.method).get, ("clip_encoder", "arcface")) if network]
        self.prepare()

    def prepare(self):
        """Make what is trained, the optimiser and the batch."""
        self.method.begin()
        self.method.trained.to(self.device)
        self.optimizer = self.method.optimizer()
        self.batch = tuple(tensor.to(self.device) for tensor in self.method.draw(0))

    def step(self, kind):
        """One whole iteration -> the loss and the gradient of the paths."""
        import torch

        from lib.training.repeatable import repeatable
        from lib.training.step import step
        from scripts.bench import plain

        for network in self.frozen:
            network.requires_grad_(kind == "plain").zero_grad()
        self.optimizer.zero_grad()
        if kind == "plain":
            loss = plain.method_loss(self.method, self.batch)
            loss.backward()
            loss = loss.item()
        else:
            with repeatable(self.device):  # as in train.py
                loss = step(self.method, self.batch, micro_batch_size=self.method.settings.micro_batch_size)
        gradients = [one.grad.flatten().clone() for one in self.method.paths.parameters() if one.grad is not None]
        self.optimizer.step()
        return loss, torch.cat(gradients)

    def seconds(self, kind, clock):
        """Time of one iteration."""
        import torch

        synchronise = torch.cuda.synchronize if self.device == "cuda" else lambda: None
        synchronise()
        start = clock()
        self.step(kind)
        synchronise()
        return clock() - start


class ChannelBench(Bench):
    """The measurement of one channel of a convolution of 32 pixels, which has neither loss nor optimiser."""

    CHANNEL = 5 * 512

    def prepare(self):
        from lib.methods import channel_directions as channels

        settings = self.method.settings
        self.drawn = channels.sample_styles(self.method.space, 100, settings.channel_images, settings.seed)

    def step(self, kind):
        """0, and the channel's direction."""
        from lib.methods import channel_directions as channels
        from scripts.bench import plain

        method = plain.plainly(self.method) if kind == "plain" else self.method
        mean, std, codes = self.drawn
        at_once, measured = method.settings.micro_batch_size, range(self.CHANNEL, self.CHANNEL + 1)

        def see(part):
            return method.clip_encoder.encode_images(channels.quantised(method.space.synthesise(part)))

        return 0.0, channels.directions_of_channels(see, codes, measured, mean, std, at_once)[0]


def bench_of(name, *setting):
    return (ChannelBench if name == "styleclip-global" else Bench)(name, *setting)


def measured(kind, clock, repeats, *setting):
    """(seconds, bytes at most, loss, gradient) of a method's iterations. To be called in a fresh process, whose peak
    memory it is, weights and libraries included."""
    from statistics import median

    import torch

    bench = bench_of(*setting)
    loss, gradient = bench.step(kind)
    times = [bench.seconds(kind, clock) for _ in range(repeats)]
    bytes_at_most = torch.cuda.max_memory_allocated() if bench.device == "cuda" else whole_step.peak_resident()
    return median(times), bytes_at_most, loss, gradient.cpu().numpy()


def row(name, options):
    """Measure one method -> its line of the table, and whether loss and gradients agree."""
    import time

    import torch

    from lib.training.trainer import gradient_cosine

    clock = time.process_time if options.processor_time else time.perf_counter
    setting = clock, options.repeats, name, options.resolution, options.device, options.threads
    found = [whole_step.fresh_process(measured, kind, *setting) for kind in ("plain", "ours")]
    times, memory, losses, gradients = zip(*found)
    difference = abs(losses[1] - losses[0]) / max(abs(losses[0]), 1e-12)
    cosine = gradient_cosine(*map(torch.from_numpy, gradients))
    cells = [name, *(f"{one:.3g}" for one in times), f"{times[0] / times[1]:.2f}"]
    cells += [*(f"{one / 2**30:.2f}" for one in memory), f"{difference:.1e}", f"{cosine:.6f}"]
    agree = difference < LARGEST_LOSS_DIFFERENCE and cosine > whole_step.LEAST_COSINE
    return "| " + " | ".join(cells) + " |", agree


def main(arguments):
    options = parse(arguments)
    import torch

    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if options.threads:
        torch.set_num_threads(options.threads)
    unit = "processor time" if options.processor_time else "time"
    print(f"{whole_step.machine(options.device)}; {unit}, median of {options.repeats}")
    print(f"StyleGAN2 of {options.resolution} px\n")
    print("| method | plain s | ours s | ratio | plain GiB | ours GiB | loss differs by | cosine |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    agree = True
    for name in options.method:
        line, fine = row(name, options)
        print(line, flush=True)
        agree &= fine
    if not agree:
        sys.exit(f"the two steps differ: a loss by more than {LARGEST_LOSS_DIFFERENCE}, or a cosine is not above "
                 f"{whole_step.LEAST_COSINE}")


if __name__ == "__main__":
    main(sys.argv[1:])
