"""Generators of one's own, --gan python:FILE:FUNCTION: what they can do, and what is told of a breach."""

import hashlib
import json
import random
import sys

import numpy as np
import pytest
import torch

from lib.latent_space import latent_space
from lib.trained import open_experiment
from models.errors import UserError
from models.load_generator import generator_file, generator_name, load_generator

# A module of 8 px with all that can be had; tests change single lines of it.
SOURCE = """
import torch
from torch import nn


class Own(nn.Module):
    z_dim = 6
    resolution = 8

    def __init__(self):
        super().__init__()
        self.to_w = nn.Linear(6, 5)
        self.to_image = nn.Linear(5, 3 * 8 * 8)

    def forward(self, z):
        return self.synthesis(self.mapping(z))

    def mapping(self, z):
        return torch.tanh(self.to_w(z))

    def synthesis(self, w):
        return torch.tanh(self.to_image(w)).unflatten(1, (3, 8, 8))


def build():
    return Own()
"""
BARE = SOURCE.replace("def mapping", "def code").replace("def synthesis", "def image").replace(
    "self.synthesis(self.mapping(z))", "self.image(self.code(z))"
)
LAYERED = SOURCE.replace("return torch.tanh(self.to_w(z))", "return torch.tanh(self.to_w(z))[:, None].repeat(1, 3, 1)")
LAYERED = LAYERED.replace("self.to_image(w)", "self.to_image(w * torch.tensor([[1.0], [2.0], [3.0]])).sum(1)")
OWN_LAYERS = LAYERED.replace(".repeat(1, 3, 1)", " * torch.tensor([[1.0], [2.0], [0.5]])")


@pytest.fixture
def own(tmp_path):
    """own(source) -> the name of a generator of that source."""

    def write(source=SOURCE):
        (tmp_path / "my_gan.py").write_text(source)
        return f"python:{tmp_path / 'my_gan.py'}:build"

    return write


def z_of(count, dim=6):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(3))


def test_bare_module_has_z_alone_which_truncation_scales(own):
    generator = load_generator(own(BARE))
    assert generator.family.spaces == ("Z",) and generator.image_sizes == [8]
    assert not any(parameter.requires_grad for parameter in generator.parameters())
    space, z = latent_space(generator, truncation=0.5), z_of(3)
    assert torch.equal(space.codes_of(z), z / 2) and space.dim == 6
    assert torch.equal(space.synthesise(space.codes_of(z)), generator.module(z / 2))


@pytest.mark.parametrize(
    "source, spaces, layers",
    [(SOURCE, ("Z", "W"), 1), (LAYERED, ("Z", "W", "W+"), 3), (OWN_LAYERS, ("Z", "W+"), 3)],
)
def test_mapping_and_synthesis_give_w(source, spaces, layers, own):
    generator, z = load_generator(own(source)), z_of(4)
    assert generator.family.spaces == spaces and (generator.num_layers, generator.w_dim) == (layers, 5)
    for name in spaces:
        space = latent_space(generator, name)
        codes = space.codes_of(z)
        assert torch.equal(space.synthesise(codes), generator.module(z))
        offsets = torch.ones(4, space.dim)
        torch.testing.assert_close(space.positions(space.shift(codes, offsets)), space.positions(codes) + 1)
    assert latent_space(generator, spaces[-1]).dim == (15 if layers == 3 else 5)


def test_truncation_is_towards_the_mean_of_w(own):
    generator = load_generator(own())
    w, mean = generator.mapping(z_of(20_000)), latent_space(generator, "W", truncation=1e-9).codes_of(z_of(1))[0, 0]
    torch.testing.assert_close(mean, w.mean(dim=0), rtol=0, atol=0.05)
    half = latent_space(generator, "W", truncation=0.5).codes_of(z_of(1))[0, 0]
    torch.testing.assert_close(half, (generator.mapping(z_of(1))[0] + generator.w_avg) / 2)
    image = latent_space(generator, "Z", truncation=0.5).synthesise(z_of(1))
    torch.testing.assert_close(image, generator.module.synthesis(half[None]))


