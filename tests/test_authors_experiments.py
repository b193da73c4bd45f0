"""Experiments that the authors' code made: they are walked as they are, whatever version made them."""

import json
import shutil

import pytest
import torch
from outcomes import change_args, done, refused

from lib import trained
from lib.config import CORPORA
from lib.paths.support_sets import LatentSupportSets
from models.errors import UserError
from models.untrusted.tensor_files import load_tensors

AUTHORS = "ContraCLIP_stylegan2_tiny-W+5-K3-D8-eps0.1_0.2-nonlinear_beta-0.5-contrastive_0.07-expressions3"


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
    page = done(run_warm("traverse_latent_space.py", *walk, cwd=tmp_path)).split("results: ")[1].splitlines()[0]
    results = (tmp_path / page).parent
    for i, paths in enumerate(expected["paths"]):
        conforms(load_tensors(results / f"code{i}" / "paths_latent_codes.pt"), paths[:, ::4])
    for first, second in json.loads(CORPORA["expressions3"].read_text()):
        assert first in (results / "results.md").read_text() and second in (results / "results.md").read_text()


def test_arguments_that_older_versions_lack_or_name_differently(authors):
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


def test_own_list_of_dipoles_takes_precedence_over_the_corpus(authors):
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
def test_invalid_arguments(changed, named, authors):
    change_args(authors, **changed)
    with pytest.raises(UserError, match=named):
        trained.open_experiment(authors)


def alternating(state):
    return torch.tensor([1.0, -1.0]).repeat(len(state["LOGGAMMA"]), state["SUPPORT_SETS"].shape[1] // (2 * 192))


def test_gammas_of_each_support_vector(data):
    """As one version of the authors' code has them: directions are the gradients of its f."""
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
