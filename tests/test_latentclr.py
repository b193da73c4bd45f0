"""LatentCLR: against the published code's numbers, in the trainer, and its published checkpoints.

The arrays in `data/latentclr` were computed by the published implementation.
"""

import math
import re
import shutil

import pytest
import torch
from method_runs import make_pool, stopped_at, walk
from torch import nn

import train
from lib.evaluation.experiments import Options, evaluate
from lib.files import save_tensors
from lib.latent_space import WSpace, feed_layers, latent_space
from lib.methods.contrast import Projector, log_ratios, rows
from lib.methods.latentclr import LatentCLR, LatentCLRSettings, driven_by, layer_named
from lib.paths.fields import unit
from lib.paths.networks import NetworkDirections, directions_from_state
from lib.trained import open_experiment
from lib.training.step import step
from models.dcgan import DCGAN
from models.errors import UserError
from models.load_generator import load_generator
from models.untrusted.tensor_files import load_tensors

KINDS = ("global", "linear", "nonlinear", "nonlinear_depth1")


@pytest.fixture(scope="module")
def arrays(published):
    return lambda name: published(f"latentclr/{name}")


@pytest.fixture(scope="module")
def states(data):
    return lambda name: load_tensors(data / "latentclr" / f"{name}.pt")


def method_of(space, model=None, projector=None, num_directions=4, **settings):
    """The method with given directions and projector."""
    method = LatentCLR(LatentCLRSettings(gan="", **settings), space, [""] * num_directions)
    method.trained = nn.ModuleDict({"model": model, "projector": projector or Projector()})
    return method


class NoSpace(WSpace):
    """Codes (N, d) that are their own positions."""

    def __init__(self):
        pass

    def codes_of(self, z):
        return z

    def positions(self, codes):
        return codes

    def shift(self, codes, offsets):
        return codes + offsets


# --- directions


@pytest.mark.parametrize("kind", KINDS)
def test_edits_conform(kind, arrays, states, conforms):
    expected = arrays("directions")
    model = directions_from_state(states("directions")[kind], 7, "file").eval()
    z, alpha = expected["z"], expected["alpha"][None]
    for name, alphas, more in (("shifted", alpha, {}), ("shifted_unnormalised", alpha, {"unnormalised": True}),
                               ("shifted_drawn", expected[f"{kind}_drawn_alphas"], {})):  # fmt: skip
        codes, edited = method_of(NoSpace(), model, **more).ends((z, alphas))
        assert torch.equal(codes, z)
        conforms(edited, expected[f"{kind}_{name}"])
    for k in range(4):
        conforms(z + alpha * model(z, torch.full((5,), k)), expected[f"{kind}_single"][k])


def test_batch_norm_of_a_direction_takes_the_statistics_of_its_codes(arrays, states, conforms):
    expected = arrays("directions")
    model = directions_from_state(states("directions")["nonlinear"], 7, "file").train()
    _, edited = method_of(NoSpace(), model).ends((expected["z"], expected["alpha"][None]))
    # Of direction 0 all last hidden units are off at the third code: published, it is not a number; here, it stays.
    dead = expected["nonlinear_shifted_train"].isnan().any(dim=1)
    assert dead.nonzero().tolist() == [[2]] and torch.equal(edited[2], expected["z"][2])
    conforms(edited[~dead], expected["nonlinear_shifted_train"][~dead])
    for name, key in (("running_mean", "mean"), ("running_var", "var")):
        found = [[getattr(getattr(net, f"batchnorm_{i}"), name) for i in (1, 2)] for net in model.nets]
        conforms(torch.stack([torch.stack(one) for one in found]), expected[f"nonlinear_running_{key}_after"])


