"""WarpedGANSpace: against the published code's numbers, in the trainer, and its published experiments.

The arrays in `data/warpedganspace` were computed by the published implementation.
"""

import json
import shutil
import zlib

import numpy as np
import pytest
import torch
from method_runs import make_pool, stopped_at, walk

import train
from lib.latent_space import Space, latent_space
from lib.methods.reconstructors import RECONSTRUCTORS, LeNet
from lib.methods.warpedganspace import WarpedGANSpace, WarpedGANSpaceSettings
from lib.paths.support_sets import WeightedSupportSets
from lib.paths.tracing import trace
from lib.trained import open_experiment
from lib.training.step import step
from models.errors import UserError
from models.truncated_normal import truncated
from models.untrusted.tensor_files import load_tensors


@pytest.fixture(scope="module")
def arrays(data):
    """arrays("training") -> {name: tensor}; names in text are left out."""

    def load(name):
        with np.load(data / "warpedganspace" / f"{name}.npz") as content:
            found = {key: content[key] for key in content}
        return {key: torch.from_numpy(value) for key, value in found.items() if value.dtype.kind != "U"}

    return load


@pytest.fixture(scope="module")
def states(data):
    return load_tensors(data / "warpedganspace" / "support_sets.pt")


class ToySpace(Space):
    """image[c, i, j] = tanh(sum_d x_d rows[d, c, i] columns[d, c, j]), of x = z, or of x = w = tanh(z mapping)."""

    device, dim = torch.device("cpu"), 16

    def __init__(self, arrays, name):
        self.name, self.arrays = name, arrays

    def codes_of(self, z):
        return z if self.name == "Z" else torch.tanh(z @ self.arrays["toy_mapping"])

    def positions(self, codes):
        return codes

    def shift(self, codes, offsets):
        return codes + offsets

    def synthesise(self, codes):
        return torch.einsum("bd,dci,dcj->bcij", codes, self.arrays["toy_rows"], self.arrays["toy_columns"]).tanh()


def of_rule(module, salt, names):
    """Set weights as the published numbers were computed with: from each tensor's name and shape."""
    state = {}
    for name, shape in names.items():
        seed = (zlib.crc32(name.encode()) + salt) % 2**32
        drawn = np.random.RandomState(seed).standard_normal(shape)
        if name.endswith("num_batches_tracked"):
            value = np.zeros(shape)
        elif name.endswith("running_var"):
            value = 0.5 + np.abs(drawn)
        elif name.endswith("running_mean"):
            value = 0.3 * drawn
        elif len(shape) == 1:
            value = 1 + 0.2 * drawn if name.endswith("weight") else 0.1 * drawn
        else:
            value = drawn * np.sqrt(2 / np.prod(shape[1:]))
        state[name] = torch.from_numpy(np.asarray(value, dtype=np.float32))
    lacking, unknown = module.load_state_dict(state, strict=False)
    assert not lacking and all(name.startswith("features_extractor.fc.") for name in unknown)
    return module


@pytest.fixture(scope="module")
def reconstructor(data):
    """reconstructor("LeNet", salt) with the weights of the published numbers; all published names are asked for."""
    shapes = json.loads((data / "warpedganspace" / "reconstructor_shapes.json").read_text())

    def build(kind, salt):
        return of_rule(RECONSTRUCTORS[kind](5), salt, shapes[kind.lower()])

    return build