@pytest.mark.parametrize("source, name", [(BARE, "W"), (SOURCE, "W+"), (OWN_LAYERS, "W"), (LAYERED, "S")])
def test_space_that_it_lacks_is_told(source, name, own):
    with pytest.raises(UserError, match="Z"):
        latent_space(load_generator(own(source)), name)


def test_random_weights_are_the_same_each_time_and_draw_nothing_from_others(own):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1]
    first, second = (load_generator(own()) for _ in range(2))
    assert torch.equal(first(first.w_plus(first.mapping(z_of(1)))), second(second.w_plus(second.mapping(z_of(1)))))
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == random.getstate()
    assert (before[2] == np.random.get_state()[1]).all()


def test_name_and_file_tell_functions_of_a_file_apart(own, tmp_path):
    name = own()
    assert generator_name(name) == "my_gan.build" and generator_file(name) == tmp_path / "my_gan.py"
    (tmp_path / "my_gan.py").write_text(SOURCE + "\n\ndef other():\n    torch.manual_seed(1)\n    return Own()\n")
    hashes = {load_generator(name).sha256 for name in (name, name, name.replace(":build", ":other"))}
    assert len(hashes) == 2
    assert generator_name("python:C:/nets/a.b.py:make_it") == "a.b.make_it"


def test_what_lies_beside_the_file_can_be_imported(own, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "width_of_mine.py").write_text("WIDTH = 8\n")
    name = own(SOURCE.replace("import torch\n", "import torch\nfrom width_of_mine import WIDTH\n", 1))
    assert load_generator(name).resolution == 8


FORWARD = "return self.synthesis(self.mapping(z))"
BREACHES = {
    "syntax": ("import torch\n", "import torch\nreturn\n", "SyntaxError"),
    "import": ("import torch\n", "import torch\nimport no_such_package\n", "no_such_package' (line 3)"),
    "exit": ("import torch\n", "import torch\nraise SystemExit('bye')\n", "SystemExit: bye"),
    "no function": ("def build", "def make", "no function build"),
    "not a function": ("def build():\n    return Own()", "build = 3", "no function build"),
    "raises": ("return Own()", "return 1 / 0", "build() raised ZeroDivisionError: division by zero (line 26)"),
    "no module": ("return Own()", "return lambda z: z", "returns a function, not a torch.nn.Module"),
    "class": ("return Own()", "return Own", "returns a type"),
    "no z_dim": ("    z_dim = 6\n", "", "no z_dim"),
    "odd z_dim": ("z_dim = 6", "z_dim = 6.5", "z_dim '6.5'"),
    "no resolution": ("resolution = 8\n", "resolution = None\n", "no resolution"),
    "large resolution": ("resolution = 8\n", "resolution = 9000\n", "at most 8192"),
    "wrong z_dim": ("z_dim = 6", "z_dim = 7", "forward(z) raised RuntimeError"),
    "wrong resolution": ("resolution = 8\n", "resolution = 16\n", "(2, 3, 8, 8), expected (2, 3, 16, 16)"),
    "tuple": (FORWARD, "return self.synthesis(self.mapping(z)), 1", "a tuple, not a tensor"),
    "integers": (FORWARD, "return (self.synthesis(self.mapping(z)) * 9).long()", "int64"),
    "NaN": (FORWARD, "return self.synthesis(self.mapping(z)) * float('nan')", "NaN"),
    "0..255": (FORWARD, "return 127.5 * (1 + self.synthesis(self.mapping(z)))", "expected images in [-1, 1]"),
    "0..1": (FORWARD, "return 0.5 + self.synthesis(self.mapping(z)) / 2", "2 * x - 1"),
    "noise": (FORWARD, "return self.synthesis(self.mapping(z) + torch.randn(len(z), 5))", "same z"),
    "ignores z": (FORWARD, "return self.synthesis(self.mapping(z * 0))", "ignores z"),
    "rounds": (FORWARD, "return self.synthesis((9 * self.mapping(z)).round())", "no gradient to z"),
    "mixes": (FORWARD, "return self.synthesis(self.mapping(z - z.mean(0)))", "alone than in a batch"),
    "no gradient": (FORWARD, "return self.synthesis(self.mapping(z.detach()))", "passes no gradient"),
    "inference": (FORWARD, "return self.synthesis(self.mapping(z)).detach()", "passes no gradient"),
    "no synthesis": ("def synthesis", "def image", "forward(z) raised AttributeError"),
    "half of W": ("        return self.synthesis(self.mapping(z))\n\n    def mapping", "        return self.synthesis("
                  "self.code(z))\n\n    def code", "has synthesis and lacks mapping(z)"),
    "shape of w": ("(self.to_w(z))\n\n    def synthesis(self, w):\n", "(self.to_w(z))[:, None, None]\n\n    def "
                   "synthesis(self, w):\n        w = w.flatten(1)\n", "mapping(z) gives shape (2, 1, 1, 5)"),
    "two images": ("torch.tanh(self.to_image(w))", "torch.tanh(self.to_image(w) * torch.rand(()))", "same z"),
    "other forward": (FORWARD, "return self.synthesis(self.mapping(z) / 2)", "synthesis(mapping(z)) gives another"),
    "w without gradient": ("torch.tanh(self.to_w(z))", "torch.tanh(self.to_w(z)).detach() + 0 * z[:, :5]",
                           "no gradient to z"),
    "GPU": (FORWARD, "return self.synthesis(self.mapping(z.cuda()))", "it needs a GPU, and there is none here"),
}  # fmt: skip