@pytest.mark.parametrize("kind", ["global", "nonlinear"])
def test_walks_conform(kind, arrays, states, conforms):
    """Direct: one edit from the code; iterative: from 0 outwards on either side, along the direction at each code."""
    expected = arrays("directions")
    model = directions_from_state(states("directions")[kind], 7, "file").eval()
    alphas, starts = expected["walk_alphas"], expected["z"][:2]
    for n, start in enumerate(starts):
        for k in range(4):
            along = lambda x, k=k: model(x[None], torch.tensor([k]))[0]
            direct = torch.stack([start + alpha * along(start) for alpha in alphas])
            conforms(direct, expected[f"walk_{kind}_direct"][n, k])
            reached = {}
            for side in (alphas[alphas > 0], alphas[alphas < 0].flip(0), alphas[alphas == 0]):
                code, at = start, 0.0
                for alpha in side.tolist():
                    code, at = code + (alpha - at) * along(code), alpha
                    reached[alpha] = code
            iterative = torch.stack([reached[alpha] for alpha in alphas.tolist()])
            conforms(iterative, expected[f"walk_{kind}_iterative"][n, k])


def test_a_network_whose_units_are_all_off_gives_no_direction_and_no_nan():
    """The published code divides zero by zero."""
    model = NetworkDirections(1, 3, 2)
    with torch.no_grad():
        model.nets[0].batchnorm_1.bias.fill_(-100.0)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    vectors = model.vectors(x)
    assert (vectors / vectors.norm(dim=-1, keepdim=True)).isnan().all()
    found = model(x, torch.zeros(4, dtype=torch.long))
    assert (found == 0).all()
    found.sum().backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


def test_an_edit_that_changes_nothing_gives_a_row_of_zeros_and_no_nan():
    plain = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    edited = torch.cat([plain, plain + 1]).requires_grad_()
    found = rows(Projector(), plain, edited)
    assert (found[:2] == 0).all() and (found[2:] != 0).all()
    log_ratios(found, 2, 0.5, "signed").sum().backward()
    assert edited.grad.isfinite().all()


# --- projectors and loss


def projector_of(kind, states):
    if kind in ("identity", "unnormalised"):
        return Projector(normalize=kind == "identity")
    state = {key: one for key, one in states("projectors")[kind].items() if key.startswith("net.")}
    projector = Projector(kind, 36, width=9, out_features=7)
    projector.load_state_dict(state)
    return projector


@pytest.mark.parametrize("kind", ["identity", "unnormalised", "linear", "nonlinear"])
def test_projections_and_rows_conform(kind, arrays, states, conforms):
    expected, projector = arrays("loss"), projector_of(kind, states).eval()
    conforms(projector(expected["features"]), expected[f"projected_{kind}"])
    for together in (True, False):  # is the same where batch norm has its stored statistics
        conforms(rows(projector, expected["features"], expected["edited_features"], together), expected[f"rows_{kind}"])


@pytest.mark.parametrize("theirs, similarity", [("abs", "absolute"), ("signed", "signed")])
def test_loss_and_its_gradient_conform(theirs, similarity, arrays, conforms):
    """reduce=sum differs by a constant in the loss, and so by a threshold in the accuracy."""
    expected, k = arrays("loss"), arrays("loss")["k"].item()
    given = expected["rows_identity"].clone().requires_grad_()
    size = len(given) // k
    constant = math.log((k - 1) * size / (size - 1))
    for i, temperature in enumerate(expected["temperatures"].tolist()):
        ratios = log_ratios(given, k, temperature, similarity)
        for reduction, excess in (("mean", 0.0), ("sum", constant)):
            atol = 1e-4 * expected[f"loss_{reduction}_{theirs}"].abs().max().item()
            assert abs(excess - ratios.mean() - expected[f"loss_{reduction}_{theirs}"][i]) < atol
            accuracy = (ratios > excess).float().mean()
            assert accuracy == expected[f"accuracy_{reduction}_{theirs}"][i]
    (gradient,) = torch.autograd.grad(-log_ratios(given, k, 0.5, similarity).mean(), given)
    conforms(gradient, expected[f"grad_rows_mean_{theirs}_t0.5"])
    conforms(gradient, expected[f"grad_rows_sum_{theirs}_t0.5"])


