"""Generators from files in all three commands, what tells them apart, and experiments that the authors' code made."""

import hashlib
import json
import shutil

import nvidia_pickles
import pytest
import torch

from lib import trained
from lib.config import CORPORA
from lib.paths.support_sets import LatentSupportSets
from models.errors import UserError
from models.untrusted.tensor_files import load_tensors

AUTHORS = "ContraCLIP_stylegan2_tiny-W+5-K3-D8-eps0.1_0.2-nonlinear_beta-0.5-contrastive_0.07-expressions3"


def done(process):
    assert process.returncode == 0, process.stderr
    return process.stdout


def refused(process):
    assert process.returncode == 2 and process.stderr.count("\n") == 1, process.stderr
    return process.stderr


@pytest.fixture
def authors(data, tmp_path):
    """An experiment as the authors' code leaves it, with the published weights."""
    directory = tmp_path / "experiments" / "complete" / AUTHORS
    (directory / "models").mkdir(parents=True)
    shutil.copy(data / "args.json", directory)
    (directory / "command.sh").write_text("#!/usr/bin/bash\ntrain.py --gan=stylegan2_tiny\n")
    (directory / "stats.json").write_text("{}")
    shutil.copy(data / "latent_support_sets.pt", directory / "models")
    return directory


def change_args(directory, remove=(), **changed):
    """Changes the arguments that stand in a directory."""
    file = directory / "args.json"
    args = json.loads(file.read_text()) | changed
    file.write_text(json.dumps({key: value for key, value in args.items() if key not in remove}))


def test_experiment_of_the_authors_is_walked_as_it_is(authors, data, tmp_path, published, conforms, run_warm):
    expected = published("traversal")
    pool = tmp_path / "experiments" / "latent_codes" / "stylegan2_tiny" / "inverted"
    for i, code in enumerate(expected["start_codes"]):
        (pool / f"code{i}").mkdir(parents=True)
        torch.save(code[None], pool / f"code{i}" / "latent_code_w+.pt")
    walk = ["--exp", authors, "--pool=inverted", "--w-space", "--shift-steps=12", f"--eps={expected['eps']:.2f}",
            "--shift-leap=4", "--no-cuda"]
    assert "where it is now with --gan" in refused(run_warm("traverse_latent_space.py", *walk, cwd=tmp_path))
    walk.append(f"--gan={data / 'stylegan2_tiny.pth'}")
    page = done(run_warm("traverse_latent_space.py", *walk, cwd=tmp_path)).split("results: ")[1].strip()
    results = (tmp_path / page).parent
    for i, paths in enumerate(expected["paths"]):
        conforms(load_tensors(results / f"code{i}" / "paths_latent_codes.pt"), paths[:, ::4])
    for first, second in json.loads(CORPORA["expressions3"].read_text()):
        assert first in (results / "results.md").read_text() and second in (results / "results.md").read_text()


def test_arguments_that_older_versions_lack_or_name_otherwise(authors):
    assert trained.read_settings(authors).stylegan_layer == 5
    change_args(authors, ["gan", "stylegan_layer"], gan_type="stylegan2_tiny", truncation=None)
    settings = trained.read_settings(authors)
    found = settings.gan, settings.stylegan_space, settings.stylegan_layer, settings.truncation
    assert found == ("stylegan2_tiny", "W+", None, 1.0)
    dipoles = trained.read_labels(authors, settings)
    assert [list(poles) for poles in dipoles] == json.loads(CORPORA["expressions3"].read_text())
    change_args(authors, ["stylegan_space"], gan="pggan_celebahq1024", truncation=0.7)
    settings = trained.read_settings(authors)
    assert (settings.stylegan_space, settings.truncation) == ("Z", 1.0)


def test_own_list_of_dipoles_goes_before_the_corpus(authors):
    dipoles = [["a cat", "a dog"]] * 3
    (authors / "models" / "semantic_dipoles.json").write_text(json.dumps(dipoles))
    assert trained.read_labels(authors, trained.read_settings(authors)) == [("a cat", "a dog")] * 3