@pytest.mark.parametrize("breach", BREACHES)
def test_breach_is_told_in_one_line(breach, own):
    before, after, told = BREACHES[breach]
    if breach == "GPU" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert before in SOURCE
    with pytest.raises(UserError) as raised:
        load_generator(own(SOURCE.replace(before, after, 1)))
    assert told in str(raised.value) and "my_gan.py" in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["python:my_gan.py", "python:", "python::build", "python:a.py:", "python:a.py:1+1"])
def test_name_without_file_or_function_is_told(name):
    with pytest.raises(UserError, match="python:FILE:FUNCTION"):
        load_generator(name)


def test_file_that_is_not_there_is_told():
    with pytest.raises(UserError, match=r"there is no file absent\.py"):
        load_generator("python:absent.py:build")


TRAIN = ("--gan=python:my_gan.py:build", "--stylegan-space=W", "--corpus=pair.txt", "--batch-size=2",
         "--max-iter=2", "--ckp-freq=1", "--no-cuda")  # fmt: skip


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, run_warm, tiny_clip_file):
    """A pool of a module of one's own, and an experiment on it."""
    place = tmp_path_factory.mktemp("own")
    (place / "my_gan.py").write_text(LAYERED + "\n\nopen('has_run', 'a').write('x')\n")
    (place / "pair.txt").write_text("a smiling face. | a sad face.\n")
    pool = run_warm("sample_gan.py", "--gan=python:my_gan.py:build", "--num-samples=2", "--truncation=0.7", cwd=place)
    assert pool.returncode == 0, pool.stderr
    trained = run_warm("train.py", *TRAIN, f"--clip-model={tiny_clip_file}", cwd=place)
    assert trained.returncode == 0, trained.stderr
    return place


def experiment_in(place):
    (directory,) = (place / "experiments" / "complete").iterdir()
    return directory