def test_anchored_signs_tell_a_direction_that_does_the_opposite_to_another_code():
    """Two directions and two codes: direction 1 does the opposite to the second code, which the published loss takes
    for the same."""
    consistent = torch.eye(2).repeat_interleave(2, dim=0)
    opposite = consistent * torch.tensor([1.0, 1.0, 1.0, -1.0])[:, None]
    losses = {name: [-log_ratios(one, 2, 0.5, name).mean().item() for one in (consistent, opposite)]
              for name in ("anchored", "absolute", "signed")}  # fmt: skip
    assert losses["absolute"][0] == losses["absolute"][1]
    assert losses["anchored"][0] < losses["anchored"][1] - 0.2
    # Signed, a direction may be another one backwards: that is as good as it gets. Anchored, it is as bad.
    backwards = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    found = {name: -log_ratios(backwards, 2, 0.5, name).mean().item() for name in ("anchored", "signed")}
    assert found["signed"] < losses["signed"][0] and found["anchored"] > losses["anchored"][0]


def test_statistics_of_each_direction_apart_remove_what_its_edits_have_in_common():
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn(16, 6, generator=generator)
    common = torch.eye(6)[:2] * 3  # direction k adds 3 to feature k of each code, and something else to each
    edited = torch.cat([plain + change + 0.5 * torch.randn(16, 6, generator=generator) for change in common])
    projector = Projector("linear", 6, out_features=6)
    with torch.no_grad():
        projector.net.linear_1.weight.copy_(torch.eye(6))
    alike = {}
    for together in (True, False):
        found = rows(projector.train(), plain, edited, together)[:16]
        products = (found @ found.T).fill_diagonal_(0)
        alike[together] = products.sum().item() / (16 * 15)
    assert alike[True] > 0.6 and abs(alike[False]) < 0.1


# --- training


class Toy(nn.Module):
    """h = tanh(sum over layers l of x_l weight[l] + bias), x_l being the code of layer l."""

    def __init__(self, expected):
        super().__init__()
        self.weight, self.bias = (nn.Parameter(expected[f"toy_{name}"], requires_grad=False)
                                  for name in ("weight", "bias"))
        self.num_layers, self.z_dim = self.weight.shape[:2]
        self.w_dim = self.z_dim
        self.feature_layers = ["layer0"]

    def w_plus(self, w, psi):
        return w[:, None].expand(-1, self.num_layers, -1)

    def mapping(self, z):
        return z

    def features(self, codes, layer):
        return torch.tanh(torch.einsum("nld,ldchw->nchw", codes, self.weight) + self.bias)


@pytest.mark.parametrize("run", ["global", "linear", "nonlinear", "linear_feed", "global_mlp"])
def test_training_conforms(run, arrays, states, conforms, monkeypatch):
    expected, state = arrays("steps"), states("steps_init")[run]
    space = WSpace(Toy(expected))
    if run == "linear_feed":
        feed_layers(space, expected["feed_layers"].tolist())
    projector = Projector()
    if run == "global_mlp":
        projector = Projector("nonlinear", 36, width=9, out_features=7)
        projector.load_state_dict({key: one for key, one in state["projector"].items() if key.startswith("net.")})
    method = method_of(space, directions_from_state(state["model"], 7, "file"), projector, lr=1e-3, weight_decay=1e-3,
                       similarity="absolute", projector_statistics="apart")  # fmt: skip
    monkeypatch.setattr("lib.methods.latentclr.MILESTONES", tuple(expected["milestones"].tolist()))
    before = {key: one.clone() for key, one in method.paths.state_dict().items()}
    optimizer = method.optimizer()
    for i in range(3):
        batch = expected["z"][i], expected[f"{run}_alphas"][i]
        if i == 0:
            again = {key: one.clone() for key, one in method.trained.state_dict().items()}
            with torch.no_grad():
                plain, edited = (method.see(end, batch) for end in method.ends(batch))
                conforms(rows(projector, plain, edited, together=False), expected[f"{run}_rows1"])
            method.trained.load_state_dict(again)
        optimizer.param_groups[0]["lr"] = method.learning_rate(i)
        optimizer.zero_grad()
        loss = step(method, batch)
        assert abs(loss - expected[f"{run}_loss"][i]) < 1e-4 * expected[f"{run}_loss"].abs().max()
        if i == 0:
            gradients = {key: parameter.grad for key, parameter in method.paths.named_parameters()}
            for name, found in stacked(gradients, expected, f"{run}_grad1_").items():
                scale = expected[f"{run}_grad1_{name}"].abs().max()
                assert (found - expected[f"{run}_grad1_{name}"]).abs().max() < 1e-4 * scale
        optimizer.step()
    changes = {key: one - before[key] for key, one in method.paths.state_dict().items()}
    for name, found in stacked(changes, expected, f"{run}_delta_").items():
        scale = expected[f"{run}_delta_{name}"].abs().max()
        assert (found - expected[f"{run}_delta_{name}"]).abs().max() < 1e-3 * scale
    assert abs(method.learning_rate(3) - expected[f"{run}_final_lr"]) < 1e-9


