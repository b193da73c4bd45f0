"""Methods without training: text, GANSpace and SeFa are what their equations say, and are walked like any other."""

import json

import method_runs
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import train
from lib.evaluation.experiments import Options, evaluate
from lib.files import save_tensors
from lib.latent_space import latent_space
from lib.methods import components, text_start
from lib.methods.components import Moments, components_of_codes, components_of_layer
from lib.methods.eigenvectors import leading_eigenvectors
from lib.methods.sefa import gram
from lib.trained import open_experiment
from models.errors import UserError
from models.load_generator import load_generator
from models.untrusted.tensor_files import load_tensors


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arguments(gan, method, *more, space="W"):
    return [f"--gan={gan}", f"--method={method}", f"--stylegan-space={space}", "--no-cuda", *more]


def trained(workplace):
    return next((workplace / "experiments" / "complete").iterdir())


def walk(directory, workplace, width):
    """The codes along the paths from a code of ones."""
    method_runs.make_pool(workplace, width)
    return method_runs.walk(directory, "--eps=0.2")


# --- text


def test_text_leaves_the_paths_of_contraclip_without_iterations(workplace, data, tiny_clip_file, monkeypatch):
    monkeypatch.setattr(text_start, "FEATURE_CODES", 40)
    monkeypatch.setattr(text_start, "RESPONSE_CODES", 4)
    gan = data / "stylegan2_tiny.pth"
    more = "--corpus=expressions3", f"--clip-model={tiny_clip_file}"
    train.main(arguments(gan, "text", *more))
    train.main(arguments(gan, "contraclip", "--path=lines", "--max-iter=0", *more))
    ours, other = (workplace / "experiments/complete" / name for name in (
        "Text_stylegan2_tiny-W-K3-expressions3", "ContraCLIP_stylegan2_tiny-W-K3-lines-eps1.1_1.8-paired-expressions3"))
    files = [sorted(file.name for file in (directory / "models").iterdir()) for directory in (ours, other)]
    assert files[0] == files[1]
    for name in ("paths.pt", "paths_init.pt"):
        states = [load_tensors(directory / "models" / name) for directory in (ours, other)]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])
    assert open_experiment(ours).labels == open_experiment(other).labels
    assert walk(ours, workplace, 32).shape == (3, 3, 10, 32)
    save_tensors(torch.zeros(1, 32), workplace / "pool" / "other" / "latent_code_z.pt")
    options = Options(pool="pool", judge="portraits", shift_steps=2, samples=100)
    _, summary = evaluate(ours, options, torch.device("cpu"))
    assert [path["label"] for path in summary["paths"]] == [list(label) for label in open_experiment(ours).labels]


# --- SeFa


def test_eigenvectors_are_anchored_and_the_largest_come_first():
    matrix = torch.diag(torch.tensor([1.0, 5.0, 3.0]))
    values, vectors = leading_eigenvectors(matrix, 2)
    assert torch.equal(values, torch.tensor([5.0, 3.0], dtype=torch.float64))
    assert torch.equal(vectors, torch.tensor([[0, 1, 0], [0, 0, 1]], dtype=torch.float64))


def test_sefa_weights_are_those_that_the_published_code_reads(tiny_stylegan2, tiny_pggan):
    """Of StyleGAN2, all convolutions' and the last RGB layer's; of ProgGAN, the first layer's."""
    state = tiny_stylegan2.state_dict()
    names = [*(f"layer{i}" for i in range(9)), "output4"]
    expected = [state[f"synthesis.{name}.style.weight"] for name in names]
    found = tiny_stylegan2.entry_weights()
    assert len(found) == len(expected) and all(map(torch.equal, found, expected))
    [found] = tiny_pggan.entry_weights()
    weight = tiny_pggan.state_dict()["layer0.weight"]
    expected = weight.flip(2, 3).permute(1, 0, 2, 3).flatten(1)  # its order of pixels, which A^T A does not depend on
    torch.testing.assert_close(gram([found]), gram([expected.T]))


