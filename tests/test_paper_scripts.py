"""The scripts of the paper's experiments: what they would run, read by the commands' own parsers."""

import fnmatch
import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import sample_gan
import train
import traverse_latent_space
from lib.config import CORPORA
from lib.dipoles import load_corpus
from lib.methods import name_of_run
from models.registry import GENERATORS, family_of

REPOSITORY = Path(__file__).resolve().parent.parent
NAMES = sorted(file.name for file in (REPOSITORY / "scripts" / "train").glob("*.sh"))


def commands(script, *flags):
    """What a script would run: a list of (command, its arguments)."""
    process = subprocess.run(["bash", script, *flags], env={**os.environ, "PYTHON": "echo"}, capture_output=True,
                             text=True, check=True)  # fmt: skip
    return [(line.split()[0], shlex.split(line)[1:]) for line in process.stdout.splitlines()]


def test_every_experiment_is_trained_and_evaluated():
    assert len(NAMES) == 24
    assert NAMES == sorted(file.name for file in (REPOSITORY / "scripts" / "eval").glob("*.sh"))


@pytest.mark.parametrize("name", NAMES)
def test_script_runs_the_experiment_that_it_is_named_after(name):
    ((command, arguments),) = commands(REPOSITORY / "scripts" / "train" / name, "--seed=7")
    parsed = train.parser().parse_args(arguments)
    args = train.settings_of(parsed, family_of(parsed.gan))
    assert command == "train.py" and args.seed == 7
    assert name == f"{args.gan}_{args.corpus}_{args.loss}.sh"
    assert args.gan in GENERATORS and args.corpus in CORPORA
    assert args.batch_size == len(load_corpus(args.corpus))
    settings = (args.num_latent_support_dipoles, args.lss_beta, args.css_beta, args.max_iter)
    assert settings == (64, 0.5, 0.5, 20_000)
    assert (args.min_shift_magnitude, args.max_shift_magnitude) == (0.1, 0.2)
    stylegan = args.gan.startswith("stylegan2")
    space = ("W+", 11, 0.7) if stylegan else ("Z", None, 1.0)
    assert (args.stylegan_space, args.stylegan_layer, args.truncation) == space
    assert args.loss == "cossim" or args.temperature == 0.07

    (sampled, sampling), (walked, walking) = commands(REPOSITORY / "scripts" / "eval" / name, "--img-size=128")
    sampling = sample_gan.parser().parse_args(sampling)
    walking = traverse_latent_space.parser().parse_args(walking)
    assert (sampled, walked) == ("sample_gan.py", "traverse_latent_space.py")
    assert (sampling.gan, sampling.truncation) == (args.gan, args.truncation)
    assert walking.pool == f"{args.gan}-{sampling.num_samples or sample_gan.NUM_SAMPLES}" and walking.img_size == 128
    assert not walking.gif and not walking.strip  # the page shows both by the films
    assert (walking.eps, walking.shift_steps, walking.shift_leap) == (0.15, 100 if stylegan else 60, 4)
    trained = name_of_run(replace(args, stylegan_layer=space[1]), args.batch_size)
    assert fnmatch.fnmatchcase(f"experiments/complete/{trained}", walking.exp)