@pytest.mark.parametrize("variant", ["fixed_gamma", "learn_gammas", "learn_both"])
def test_directions_and_their_gradients_conform(variant, arrays, states, conforms):
    expected, learnt = arrays("support_sets"), {
        "learn_gammas": variant != "fixed_gamma", "learn_alphas": variant == "learn_both"
    }  # fmt: skip
    state = states[variant]
    if variant == "fixed_gamma":  # the published code does not look at the stored one
        state = {**state, "LOGGAMMA": expected["gamma_fixed_gamma"].log().expand(5, 1)}
    sets = WeightedSupportSets.from_state(state, 16, "file", **learnt)
    code = expected["code"].clone().requires_grad_()
    found = sets(code, expected["indices"])
    conforms(found, expected[f"direction_{variant}"])
    (expected["cotangent"] * found).sum().backward()
    names = {"support_sets": sets.SUPPORT_SETS, "log_gammas": sets.LOGGAMMA, "alphas": sets.ALPHAS}
    gradients = {"code": code.grad} | {name: parameter.grad for name, parameter in names.items()}
    for name, gradient in gradients.items():
        if f"grad_{name}_{variant}" in expected:
            scale = expected[f"grad_{name}_{variant}"].abs().max()
            assert (gradient - expected[f"grad_{name}_{variant}"]).abs().max() < 1e-3 * scale
        else:
            assert gradient is None


def test_initial_support_sets_conform_without_the_stray_radius(arrays, conforms):
    expected = arrays("support_sets")
    for num_paths, radii in ((5, expected["init_radii"]), (200, expected["radii_k200"])):
        sets = WeightedSupportSets.random(num_paths, 6, 16, 1 / 16, torch.Generator().manual_seed(0))
        vectors = sets.SUPPORT_SETS.view(num_paths, 6, 2, 16)
        conforms(vectors.norm(dim=-1).flatten(1).mean(1), radii)
        assert torch.equal(vectors[:, :, 0], -vectors[:, :, 1])
        assert vectors.norm(dim=-1).std(dim=(1, 2)).max() < 1e-6
    sets = WeightedSupportSets.random(5, 6, 16, 1 / 16, torch.Generator().manual_seed(0))
    conforms(sets.LOGGAMMA, expected["init_log_gammas"])
    assert torch.equal(sets.ALPHAS, expected["init_alphas"])
    published = np.arange(1.0, 4.0, 3.0 / 47)  # the published radii of 47 paths
    assert len(published) == 48
    sets = WeightedSupportSets.random(47, 1, 16, 1.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(sets.SUPPORT_SETS[:, :16].norm(dim=1).detach().double(), torch.tensor(published[:47]),
                               rtol=1e-5, atol=0)  # fmt: skip


@pytest.mark.parametrize("kind", ["LeNet", "ResNet"])
def test_reconstructor_conforms(kind, arrays, reconstructor, conforms):
    expected, name = arrays("reconstructor"), kind.lower()
    net = reconstructor(kind, expected["rule_salt"].item())
    image, shifted = expected["image"].float(), expected["shifted_image"].float().requires_grad_()
    with torch.no_grad():
        for found, output in zip(net.eval()(image, shifted), ("logits", "magnitudes")):
            conforms(found, expected[f"{name}_{output}_eval"])
    logits, magnitudes = net.train()(image, shifted)
    conforms(logits, expected[f"{name}_logits_train"])
    conforms(magnitudes, expected[f"{name}_magnitudes_train"])
    method = WarpedGANSpace(WarpedGANSpaceSettings(gan=""), None, [""] * 5)
    method.trained = {"reconstructor": lambda *_: (logits, magnitudes)}
    loss = method.loss([image, shifted], None, (None, expected["target_indices"], expected["target_magnitudes"]))
    conforms(loss, expected[f"{name}_total_loss"])
    loss.backward()
    norms, corner = shifted.grad.flatten(1).norm(dim=1), shifted.grad[..., :8, :8]
    for found, key in ((norms, "norms"), (corner, "corner")):
        scale = expected[f"{name}_grad_shifted_image_{key}"].abs().max()
        assert (found - expected[f"{name}_grad_shifted_image_{key}"]).abs().max() < 1e-3 * scale
    first = next(module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d))
    conforms(first.running_mean, expected[f"{name}_first_bn_running_mean_after"])
    conforms(first.running_var, expected[f"{name}_first_bn_running_var_after"])


def test_one_pair_has_one_magnitude(arrays):
    """The published LeNet drops the axis."""
    assert arrays("reconstructor")["lenet_one_pair_magnitude_ndim"] == 0
    image = torch.zeros(1, 3, 32, 32)
    assert LeNet(5).eval()(image, image)[1].shape == (1,)