def stacked(values, expected, prefix):
    """{name: (K, ...)} of the tensors that were recorded, whose nets are stacked there."""
    names = [key.removeprefix(prefix) for key in expected if key.startswith(prefix)]
    assert names
    return {name: values[name] if name in values else torch.stack([values[f"nets.{k}.{name}"] for k in range(4)])
            for name in names}  # fmt: skip


# --- features of the generator


@pytest.fixture(scope="module")
def rosinality(data):
    return load_generator(data / "rosinality_tiny.pt")


def test_features_of_stylegan2_conform(rosinality, arrays, conforms):
    expected, space = arrays("stylegan2_features"), latent_space(rosinality, "W")
    codes = rosinality.w_plus(expected["w"])
    conforms(space.codes_of(expected["z"])[:, 0], expected["w"])
    for theirs in ("conv1", "to_rgb1", "convs.1"):
        found = space.features(codes, layer_named(theirs))
        conforms(found, expected[f"feature_{theirs.replace('.', '_')}"])
    conforms(latent_space(rosinality, "Z").features(expected["z"], "layer0"), expected["feature_conv1"])
    styles = latent_space(rosinality, "S")
    conforms(styles.features(styles.codes_of(expected["z"]), "layer2"), expected["feature_convs_1"])


@pytest.mark.parametrize("layer, fed", [("conv1", None), ("convs.1", [0, 1])])
def test_loss_and_gradient_through_stylegan2_conform(layer, fed, rosinality, arrays, conforms):
    expected, space = arrays("stylegan2_features"), latent_space(rosinality, "W")
    model = directions_from_state({"params": expected["global_params"]}, 32, "file")
    method = method_of(space, model, num_directions=3, feature_layer=layer, feed_layers=fed, similarity="absolute",
                       temperature=expected["temperature"].item())  # fmt: skip
    method.space = method.space_of(method.settings, space)
    name = "conv1" if fed is None else "convs_1_fed_0_1"
    batch = expected["z"], expected["alpha"][None]
    conforms(torch.tensor(step(method, batch)), expected[f"loss_{name}"])
    conforms(model.params.grad, expected[f"grad_params_{name}"])
    plain, edited = (method.see(end, batch) for end in method.ends(batch))
    assert (log_ratios(rows(Projector(), plain, edited), 3, 0.5, "absolute") > 0).all()
    assert expected[f"accuracy_{name}"] == 1


def test_features_are_those_on_the_way_to_the_image(tiny_stylegan2, tiny_pggan):
    z = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    w_plus, synthesis = tiny_stylegan2.w_plus(tiny_stylegan2.mapping(z)), tiny_stylegan2.synthesis
    seen = {}
    hooks = [layer.register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out))
             for name, layer, _ in synthesis.layers_in_order()]  # fmt: skip
    image = tiny_stylegan2(w_plus)
    expected = dict(seen)
    for name in tiny_stylegan2.feature_layers:
        seen.clear()
        found = tiny_stylegan2.features(w_plus, name)
        if name.startswith("output"):  # the image that is summed by then, not what the layer adds
            assert torch.equal(found, tiny_stylegan2(w_plus, found.shape[-1]))
        else:
            assert torch.equal(found, expected[name])
            index = int(name.removeprefix("layer"))
            assert seen.keys() == {f"layer{i}" for i in range(index + 1)}  # and nothing behind it is computed
    for hook in hooks:
        hook.remove()
    assert torch.equal(tiny_stylegan2.features(w_plus, tiny_stylegan2.feature_layers[-1]), image)
    last = len(tiny_pggan.feature_layers) - 1
    output = getattr(tiny_pggan, f"output{last // 2}")
    assert torch.equal(output(tiny_pggan.features_from_z(z, 1.0, f"layer{last}")), tiny_pggan(z))
    assert tiny_pggan.features_from_z(z, 1.0, "layer2").shape[-1] == 8


