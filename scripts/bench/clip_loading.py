"""What it costs to load a CLIP of the shapes of OpenAI's ViT-B-32.pt, here and by `clip.load`, which runs its code.

    python -m scripts.bench.clip_loading

The file has random weights and is a TorchScript archive in half precision, as OpenAI's are. Each loading has a fresh
process, without its imports; the median of some is taken. Fails where ours takes more processor time or other numbers
come out.
"""

import argparse
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch

from lib.command_line import run
from models.formats.openai_clip import clip, read_clip

VIT_B_32 = (512, 224, 12, 768, 32, 77, 49408, 512, 8, 12)
TOLERATED = 1.05  # times the processor time, which varies


def write_archive(file, sizes=VIT_B_32):
    """A TorchScript CLIP of random weights and these sizes, as `clip.model.CLIP` takes them."""
    torch.manual_seed(0)
    model = clip.model.CLIP(*sizes).eval()
    clip.model.convert_weights(model)
    for name, value in {"input_resolution": sizes[1], "context_length": sizes[5], "vocab_size": sizes[6]}.items():
        model.__dict__.pop(name, None)
        model.register_buffer(name, torch.tensor(value))
    seen = torch.zeros(1, 3, sizes[1], sizes[1]), torch.zeros(1, sizes[5], dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(model, seen, check_trace=False), file)


def load(loader, file):
    """Print the seconds of the processor, the most memory in MiB, and a hash of the numbers."""
    torch.set_num_threads(1)
    before = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = read_clip(file) if loader == "ours" else clip.load(str(file), "cpu")[0]
    seconds, digest = time.process_time() - before, hashlib.sha256()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    print(json.dumps([seconds, peak, digest.hexdigest()]))


def measure(loader, file):
    command = [sys.executable, "-m", "scripts.bench.clip_loading", "--load", loader, str(file)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main(arguments):
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.clip_loading", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--load", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.load:
        load(*options.load)
        return
    found = {"ours": [], "clip.load": []}
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "ViT-B-32.pt"
        write_archive(file)
        for _ in range(options.repeats):
            for loader, measured in found.items():
                measured.append(measure(loader, file))
    print("| loaded by | processor time | memory, libraries included |\n|---|---|---|")
    medians = {}
    for loader, measured in found.items():
        medians[loader] = statistics.median(seconds for seconds, _, _ in measured)
        print(f"| {loader} | {medians[loader]:.2f} s | {statistics.median(peak for _, peak, _ in measured):.0f} MiB |")
    if len({digest for measured in found.values() for _, _, digest in measured}) > 1:
        sys.exit("the numbers differ")
    if medians["ours"] > TOLERATED * medians["clip.load"]:
        sys.exit("ours is slower")


if __name__ == "__main__":
    run(main)