@pytest.mark.parametrize("space", ["z", "w"])
def test_training_conforms(space, data, arrays, reconstructor, conforms):
    expected = arrays("training")
    settings = WarpedGANSpaceSettings(gan="", learn_gammas=True, lr=expected["learning_rate"].item(),
                                      reconstructor_lr=expected["learning_rate"].item())  # fmt: skip
    method = WarpedGANSpace(settings, ToySpace(expected, space.upper()), [""] * 5)
    before = load_tensors(data / "warpedganspace" / "training_init.pt")[space]
    sets = WeightedSupportSets.from_state(before, 16, "file", learn_gammas=True)
    salt = arrays("reconstructor")["rule_salt"].item()
    method.trained = torch.nn.ModuleDict({"support_sets": sets, "reconstructor": reconstructor("LeNet", salt)})
    start = {key: value.clone() for key, value in method.trained.state_dict().items()}
    optimizer = method.optimizer()
    for i in range(3):
        batch = tuple(expected[f"{space}_{name}"][i] for name in ("z", "indices", "magnitudes"))
        codes, shifted = method.ends(batch)
        conforms(codes, expected[f"{space}_direction_at"][i])
        conforms(shifted - codes, expected[f"{space}_shifts"][i])
        optimizer.zero_grad()
        value = step(method, batch)
        conforms(torch.tensor(value), expected[f"{space}_total_loss"][i])
        if i == 0:
            for name, parameter in (("support_sets", sets.SUPPORT_SETS), ("log_gammas", sets.LOGGAMMA)):
                scale = expected[f"{space}_grad1_{name}"].abs().max()
                assert (parameter.grad - expected[f"{space}_grad1_{name}"]).abs().max() < 1e-3 * scale
        optimizer.step()
    names = {"support_sets": "support_sets.SUPPORT_SETS", "log_gammas": "support_sets.LOGGAMMA"}
    for key in (key for key in expected if key.startswith(f"{space}_delta_")):
        name = key.removeprefix(f"{space}_delta_")
        name = names.get(name, f"reconstructor.{name}")
        assert (method.trained.state_dict()[name] - start[name] - expected[key]).abs().max() < 1e-6


@pytest.mark.parametrize("walk, leap", [("z_leap1", 1), ("w_leap1", 1), ("z_leap2", 2)])
def test_walk_conforms_and_renders_the_codes_that_it_stores(walk, leap, arrays, states, conforms):
    expected = arrays("traversal")
    space = ToySpace(expected, walk[0].upper())
    paths = WeightedSupportSets.from_state(states["learn_gammas"], 16, "file")
    steps, eps = expected["shift_steps"].item(), expected["eps"].item()
    found = trace(space, paths, space.codes_of(expected["start_codes"]), steps, eps, leap)
    conforms(found, expected[f"paths_{walk}"])
    assert not torch.allclose(found, expected[f"rendered_at_{walk}"], atol=eps / 2)


def test_half_of_the_magnitudes_are_positive(tiny_stylegan2):
    """The published code draws them from negatives, then positives, with weights 0, 1, .. 2B - 1."""
    settings = WarpedGANSpaceSettings(gan="", batch_size=32, min_shift_magnitude=0.1, max_shift_magnitude=0.2)
    method = WarpedGANSpace(settings, latent_space(tiny_stylegan2, "W"), [""] * 5)
    magnitudes = torch.cat([method.draw(i)[2] for i in range(200)])
    assert ((magnitudes.abs() >= 0.1) & (magnitudes.abs() <= 0.2)).all()
    assert abs((magnitudes > 0).float().mean() - 0.5) < 0.02
    generator = torch.Generator().manual_seed(0)
    weights = torch.arange(64.0).expand(200, -1)
    published = torch.multinomial(weights, 32, replacement=False, generator=generator) >= 32
    assert abs(published.float().mean() - 0.69) < 0.02