@pytest.mark.parametrize("name", ["tiny_biggan", "tiny_biggan_deep", "tiny_dcgan"])
def test_features_of_other_families_are_those_on_the_way_to_the_image(name, request):
    generator = request.getfixturevalue(name)
    space = latent_space(generator, truncation=0.6)
    codes = space.codes_of(torch.randn(2, generator.z_dim, generator=torch.Generator().manual_seed(0)))
    found = [space.features(codes, layer) for layer in generator.feature_layers]
    assert [one.shape[-1] for one in found] == sorted(one.shape[-1] for one in found)
    last, image = found[-1], space.synthesise(codes)
    if name == "tiny_biggan":
        last = torch.tanh(generator.output_layer["2"](last, generator.output_layer["0"]()))
    elif name == "tiny_biggan_deep":
        last = torch.tanh(generator.generator.conv_to_rgb(last, generator.generator.bn(0.6)))
    assert torch.equal(last, image)


@pytest.fixture
def tiny_dcgan():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DCGAN(5, [6, 7, 3]).requires_grad_(False)


def test_a_step_on_a_biggan_moves_z_and_not_the_class(tiny_biggan):
    space = latent_space(tiny_biggan, truncation=0.6)
    method = LatentCLR(LatentCLRSettings(gan="", batch_size=3, feature_layer="layer0", alpha=1.0), space, [""] * 3)
    method.begin()
    codes, edited = method.ends(method.draw(0))
    kept = space.generator.z_dim
    assert torch.equal(edited[:, kept:], codes.repeat(3, 1)[:, kept:])
    assert not torch.equal(edited[:, :kept], codes.repeat(3, 1)[:, :kept])
    assert math.isfinite(step(method, method.draw(0)))
    assert all(one.grad.norm() > 0 for one in method.paths.parameters())


def test_published_names_of_layers_count_as_a_whole():
    """The published code looks for a name within the name: convs.10 stops at convs.1."""
    named = {"conv1": "layer0", "convs.0": "layer1", "convs.1": "layer2", "convs.10": "layer11", "to_rgb1": "output0",
             "to_rgbs.2": "output3", "generator.layers.4": "layer4", "layer7": "layer7"}  # fmt: skip
    assert {theirs: layer_named(theirs) for theirs in named} == named
    assert [driven_by(name) for name in ("layer0", "output0", "layer2", "output1")] == [0, 1, 2, 3]


def test_edits_enter_the_fed_layers_only(tiny_stylegan2):
    space = latent_space(tiny_stylegan2, "W")
    feed_layers(space, [3, 1])
    codes = space.codes_of(torch.randn(2, 32, generator=torch.Generator().manual_seed(0)))
    shifted = space.shift(codes, torch.ones(2, 32))
    moved = (shifted != codes).any(dim=-1)
    assert moved[:, [1, 3]].all() and not moved[:, [0, 2, *range(4, 10)]].any()
    assert torch.equal(space.positions(shifted), codes[:, 0] + 1)


# --- in the commands


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_pool(tmp_path)
    return tmp_path


def arguments(data, *more, gan="stylegan2_tiny", space="W"):
    return [f"--gan={data / gan}.pth", "--method=latentclr", f"--stylegan-space={space}", "--num-directions=3",
            "--batch-size=4", "--max-iter=3", "--ckp-freq=2", "--no-cuda", *more]  # fmt: skip