def test_commands_work_on_it(workplace, run_warm):
    pool = workplace / "experiments" / "latent_codes" / "my_gan.build" / "my_gan.build-2"
    code = next(path for path in pool.iterdir() if path.is_dir())
    assert {path.name for path in code.iterdir()} == {
        "latent_code_z.pt", "latent_code_w.pt", "latent_code_w+.pt", "image_z.jpg"
    }  # fmt: skip
    directory = experiment_in(workplace)
    assert directory.name.startswith("ContraCLIP_my_gan.build-W-K1-")
    sha256 = hashlib.sha256((workplace / "my_gan.py").read_bytes()).hexdigest()
    for args in (pool / "args.json", directory / "args.json"):
        assert json.loads(args.read_text())["gan_sha256"] == sha256
    walk = run_warm("traverse_latent_space.py", "--gan=python:my_gan.py:build", f"--exp={directory}", "--strip",
                    "--pool=my_gan.build-2", "--shift-steps=2", "--workers=0", cwd=workplace)  # fmt: skip
    assert walk.returncode == 0, walk.stderr
    assert len(list(directory.glob("results/*/*/*/paths_strips/*_strip.jpg"))) == 2


def test_experiment_that_names_code_runs_it_only_when_the_user_names_it_too(workplace, run_warm, monkeypatch):
    monkeypatch.chdir(workplace)
    directory, ran = experiment_in(workplace), (workplace / "has_run").read_text()
    walk = run_warm("traverse_latent_space.py", f"--exp={directory}", "--pool=my_gan.build-2", cwd=workplace)
    assert walk.returncode == 2 and "--gan=python:my_gan.py:build" in walk.stderr and len(walk.stderr.splitlines()) == 1
    with pytest.raises(UserError, match="name it with"):
        open_experiment(directory)
    with pytest.raises(UserError, match="name it with"):
        open_experiment(directory, gan="stylegan2_portraits64")
    assert (workplace / "has_run").read_text() == ran


def test_changed_file_is_another_generator(workplace, tmp_path):
    (tmp_path / "my_gan.py").write_text((workplace / "my_gan.py").read_text() + "\n# changed\n")
    with pytest.raises(UserError, match="another file"):
        open_experiment(experiment_in(workplace), gan=f"python:{tmp_path / 'my_gan.py'}:build")


def test_begun_run_that_was_given_code_since_does_not_run_it(workplace, run_warm, tiny_clip_file, tmp_path):
    """args.json in a stranger's experiments/wip may say otherwise than the command that it was begun with."""
    (tmp_path / "evil.py").write_text("open('has_run', 'w')\n")
    (tmp_path / "pair.txt").write_text((workplace / "pair.txt").read_text())
    begun = tmp_path / "experiments" / "wip" / "begun"
    (begun / "models").mkdir(parents=True)
    (begun / "models" / "checkpoint.pt").touch()
    settings = json.loads((experiment_in(workplace) / "args.json").read_text())
    (begun / "args.json").write_text(json.dumps(settings | {"gan": "python:evil.py:build"}))
    arguments = ["--gan=dcgan_faces64", "--corpus=pair.txt", "--no-cuda"]
    (begun / "command.sh").write_text("#!/usr/bin/env bash\npython train.py " + " ".join(arguments) + "\n")
    process = run_warm("train.py", *arguments, cwd=tmp_path)
    assert process.returncode == 2 and "python:evil.py:build" in process.stderr
    assert not (tmp_path / "has_run").exists()


@pytest.mark.parametrize("command", ["sample_gan.py", "train.py", "traverse_latent_space.py", "evaluate.py",
                                     "invert.py"])
def test_help_says_that_its_code_is_run(command, run_warm, tmp_path):
    said = " ".join(run_warm(command, "-h", cwd=tmp_path).stdout.split())
    assert "python:FILE:FUNCTION" in said and "code is run" in said


def test_its_only_known_features_are_its_image(own):
    generator, z = load_generator(own()), z_of(2)
    assert generator.feature_layers == ["output0"]
    for name in ("Z", "W"):
        space = latent_space(generator, name, truncation=0.5)
        codes = space.codes_of(z)
        assert torch.equal(space.features(codes, "output0"), space.synthesise(codes))