def test_z_truncation_bounds_each_coordinate():
    z = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    found = truncated(z, 0.7)
    assert found.abs().max() <= 0.7 and torch.equal(found.sign(), z.sign())
    assert abs(found.std() - 0.388) < 0.01  # of a standard normal distribution cut off there
    torch.testing.assert_close(truncated(z, 20), z)


# --- in the commands


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_pool(tmp_path)
    return tmp_path


def arguments(data, *more):
    return [f"--gan={data / 'stylegan2_tiny.pth'}", "--method=warpedganspace", "--stylegan-space=W", "-K3", "-D4",
            "--reconstructor-type=LeNet", "--learn-gammas", "--batch-size=4", "--max-iter=3", "--ckp-freq=2",
            "--min-shift-magnitude=0.1", "--max-shift-magnitude=0.2", "--no-cuda", *more]  # fmt: skip


NAME = "WarpedGANSpace_stylegan2_tiny-W-LeNet-K3-D4-LearnGammas-eps0.1_0.2"


def test_it_is_trained_and_walked(workplace, data):
    train.main(arguments(data))
    directory = workplace / "experiments" / "complete" / NAME
    before, after = load_tensors(directory / "models" / "support_sets_init.pt"), open_experiment(directory)
    for key in ("SUPPORT_SETS", "LOGGAMMA"):
        moved = (getattr(after.paths, key) - before[f"support_sets.{key}"]).abs()
        assert 0 < moved.max() < 1e-3
    assert torch.equal(after.paths.ALPHAS, before["support_sets.ALPHAS"])
    trained = load_tensors(directory / "models" / "reconstructor.pt")
    assert any(not torch.equal(trained[key], before[f"reconstructor.{key}"]) for key in trained)
    assert after.labels == ["path 0", "path 1", "path 2"]
    assert walk(directory).shape == (3, 3, 10, 32)


def test_it_resumes_bit_for_bit(workplace, data):
    train.main(arguments(data, "--exp-id=whole"))
    with stopped_at(2, WarpedGANSpace):
        train.main(arguments(data))
    train.main(arguments(data))
    for file in ("support_sets.pt", "reconstructor.pt"):
        whole, resumed = (load_tensors(workplace / "experiments" / "complete" / f"{NAME}{suffix}" / "models" / file)
                          for suffix in ("-whole", ""))  # fmt: skip
        assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_micro_batches_give_the_gradient_of_the_whole(tiny_stylegan2):
    settings = WarpedGANSpaceSettings(gan="", batch_size=4, reconstructor_type="LeNet", num_support_dipoles=4)
    method = WarpedGANSpace(settings, latent_space(tiny_stylegan2, "W"), [""] * 3)
    method.begin()
    values, gradients = [], []
    for size in (None, 2):
        method.trained.zero_grad()
        values.append(step(method, method.draw(0), micro_batch_size=size))
        gradients.append(method.paths.SUPPORT_SETS.grad.clone())
    assert abs(values[0] - values[1]) < 1e-5
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4 * gradients[0].abs().max().item())


def test_the_generator_stays_frozen_and_the_unshifted_images_have_no_graph(tiny_stylegan2):
    method = WarpedGANSpace(WarpedGANSpaceSettings(gan="", batch_size=2, reconstructor_type="LeNet"),
                            latent_space(tiny_stylegan2, "W"), [""] * 3)  # fmt: skip
    method.begin()
    plain, shifted = method.ends(method.draw(0))
    assert not plain.requires_grad and shifted.requires_grad
    step(method, method.draw(0))
    assert all(parameter.grad is None for parameter in tiny_stylegan2.parameters())