def test_weights_of_the_last_iteration_where_training_has_not_ended(authors):
    weights = authors / "models" / "latent_support_sets.pt"
    for iteration in (900, 1000, 20):
        shutil.copy(weights, weights.with_name(f"latent_support_sets-{iteration}.pt"))
    assert trained.find_weights(authors, weights.name) == weights
    weights.unlink()
    assert trained.find_weights(authors, weights.name).name == "latent_support_sets-1000.pt"


@pytest.mark.parametrize(
    "changed, named",
    [
        ({"gan": 3}, "gan"), ({"gan": None}, "gan"), ({"stylegan_space": "P"}, "stylegan_space"),
        ({"stylegan_space": ["W"]}, "stylegan_space"), ({"stylegan_layer": "5"}, "stylegan_layer"),
        ({"stylegan_layer": -1}, "stylegan_layer"), ({"truncation": 0}, "truncation"),
        ({"truncation": "0.7"}, "truncation"), ({"corpus": "dev"}, "semantic_dipoles.json"),
        ({"corpus": ["a"]}, "semantic_dipoles.json"),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be(changed, named, authors):
    change_args(authors, **changed)
    with pytest.raises(UserError, match=named):
        trained.open_experiment(authors)


def alternating(state):
    return torch.tensor([1.0, -1.0]).repeat(len(state["LOGGAMMA"]), state["SUPPORT_SETS"].shape[1] // (2 * 192))


def test_gammas_of_each_support_vector(data):
    """As a version of the authors' code has them: directions are the gradients of that f."""
    state = load_tensors(data / "latent_support_sets.pt")
    alphas = alternating(state)
    drawn = torch.Generator().manual_seed(0)
    loggammas = state["LOGGAMMA"] + torch.randn(alphas.shape, generator=drawn)
    sets = LatentSupportSets.from_state(state | {"LOGGAMMA": loggammas, "ALPHAS": alphas}, 192, "file")
    x = torch.randn(6, 192, generator=drawn).requires_grad_()
    indices = torch.tensor([0, 1, 2, 2, 1, 0])
    squared = (x[:, None] - state["SUPPORT_SETS"].view(3, -1, 192)[indices]).square().sum(dim=2)
    exponents = -loggammas[indices].exp() * squared
    exponents = exponents - exponents.detach().amax(dim=1, keepdim=True)  # scales f at each x, not its direction
    gradient = torch.autograd.grad((alphas[indices] * exponents.exp()).sum(), x)[0]
    torch.testing.assert_close(sets(x, indices), gradient / gradient.norm(dim=1, keepdim=True), rtol=0, atol=1e-5)


def test_equal_gammas_of_support_vectors_are_one(data):
    state = load_tensors(data / "latent_support_sets.pt")
    each = state | {"LOGGAMMA": state["LOGGAMMA"].expand(alternating(state).shape), "ALPHAS": alternating(state)}
    x, indices = torch.randn(6, 192, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 2, 1, 0])
    expected = LatentSupportSets.from_state(state, 192, "file")(x, indices)
    torch.testing.assert_close(LatentSupportSets.from_state(each, 192, "file")(x, indices), expected)


@pytest.mark.parametrize("alphas", [lambda a: -a, lambda a: a[:, :2], lambda a: a * 2, lambda a: 1])
def test_other_weights_of_support_vectors_are_refused(alphas, data):
    state = load_tensors(data / "latent_support_sets.pt")
    with pytest.raises(UserError, match="ALPHAS"):
        LatentSupportSets.from_state(state | {"ALPHAS": alphas(alternating(state))}, 192, "weights.pt")


@pytest.fixture(scope="module")
def used(data, tiny_clip_file, run_warm, tmp_path_factory):
    """A working directory in which all three commands were given an NVIDIA pickle, faces.pkl."""
    cwd = tmp_path_factory.mktemp("used")
    kwargs = json.loads((data / "nvidia_tiny.json").read_text())["init_kwargs"]
    network = nvidia_pickles.network(torch.load(data / "nvidia_tiny_state_dict.pt"), nvidia_pickles.easy(kwargs))
    nvidia_pickles.dump({"G_ema": network}, cwd / "faces.pkl")
    for script, arguments in commands(tiny_clip_file, "faces.pkl").items():
        done(run_warm(script, *arguments, cwd=cwd))
    return cwd


EXPERIMENT = "experiments/complete/ContraCLIP_faces-W-K3-D4-eps0.25_0.45-nonlinear_beta-0.5-cossim-expressions3"
POOL = "experiments/latent_codes/faces/faces-1"


def commands(clip, gan):
    """{script: its arguments} for the generator `gan`."""
    return {
        "sample_gan.py": [f"--gan={gan}", "--num-samples=1", "--no-cuda"],
        "train.py": [f"--gan={gan}", "--stylegan-space=W", "--corpus=expressions3", f"--clip-model={clip}",
                     "--batch-size=2", "--max-iter=1", "--num-latent-support-dipoles=4", "--no-cuda"],
        "traverse_latent_space.py": [f"--exp={EXPERIMENT}", "--pool=faces-1", "--shift-steps=1", "--no-cuda"],
    }  # fmt: skip


@pytest.fixture
def workplace(used, tmp_path):
    return shutil.copytree(used, tmp_path / "workplace")


def test_file_is_told_by_its_hash(used):
    expected = hashlib.sha256((used / "faces.pkl").read_bytes()).hexdigest()
    for directory in (EXPERIMENT, POOL):
        args = json.loads((used / directory / "args.json").read_text())
        assert args["gan"] == "faces.pkl" and args["gan_sha256"] == expected
    assert (used / EXPERIMENT / "results" / "faces-1").is_dir()


def test_another_file_of_the_name_is_refused(workplace, data, tiny_clip_file, run_warm):
    shutil.copy(data / "rosinality_tiny.pt", workplace / "faces.pkl")
    for script, arguments in commands(tiny_clip_file, "faces.pkl").items():
        assert "another file" in refused(run_warm(script, *arguments, cwd=workplace))


def test_pool_of_another_file_is_refused(workplace, tiny_clip_file, run_warm):
    change_args(workplace / POOL, gan_sha256="0" * 64)
    walk = commands(tiny_clip_file, "faces.pkl")["traverse_latent_space.py"]
    assert POOL in refused(run_warm("traverse_latent_space.py", *walk, cwd=workplace))


def test_experiments_and_pools_that_state_no_hash_are_taken(workplace, data, tiny_clip_file, run_warm):
    shutil.copy(data / "rosinality_tiny.pt", workplace / "faces.pkl")
    for directory in (EXPERIMENT, POOL):
        change_args(workplace / directory, ["gan_sha256"])
    for script, arguments in commands(tiny_clip_file, "faces.pkl").items():
        done(run_warm(script, *arguments, cwd=workplace))
    for directory in (EXPERIMENT, POOL):
        assert "gan_sha256" not in json.loads((workplace / directory / "args.json").read_text())


def test_same_file_elsewhere_is_taken(workplace, tiny_clip_file, run_warm):
    (workplace / "moved").mkdir()
    (workplace / "faces.pkl").rename(workplace / "moved" / "faces.pkl")
    for script, arguments in commands(tiny_clip_file, "moved/faces.pkl").items():
        moved = ["--gan=moved/faces.pkl"] if script == "traverse_latent_space.py" else []
        done(run_warm(script, *arguments, *moved, cwd=workplace))


def test_walk_with_a_generator_of_another_name_is_refused(workplace, data, tiny_clip_file, run_warm):
    walk = commands(tiny_clip_file, "faces.pkl")["traverse_latent_space.py"]
    other = f"--gan={data / 'stylegan2_tiny.pth'}"
    assert "stylegan2_tiny" in refused(run_warm("traverse_latent_space.py", *walk, other, cwd=workplace))