def test_sefa_directions_maximise_what_layers_make_of_them(tiny_stylegan2):
    rows = torch.cat([F.normalize(weight, dim=1) for weight in tiny_stylegan2.entry_weights()]).double()
    values, directions = leading_eigenvectors(gram(tiny_stylegan2.entry_weights()), 3)
    _, singular, expected = np.linalg.svd(rows.numpy())
    torch.testing.assert_close(values, torch.from_numpy(singular[:3] ** 2))
    cosines = (directions * torch.from_numpy(expected[:3])).sum(dim=1)
    torch.testing.assert_close(cosines.abs(), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("name", ["tiny_biggan", "tiny_biggan_deep"])
def test_weights_say_how_layers_respond_to_z_of_a_biggan(name, request):
    """The first layer, and all gains and offsets of norms, move along a direction as the weights say."""
    biggan = request.getfixturevalue(name)
    z = torch.randn(2, biggan.z_dim, generator=torch.Generator().manual_seed(0))
    codes = biggan.codes(z, torch.tensor([1, 1]))
    seen = []
    maps = [module for key, module in biggan.named_modules() if isinstance(module, torch.nn.Linear)
            and key.rpartition(".")[2] in ("linear", "gen_z", "gain", "bias", "scale", "offset")]  # fmt: skip
    hooks = [module.register_forward_hook(lambda module, inputs, output: seen.append(output[1] - output[0]))
             for module in maps]  # fmt: skip
    biggan(codes)
    for hook in hooks:
        hook.remove()
    changes = torch.cat([weight @ (z[1] - z[0]) for weight in biggan.entry_weights()])
    torch.testing.assert_close(changes, torch.cat(seen), rtol=1e-4, atol=1e-5)


def test_weights_say_how_the_first_layer_of_a_dcgan_responds():
    from models.dcgan import DCGAN

    network = DCGAN(6, [4, 3])
    z = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    first = F.conv_transpose2d(z[:, :, None, None], network.transposed0.weight)
    torch.testing.assert_close(z @ network.entry_weights()[0].T, first.flatten(1))


def test_sefa_is_trained_walked_and_moves_its_layers_only(workplace, data):
    train.main(arguments(data / "stylegan2_tiny.pth", "sefa", "--num-directions=3", "--sefa-layers", "1", "4"))
    directory = trained(workplace)
    assert directory.name == "SeFa_stylegan2_tiny-W-K3-layers1_4"
    found = open_experiment(directory)
    assert found.labels == ["direction 0", "direction 1", "direction 2"]
    assert len(found.settings.eigenvalues) == 3 and found.settings.eigenvalues[0] >= found.settings.eigenvalues[1] > 0
    codes = walk(directory, workplace, 32)
    moved = (codes[:, 2] - codes[:, 1]).norm(dim=-1)
    expected = torch.zeros(10)
    expected[[1, 4]] = 0.2
    torch.testing.assert_close(moved, expected.expand(3, -1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("gan", ["pggan_tiny.pth", "biggan_pytorch_tiny.pth", "biggan_deep_tiny.bin"])
@pytest.mark.parametrize("method, more", [("sefa", []), ("ganspace", ["--ganspace-layer=layer0"])])
def test_generators_without_w_are_trained_and_walked_in_z(gan, method, more, workplace, data):
    train.main(arguments(data / gan, method, "--num-directions=2", *more, *["--ganspace-samples=40"] * bool(more),
                         space="Z"))  # fmt: skip
    directory, generator = trained(workplace), load_generator(data / gan)
    found = open_experiment(directory)
    torch.testing.assert_close(found.paths.DIRECTIONS.norm(dim=1), torch.ones(2))
    width = found.space.stored_dim
    codes = walk(directory, workplace, width)
    assert codes.shape == (2, 3, width)
    assert torch.equal(codes[:, 0, generator.z_dim :], codes[:, 2, generator.z_dim :])  # the class stays


# --- GANSpace


def test_moments_are_those_of_all_rows():
    rows = 1000 + torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) @ torch.rand(4, 4)
    moments = Moments()
    for part in rows.split(17):
        moments.add(part)
    torch.testing.assert_close(moments.mean, rows.double().mean(dim=0))
    torch.testing.assert_close(moments.covariance, torch.cov(rows.double().T))


def test_ganspace_components_are_those_of_scikit_learn(tiny_stylegan2):
    from sklearn.decomposition import PCA

    space = latent_space(tiny_stylegan2, "W")
    found = components_of_codes(space, 4, 2500, seed=3)
    codes = torch.cat([space.positions(part) for part in components.drawn_codes(space, 2500, 3, 13, 1000)])
    expected = PCA(4).fit(codes.numpy())
    torch.testing.assert_close(found.shares.float(), torch.from_numpy(expected.explained_variance_ratio_), rtol=1e-4,
                               atol=0)  # fmt: skip
    cosines = (found.directions * torch.from_numpy(expected.components_)).sum(dim=1).abs()
    torch.testing.assert_close(cosines, torch.ones(4), rtol=0, atol=1e-4)
    along = (codes @ found.directions.T).std(dim=0)
    torch.testing.assert_close(found.deviations.float(), along, rtol=1e-3, atol=0)


class Layered:
    """A world whose activations are linear in z, so that the regression must find z's own axes."""

    device = torch.device("cpu")

    def __init__(self, mixing):
        self.generator, self.mixing = type("Generator", (), {"z_dim": mixing.shape[1]}), mixing

    codes_of = positions = staticmethod(lambda codes: codes)

    def features(self, codes, layer):
        return (2 + codes @ self.mixing.T)[:, :, None, None]


@pytest.mark.parametrize("most_exact", [4096, 3])
def test_ganspace_regresses_codes_to_a_layers_components(most_exact, monkeypatch):
    """y = Q diag(9, 4, 2) z: the components are Q's columns, and the codes that go with them z's axes."""
    monkeypatch.setattr(components, "MOST_EXACT", most_exact)
    q, _ = torch.linalg.qr(torch.randn(7, 3, generator=torch.Generator().manual_seed(0)))
    found = components_of_layer(Layered(q * torch.tensor([9.0, 4.0, 2.0])), "layer0", 3, 4000, seed=0)
    torch.testing.assert_close(found.directions.abs(), torch.eye(3), rtol=0, atol=0.05)
    torch.testing.assert_close(found.deviations.float(), torch.ones(3), rtol=0, atol=0.05)
    torch.testing.assert_close(found.shares.float(), torch.tensor([81.0, 16.0, 4.0]) / 101, rtol=0.05, atol=0)


def test_more_components_than_a_layer_has_are_refused():
    mixing = torch.zeros(7, 3)
    mixing[0, 0] = 1
    with pytest.raises(UserError, match="vary in fewer than --num-directions 2"):
        components_of_layer(Layered(mixing), "layer0", 2, 100, seed=0)


@pytest.mark.parametrize("space, more, name", [
    ("W", ["--feed-layers", "0", "1"], "GANSpace_stylegan2_tiny-W-K3-feed0_1"),
    ("W", ["--ganspace-layer=layer2"], "GANSpace_stylegan2_tiny-W-K3-layer2"),
    ("W+", ["--stylegan-layer=3"], "GANSpace_stylegan2_tiny-W+3-K3"),
    ("S", [], "GANSpace_stylegan2_tiny-S8-K3"),
])  # fmt: skip
def test_ganspace_is_trained_and_walked(space, more, name, workplace, data):
    train.main(arguments(data / "stylegan2_tiny.pth", "ganspace", "--num-directions=3", "--ganspace-samples=60", *more,
                         space=space))  # fmt: skip
    found = open_experiment(workplace / "experiments/complete" / name)
    assert found.labels[2] == "component 2" and len(found.settings.deviations) == 3
    codes = walk(found.directory, workplace, 32)
    moved = (codes[:, 2] - codes[:, 1]).norm(dim=-1)
    if space == "W":
        assert (moved[:, :2] > 0.19).all() and bool((moved[:, 2:] > 0).any()) == ("--feed-layers" not in more)


def test_defaults_suit_the_generator(workplace):
    for gan, name, truncation in (("stylegan2_portraits64", "SeFa_stylegan2_portraits64-W-K4", 0.7),
                                  ("pggan_portraits64", "SeFa_pggan_portraits64-Z-K4", 1.0)):  # fmt: skip
        train.main([f"--gan={gan}", "--method=sefa", "--num-directions=4", "--no-cuda"])
        assert open_experiment(workplace / "experiments/complete" / name).settings.truncation == truncation


def test_the_same_command_leaves_the_same_paths(workplace, data):
    for exp_id in ("a", "b"):
        train.main(arguments(data / "stylegan2_tiny.pth", "ganspace", "--num-directions=3", "--ganspace-samples=60",
                             f"--exp-id={exp_id}"))  # fmt: skip
    states = [load_tensors(directory / "models/paths.pt")["DIRECTIONS"]
              for directory in (workplace / "experiments/complete").iterdir()]  # fmt: skip
    assert len(states) == 2 and torch.equal(*states)


@pytest.mark.parametrize("method, more", [("sefa", []), ("ganspace", ["--ganspace-samples=60"])])
def test_what_was_found_is_evaluated(method, more, workplace, data):
    train.main(arguments(data / "stylegan2_tiny.pth", method, "--num-directions=2", *more))
    for i, z in enumerate(torch.randn(2, 1, 32, generator=torch.Generator().manual_seed(0))):
        save_tensors(z, workplace / "pool" / f"code_{i}" / "latent_code_z.pt")
    options = Options(pool="pool", judge="portraits", shift_steps=2, samples=100, own=["1:-smile"])
    directory, summary = evaluate(trained(workplace), options, torch.device("cpu"))
    assert json.loads((directory / "summary.json").read_text()) and len(summary["paths"]) == 2


# --- what cannot be

OWN = """
import torch
class Own(torch.nn.Module):
    z_dim, resolution = 32, 8
    def forward(self, z):
        return z[:, :3, None, None].tanh().expand(-1, 3, 8, 8)
def build():
    return Own()
"""


def test_sefa_needs_a_generator_whose_layers_it_knows(workplace):
    (workplace / "own.py").write_text(OWN)
    with pytest.raises(UserError, match="a module of your own does not say which they are"):
        train.main(arguments("python:own.py:build", "sefa", space="Z"))
    assert not (workplace / "experiments").exists()


def test_weights_of_another_method_are_refused_by_the_file(workplace, data):
    train.main(arguments(data / "stylegan2_tiny.pth", "sefa", "--num-directions=2"))
    file = trained(workplace) / "models" / "paths.pt"
    save_tensors({"SUPPORT_SETS": torch.ones(2, 64), "LOGGAMMA": torch.ones(2, 1)}, file)
    with pytest.raises(UserError, match=r"paths\.pt"):
        walk(trained(workplace), workplace, 32)


@pytest.mark.parametrize("gan, space, method, more, message", [
    ("stylegan2_tiny.pth", "Z", "sefa", [], "SeFa's directions of a StyleGAN2 are in W"),
    ("stylegan2_tiny.pth", "S", "sefa", [], "--method=sefa has no paths in S"),
    ("pggan_tiny.pth", "W", "sefa", [], "which has no space W"),
    ("stylegan2_tiny.pth", "W", "sefa", ["--num-directions=33"], "is above the latent space's dimension 32"),
    ("stylegan2_tiny.pth", "W", "sefa", ["--sefa-layers", "10"], "this generator's layers are 0 to 9"),
    ("stylegan2_tiny.pth", "W", "sefa", ["--ganspace-layer=layer0"], "--ganspace-layer is not used by --method=sefa"),
    ("stylegan2_tiny.pth", "W", "sefa", ["--max-iter=3"], "--max-iter is not used by --method=sefa"),
    ("stylegan2_tiny.pth", "Z", "ganspace", [], "codes of Z have no principal components"),
    ("stylegan2_tiny.pth", "W", "ganspace", ["--ganspace-layer=conv"], "is not a layer of this generator"),
    ("stylegan2_tiny.pth", "W", "ganspace", ["--ganspace-samples=20"], "are too few for --num-directions 32"),
    ("stylegan2_tiny.pth", "W+", "ganspace", ["--feed-layers", "0"], "--feed-layers goes with --stylegan-space=W"),
    ("stylegan2_tiny.pth", "W", "text", ["--corpus=expressions3", "--loss=paired"], "--loss is not used by"),
    ("stylegan2_tiny.pth", "W", "text", ["--corpus=expressions3", "--max-iter=0"], "--max-iter is not used by"),
])  # fmt: skip
def test_what_cannot_be_is_refused_and_leaves_nothing(gan, space, method, more, message, workplace, data):
    with pytest.raises(UserError, match=message):
        train.main(arguments(data / gan, method, *more, space=space))
    assert not (workplace / "experiments").exists()
