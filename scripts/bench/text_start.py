"""The text start's cost, in seconds of processor time on one thread: measured from nothing, and found in the cache.

    python -m scripts.bench.text_start
    python -m scripts.bench.text_start --gan pggan_portraits64

"From nothing" is all that `--lss-start=text` does: loading the networks, encoding the sentences, the Jung radius, the
response of images to moves, and the closed form with its constants. "From the cache" is all of it again for other
sentences, where the response is found in `experiments/cache/`.
"""

import argparse
import tempfile
import time
from contextlib import chdir

import torch

from lib.command_line import run
from lib.latent_space import jung_radius, latent_space
from lib.methods.contraclip import ContraCLIP, ContraCLIPSettings
from models.files import sha256
from models.load_generator import generator_file, load_generator

SETTINGS = {"stylegan2_portraits64": ("W", "W+", "S"), "pggan_portraits64": ("Z",)}  # generator: spaces
TRUNCATION = {"stylegan2_portraits64": 0.7, "pggan_portraits64": 1.0}
CORPORA = "attributes", "expressions3"  # whose sentences are looked for first and second


def begin(gan, name, corpus):
    """The method with its networks and sentences."""
    space = latent_space(load_generator(gan), name, truncation=TRUNCATION[gan])
    settings = ContraCLIPSettings(gan=gan, stylegan_space=name, stylegan_layer=space.layer, truncation=TRUNCATION[gan],
                                  corpus=corpus, clip_model="clip_portraits64", gan_sha256=sha256(generator_file(gan)),
                                  loss="paired", path="lines", lss_start="text")  # fmt: skip
    return ContraCLIP.build(settings, space, ContraCLIP.find_labels(settings), "cpu")


def seconds(*setting):
    """Processor time of a text start from first to last."""
    before = time.process_time()
    method = begin(*setting)
    method.text_start(jung_radius(method.space, 0))
    return time.process_time() - before


def main(arguments):
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.text_start", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gan", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--space", nargs="+", choices=("Z", "W", "W+", "S"), default=["Z", "W", "W+", "S"])
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print("| generator, space | from nothing | from the cache, other sentences |\n|---|---|---|")
    for gan in options.gan:
        for name in (name for name in SETTINGS[gan] if name in options.space):
            with tempfile.TemporaryDirectory() as empty, chdir(empty):
                cold, warm = (seconds(gan, name, corpus) for corpus in CORPORA)
            print(f"| `{gan}`, {name} | {cold:.1f} s | {warm:.1f} s |", flush=True)


if __name__ == "__main__":
    run(main)
