"""The demos: what their script runs, and what a walk of theirs leaves."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch

import evaluate
import sample_gan
import train
import traverse_latent_space
from lib.dipoles import load_corpus
from lib.latent_space import latent_space
from lib.methods import name_of_run
from lib.paths.choice import chosen_paths
from lib.paths.lines import Lines
from lib.pools import codes_of_z
from lib.settings import WalkSettings
from lib.walking.traversal import traverse
from models.load_generator import load_generator
from models.registry import family_of

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "demo.sh"
PARSERS = {module.__name__ + ".py": module.parser for module in (train, sample_gan, traverse_latent_space, evaluate)}
DEMOS = "faces", "portraits"
MOST_MB = 19  # of all that a demo leaves
BESIDES_MB = 9.5  # pools, the cache, the experiment, the page and the evaluation: at most


@pytest.fixture(params=DEMOS)
def demo(request):
    """[(command, parsed arguments)] of a demo."""
    process = subprocess.run(["bash", SCRIPT, request.param], env={**os.environ, "PYTHON": "echo"}, check=True,
                             capture_output=True, text=True)  # fmt: skip
    lines = [shlex.split(line) for line in process.stdout.splitlines() if line.partition(" ")[0] in PARSERS]
    return [(command, PARSERS[command]().parse_args(arguments)) for command, *arguments in lines]


def test_a_demo_walks_and_evaluates_what_it_trains(demo):
    commands = [command for command, _ in demo]
    assert commands == ["train.py", "sample_gan.py", "traverse_latent_space.py", "sample_gan.py", "evaluate.py"]
    training, sampling, walking, sampled, evaluating = (parsed for _, parsed in demo)
    settings = train.settings_of(training, family_of(training.gan))
    name = name_of_run(settings, len(load_corpus(training.corpus)))
    assert walking.exp == evaluating.exp == f"experiments/complete/{name}"
    assert walking.pool == f"{training.gan}-{sampling.num_samples}"
    assert evaluating.pool == f"{training.gan}-{sampled.num_samples}" and sampled.seed != sampling.seed
    assert (walking.shift_steps, walking.eps) == (evaluating.shift_steps, evaluating.eps)


def test_the_demo_of_faces_says_what_its_mean_has():
    process = subprocess.run(["bash", SCRIPT, "faces"], env={**os.environ, "PYTHON": "echo"}, check=True,
                             capture_output=True, text=True)  # fmt: skip
    (paths,) = re.findall(r"evaluate.py --paths=(\S+)", process.stdout)
    labels = load_corpus("faces")
    left_out = set(range(len(labels))) - {*chosen_paths(paths, labels)}
    assert [labels[k] for k in left_out] == [("a photo of a woman.", "a photo of a man.")]


def test_a_demo_leaves_no_more_than_was_promised(demo, tmp_path):
    """Extrapolated from two codes and two paths."""
    training, sampling, walking, *_ = (parsed for _, parsed in demo)
    settings = train.settings_of(training, family_of(training.gan))
    generator = load_generator(training.gan)
    space = latent_space(generator, settings.stylegan_space, truncation=settings.truncation)
    for i, z in enumerate(torch.randn(2, 1, generator.z_dim, generator=torch.Generator().manual_seed(0))):
        directory = tmp_path / "pool" / f"code_{i}"
        directory.mkdir(parents=True)
        for name, code in codes_of_z(space, z).items():
            torch.save(code, directory / name)
    lines = Lines.random(2, space.dim, torch.Generator().manual_seed(0))
    walk = WalkSettings.of(vars(walking) | {"film": True})
    assert len(list(traverse(space, lines, sorted((tmp_path / "pool").iterdir()), tmp_path / "walk", walk))) == 4
    left = sum(file.stat().st_size for file in (tmp_path / "walk").rglob("*") if file.is_file())
    paths = sampling.num_samples * len(load_corpus(training.corpus))
    assert 3e6 < left / 4 * paths < (MOST_MB - BESIDES_MB) * 1e6