@pytest.fixture
def theirs(workplace, states):
    """An experiment as the published code leaves it, with three dipoles for each path of a 32-dimensional W."""
    directory = workplace / "experiments" / "complete" / "StyleGAN2-1024-W-LeNet-K5-D3-LearnGammas-eps0.1_0.2"
    (directory / "models").mkdir(parents=True)
    args = {"gan_type": "StyleGAN2", "z_truncation": None, "biggan_target_classes": None, "stylegan2_resolution": 64,
            "shift_in_w_space": True, "num_support_sets": 5, "num_support_dipoles": 3, "learn_alphas": False,
            "learn_gammas": True, "gamma": None, "support_set_lr": 1e-4, "reconstructor_type": "LeNet",
            "min_shift_magnitude": 0.1, "max_shift_magnitude": 0.2, "reconstructor_lr": 1e-4, "max_iter": 3,
            "batch_size": 4, "lambda_cls": 1.0, "lambda_reg": 0.25, "log_freq": 10, "ckp_freq": 1000,
            "tensorboard": False, "cuda": True}  # fmt: skip
    (directory / "args.json").write_text(json.dumps(args))
    state = {**states["learn_gammas"], "ALPHAS": states["learn_gammas"]["ALPHAS"][:, :6]}  # d = 32 here
    torch.save(state, directory / "models" / "support_sets.pt")
    return directory


def change(directory, **changes):
    args = json.loads((directory / "args.json").read_text()) | changes
    (directory / "args.json").write_text(json.dumps(args))


def test_published_experiment_is_walked(theirs, data):
    with pytest.raises(UserError, match="say where it is with --gan"):
        open_experiment(theirs)
    assert walk(theirs, f"--gan={data / 'stylegan2_tiny.pth'}").shape == (5, 3, 10, 32)
    found = open_experiment(theirs, data / "stylegan2_tiny.pth")
    assert found.space.name == "W" and found.settings.min_shift_magnitude == 0.1
    state = load_tensors(theirs / "models" / "support_sets.pt")
    assert torch.equal(found.paths.LOGGAMMA, state["LOGGAMMA"])
    (theirs / "models" / "support_sets.pt").unlink()
    with pytest.raises(UserError, match="has no weights yet"):
        open_experiment(theirs, data / "stylegan2_tiny.pth")
    torch.save({"iter": 2, "support_sets": state, "reconstructor": {}}, theirs / "models" / "checkpoint.pt")
    assert open_experiment(theirs, data / "stylegan2_tiny.pth").paths.num_paths == 5


def test_published_experiment_that_did_not_train_gammas_has_those_of_its_command(theirs, data):
    for given, gamma in ((0.11, 0.11), (None, 1 / 32)):
        change(theirs, learn_gammas=False, gamma=given)
        found = open_experiment(theirs, data / "stylegan2_tiny.pth").paths.LOGGAMMA
        torch.testing.assert_close(found.exp(), torch.full((5, 1), gamma))


def test_published_experiment_on_another_generator_is_refused(theirs, data):
    change(theirs, stylegan2_resolution=1024)
    with pytest.raises(UserError, match="trained on a StyleGAN2 of 1024"):
        open_experiment(theirs, data / "stylegan2_tiny.pth")
    change(theirs, gan_type="ProgGAN")
    with pytest.raises(UserError, match="trained on a ProgGAN"):
        open_experiment(theirs, data / "stylegan2_tiny.pth")
    change(theirs, gan_type="SNGAN_MNIST")
    with pytest.raises(UserError, match="not read here"):
        open_experiment(theirs, data / "stylegan2_tiny.pth")
    shutil.copy(data / "warpedganspace" / "training_init.pt", theirs / "models" / "support_sets.pt")
    change(theirs, gan_type="StyleGAN2", stylegan2_resolution=64)
    with pytest.raises(UserError, match="SUPPORT_SETS is not there"):
        open_experiment(theirs, data / "stylegan2_tiny.pth")


@pytest.mark.parametrize("more, message", [
    (["--batch-size=1"], "--batch-size must be at least 2"),
    (["--min-shift-magnitude=0.3"], "is above"),
    (["--css-beta=0.5"], "--css-beta is not used by --method=warpedganspace"),
    (["--corpus=attributes"], "--corpus is not used by --method=warpedganspace"),
    (["--synthesis-resolution=16"], "LeNet needs images of 32 pixels"),
])  # fmt: skip
def test_what_contradicts_itself_is_refused_and_leaves_nothing(more, message, workplace, data):
    with pytest.raises(UserError, match=message):
        train.main(arguments(data, *more))
    assert not (workplace / "experiments").exists()