COMPLETE = "experiments/complete"
VARIANTS = {
    "LatentCLR_stylegan2_tiny-W-global-K3-layer0-alpha0.1": [],
    "LatentCLR_stylegan2_tiny-W-linear-K3-layer2-alpha0.5-feed0_1": [
        "--direction-model=linear", "--feature-layer=convs.1", "--feed-layers", "0", "1", "--alpha=0.5"],
    "LatentCLR_stylegan2_tiny-Z-nonlinear2-K3-output0-alpha-3.0_3.0-nonlinear_projector": [
        "--direction-model=nonlinear", "--direction-depth=2", "--feature-layer=to_rgb1", "--alpha-range", "-3", "3",
        "--projector=nonlinear", "--projector-width=8", "--projector-features=4", "--stylegan-space=Z"],
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_it_is_trained_walked_and_resumed_bit_for_bit(name, workplace, data):
    train.main(arguments(data, *VARIANTS[name]))
    directory = workplace / COMPLETE / name
    before, found = load_tensors(directory / "models" / "directions_init.pt"), open_experiment(directory)
    assert found.labels == ["direction 0", "direction 1", "direction 2"] and not found.paths.training
    after = found.paths.state_dict()
    trained = {name for name, _ in found.paths.named_parameters()}
    moved = max((after[key] - before[f"model.{key}"]).abs().max() for key in trained)
    assert 0 < moved < 0.01
    paths = walk(directory)
    assert paths.shape == ((3, 3, 10, 32) if "-W-" in name else (3, 3, 32))
    if "feed" in name:
        assert torch.equal(paths[:, 0, 2:], paths[:, 1, 2:]) and not torch.equal(paths[:, 0, :2], paths[:, 1, :2])
    with stopped_at(2, LatentCLR):
        train.main(arguments(data, *VARIANTS[name], "--exp-id=again"))
    train.main(arguments(data, *VARIANTS[name], "--exp-id=again"))
    for file in ("directions.pt", "projector.pt"):
        whole, again = (load_tensors(workplace / COMPLETE / f"{name}{suffix}" / "models" / file)
                        for suffix in ("", "-again"))  # fmt: skip
        assert all(torch.equal(whole[key], again[key]) for key in whole)


def test_it_is_trained_on_a_proggan(workplace, data):
    train.main(arguments(data, "--feature-layer=layer1", gan="pggan_tiny", space="Z"))
    assert open_experiment(next((workplace / COMPLETE).iterdir())).paths.num_paths == 3


def test_micro_batches_give_the_gradient_of_the_whole(tiny_stylegan2):
    method = LatentCLR(LatentCLRSettings(gan="", batch_size=3, feature_layer="layer2"),
                       latent_space(tiny_stylegan2, "W"), [""] * 3)  # fmt: skip
    method.begin()
    gradients = []
    for size in (None, 2):
        method.trained.zero_grad()
        step(method, method.draw(0), micro_batch_size=size)
        gradients.append(method.paths.params.grad.clone())
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


def test_alphas_are_drawn_as_published(tiny_stylegan2):
    """One for all of the global directions, one for each of the others, and none for each code."""
    space = latent_space(tiny_stylegan2, "W")
    counts = {}
    for kind in ("global", "linear", "nonlinear"):
        settings = LatentCLRSettings(gan="", direction_model=kind, alpha_range=[-3.0, 1.0])
        method = LatentCLR(settings, space, [""] * 5)
        alphas = torch.cat([method.draw(i)[1] for i in range(400)])
        counts[kind] = len(method.draw(0)[1])
        assert alphas.min() >= -3 and alphas.max() <= 1 and abs(alphas.mean() + 1) < 0.2
    assert counts == {"global": 1, "linear": 5, "nonlinear": 5}


@pytest.mark.parametrize("kind", ["global", "nonlinear"])
def test_published_checkpoint_is_walked(kind, workplace, data):
    """Of 7 dimensions: another W than the generator's, which is said; then as many as it has."""
    checkpoint = workplace / "outputs" / "best_model.pt"
    checkpoint.parent.mkdir()
    shutil.copy(data / "latentclr" / f"checkpoint_{kind}.pt", checkpoint)
    gan = f"--gan={data / 'stylegan2_tiny.pth'}"
    with pytest.raises(UserError, match="say where it is with --gan"):
        walk(checkpoint)
    with pytest.raises(UserError, match=re.escape("has directions in 7 dimensions")):
        walk(checkpoint, gan)
    content = load_tensors(checkpoint)
    wide = {key: nn.functional.pad(one, [0, 25] * (1 if one.ndim == 1 or key == "params" else 2), value=0.1)
            if one.ndim else one for key, one in content["model"].items()}  # fmt: skip
    torch.save({**content, "model": wide}, checkpoint)
    assert walk(checkpoint, gan).shape == (4, 3, 10, 32)
    assert walk(checkpoint.parent, gan).shape == (4, 3, 10, 32)
    found = open_experiment(checkpoint, data / "stylegan2_tiny.pth")
    assert found.space.name == "W" and found.settings.direction_model == kind and found.settings.num_directions == 4
    assert open_experiment(checkpoint, data / "pggan_tiny.pth").space.name == "Z"
    in_z = open_experiment(checkpoint, data / "stylegan2_tiny.pth", stylegan_space="Z")
    assert in_z.space.name == "Z" and in_z.directory != found.directory  # walks of both do not meet
    with pytest.raises(UserError, match=r"has paths in W or Z: leave out --stylegan-space"):
        walk(checkpoint, gan, "--stylegan-space=S")
    with pytest.raises(UserError, match="has paths in W, which a ProgGAN lacks"):
        open_experiment(checkpoint, data / "pggan_tiny.pth", stylegan_space="W")


def test_published_checkpoint_is_evaluated(workplace, data):
    content = load_tensors(data / "latentclr" / "checkpoint_global.pt")
    content["model"]["params"] = nn.functional.pad(content["model"]["params"], [0, 25], value=0.1)
    torch.save(content, workplace / "best_model.pt")
    save_tensors(torch.zeros(1, 32), workplace / "pool" / "other" / "latent_code_z.pt")
    options = Options(pool="pool", gan=str(data / "stylegan2_tiny.pth"), judge="portraits", shift_steps=2, samples=100)
    directory, summary = evaluate(workplace / "best_model.pt", options, torch.device("cpu"))
    assert (directory / "summary.json").is_file() and len(summary["paths"]) == 4


@pytest.mark.parametrize("kind, change, message", [
    ("global", lambda model: {**model, "nets.0.linear_1.weight": torch.zeros(7, 7)}, "not of networks of one kind"),
    ("global", lambda model: {"params": model["params"] * torch.nan}, "not finite"),
    ("nonlinear", lambda model: dict(list(model.items())[:-1]), "not of networks of one kind"),
    ("nonlinear", lambda model: {key: one for key, one in model.items() if "nets.0" not in key}, "neither params nor"),
])  # fmt: skip
def test_what_is_not_of_latentclr_is_refused(kind, change, message, states):
    with pytest.raises(UserError, match=message):
        directions_from_state(change(states(f"checkpoint_{kind}")["model"]), 7, "file")


@pytest.mark.parametrize("more, message", [
    (["--batch-size=1"], "--batch-size must be at least 2"),
    (["--alpha=0"], "changes nothing"),
    (["--alpha-range", "2", "1"], "is empty"),
    (["--feature-layer=conv9"], "is not a layer of this generator, whose layers are layer0, output0"),
    (["--feed-layers", "10"], "this generator's layers are 0 to 9"),
    (["--feed-layers", "5"], "lie behind --feature-layer layer0"),
    (["--feed-layers", "0", "--stylegan-space=Z"], "--feed-layers goes with --stylegan-space=W, not Z"),
    (["--learn-gammas"], "--learn-gammas is not used by --method=latentclr"),
    (["--direction-depth=2"], "--direction-depth is not used without --direction-model=nonlinear"),
    (["--projector-features=2"], "--projector-features is not used without --projector=linear or nonlinear"),
    (["--projector=linear", "--projector-width=2"], "--projector-width is not used without --projector=nonlinear"),
    (["--direction-model=nonlinear", "--direction-depth=32", "--num-directions=100000"],
     "of 100000 directions in 32 dimensions have 3,276,800,000 numbers"),
])  # fmt: skip
def test_what_contradicts_itself_is_refused_and_leaves_nothing(more, message, workplace, data):
    with pytest.raises(UserError, match=message):
        train.main(arguments(data, *more))
    assert not (workplace / "experiments").exists()


def test_vectors_become_unit_vectors(states):
    model = directions_from_state(states("directions")["linear"], 7, "file")
    x, indices = torch.randn(6, 7, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 0, 1, 1, 2, 0])
    expected = unit(model.vectors(x))[indices, torch.arange(6)]
    torch.testing.assert_close(model(x, indices), expected)
