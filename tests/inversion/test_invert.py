"""Codes of pictures: `lib.inversion.invert` and what it is made of."""

import itertools
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib.inversion import invert
from lib.inversion import optimisation as optimisation_of_codes
from lib.inversion.comparing import load_comparison, pixels
from lib.inversion.coordinates import Coordinates, space_of
from lib.inversion.noise import correlation, noisy_layers, normalise, with_noise_of_its_own
from lib.inversion.starts import regressed, start
from lib.judges import perceptual
from lib.latent_space import latent_space, limit_resolution
from lib.settings import InversionSettings
from models.custom import CustomGenerator
from models.errors import UserError
from models.load_generator import load_generator

QUICK = InversionSettings(samples=24, steps=12)


def samples(space, count, seed=1):
    """Codes and images of a space."""
    z = torch.randn(count, space.generator.z_dim, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        codes = space.codes_of(z)
        return codes, space.synthesise(codes)


class Kept:
    """A checkpoint in memory. stop_at: the step at which the search is interrupted."""

    def __init__(self, stop_at=None):
        self.state, self.stop_at, self.saved = None, stop_at, 0

    def load(self):
        return self.state

    def save(self, state, last):
        self.state, self.saved = state(), self.saved + 1
        self.state = {key: [one.clone() for one in value] if isinstance(value, list) else value
                      for key, value in self.state.items()}  # fmt: skip
        if self.state["step"] == self.stop_at:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def small_stylegan2(data):
    """The tiny generator, whose noise has some strength in two layers."""
    generator = load_generator(data / "stylegan2_tiny.pth")
    for name, layer, _ in generator.synthesis.layers_in_order():
        if not name.startswith("output"):
            layer.noise_strength.fill_(0.1 if name in ("layer3", "layer6") else 0.0)
    return generator


@pytest.mark.parametrize("name, sought", [("Z", None), ("W", None), ("W", "W+"), ("W+", None), ("S", None), ("S", "W")])
def test_codes_of_any_space_come_nearer_to_the_picture(name, sought, small_stylegan2):
    space = latent_space(small_stylegan2, name)
    codes, targets = samples(space, 2)
    begun = invert(space, targets, replace(QUICK, steps=1, stylegan_space=sought))
    found = invert(space, targets, replace(QUICK, stylegan_space=sought))
    assert found.codes.shape == codes.shape and found.images.shape == targets.shape
    assert not found.codes.requires_grad and not found.images.requires_grad
    assert (found.distances < 0.96 * begun.distances).all()
    torch.testing.assert_close(space.synthesise(found.codes), found.images)
    torch.testing.assert_close(pixels(found.images, targets), found.distances)


def test_a_generator_without_w_is_inverted_in_z(tiny_pggan):
    space = latent_space(tiny_pggan, "Z")
    codes, targets = samples(space, 2)
    found = invert(space, targets, replace(QUICK, steps=30))
    assert found.codes.shape == codes.shape
    assert (found.distances < pixels(space.synthesise(codes.flip(0)), targets) * 0.75).all()


def test_codes_of_w_are_the_same_on_all_layers_and_those_of_w_plus_are_not(small_stylegan2):
    space = latent_space(small_stylegan2, "W")
    _, targets = samples(space, 1)
    shared = invert(space, targets, QUICK).codes
    free = invert(space, targets, replace(QUICK, stylegan_space="W+")).codes
    assert (shared == shared[:, :1]).all() and not (free == free[:, :1]).all()


def test_each_picture_is_inverted_by_itself(small_stylegan2):
    space = latent_space(small_stylegan2, "W")
    _, targets = samples(space, 3)
    together = invert(space, targets, replace(QUICK, steps=4)).codes
    alone = invert(space, targets[1:2], replace(QUICK, steps=4)).codes
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-3)


def test_a_search_that_was_interrupted_ends_with_the_same_bits(small_stylegan2):
    space = latent_space(small_stylegan2, "W+")
    _, targets = samples(space, 2)
    whole = invert(space, targets, QUICK)
    kept = Kept(stop_at=5)
    with pytest.raises(KeyboardInterrupt):
        invert(space, targets, QUICK, checkpoint=kept)
    kept.stop_at, kept.saved = None, 0
    resumed = invert(space, targets, QUICK, checkpoint=kept)
    assert kept.saved == QUICK.steps - 5
    assert torch.equal(resumed.codes, whole.codes) and torch.equal(resumed.images, whole.images)
    again = invert(space, targets, QUICK, checkpoint=kept)  # of a search that has ended
    assert kept.saved == QUICK.steps - 5 and torch.equal(again.codes, whole.codes)


def test_the_noise_takes_part_and_the_generator_is_left_as_it_was(small_stylegan2):
    space = latent_space(small_stylegan2, "W")
    before = {key: value.clone() for key, value in small_stylegan2.state_dict().items()}
    _, targets = samples(space, 1)
    targets = targets + 0.1 * torch.randn(targets.shape, generator=torch.Generator().manual_seed(2))
    free, fixed = (invert(space, targets, replace(QUICK, noise=noise)) for noise in (True, False))
    assert not torch.equal(free.codes, fixed.codes)
    for key, value in small_stylegan2.state_dict().items():
        assert torch.equal(value, before[key]), key
    torch.testing.assert_close(space.synthesise(free.codes), free.images)


def test_noise_is_of_its_own_and_weights_are_shared(small_stylegan2):
    copied = with_noise_of_its_own(small_stylegan2)
    layers = noisy_layers(copied)
    assert layers == [copied.synthesis.layer3, copied.synthesis.layer6]
    assert all(a is b for a, b in zip(copied.parameters(), small_stylegan2.parameters(), strict=True))
    layers[0].noise = torch.zeros(3, 1, 16, 16)
    assert small_stylegan2.synthesis.layer3.noise.shape[0] == 1


def test_of_several_tries_the_best_is_kept(small_stylegan2):
    space = latent_space(small_stylegan2, "W")
    _, targets = samples(space, 3)
    one, several = (invert(space, targets, replace(QUICK, tries=tries)) for tries in (1, 4))
    assert several.codes.shape == one.codes.shape
    assert several.distances.sum() < one.distances.sum()
    kept = Kept(stop_at=3)
    for stop_at in (7, None):  # before and after the others are left
        with suppress(KeyboardInterrupt):
            invert(space, targets, replace(QUICK, tries=4), checkpoint=kept)
        assert kept.state["values"][0].shape[0] == (12 if kept.stop_at == 3 else 3)
        kept.stop_at = stop_at
    assert torch.equal(invert(space, targets, replace(QUICK, tries=4), checkpoint=kept).codes, several.codes)


def test_correlation_tells_smooth_noise_from_white():
    white = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    smooth = F.avg_pool2d(F.pad(white, (1, 1, 1, 1), mode="circular"), 3, 1)
    with torch.no_grad():
        normalise(smooth)
    torch.testing.assert_close(smooth.square().mean((1, 2, 3)), torch.ones(2))
    assert (correlation(smooth) > 10 * correlation(white)).all()


def test_progress_is_told_and_may_end_the_search(small_stylegan2):
    space = latent_space(small_stylegan2, "W")
    _, targets = samples(space, 2)
    told = []
    invert(space, targets, replace(QUICK, steps=4), lambda share, distances: told.append((share, distances.shape)))
    assert told == [(0.25, (2,)), (0.5, (2,)), (0.75, (2,)), (1.0, (2,))]

    class Enough(Exception):
        pass

    def stop(share, distances):
        raise Enough

    with pytest.raises(Enough):
        invert(space, targets, QUICK, stop)


def test_a_search_of_some_seconds_ends_with_them(small_stylegan2, monkeypatch):
    space = latent_space(small_stylegan2, "W")
    _, targets = samples(space, 1)
    clock, shares = itertools.count(), []
    monkeypatch.setattr(optimisation_of_codes.time, "monotonic", lambda: next(clock))
    invert(space, targets, replace(QUICK, seconds=9.0), lambda share, _: shares.append(share))
    assert shares == sorted(shares) and 1 < len(shares) < 9


def test_without_any_time_the_start_is_what_is_found(small_stylegan2):
    space = latent_space(small_stylegan2, "W")
    codes, targets = samples(space, 2)
    assert invert(space, targets, replace(QUICK, seconds=1e-9, tries=3)).codes.shape == codes.shape


def test_a_checkpoint_of_another_search_is_refused(small_stylegan2):
    space = latent_space(small_stylegan2, "W")
    _, targets = samples(space, 2)
    kept = Kept()
    invert(space, targets, replace(QUICK, steps=1), checkpoint=kept)
    kept.state["means"][0] = torch.zeros(2, 1, 7)
    with pytest.raises(UserError, match="damaged or is another's"):
        invert(space, targets, QUICK, checkpoint=kept)


def test_a_lower_resolution_is_kept_to(small_stylegan2):
    space = latent_space(small_stylegan2, "W")
    limit_resolution(space, 16)
    _, targets = samples(space, 1)
    assert invert(space, targets, replace(QUICK, steps=2)).images.shape == (1, 3, 16, 16)
    with pytest.raises(ValueError, match="targets have shape"):
        invert(space, torch.zeros(1, 3, 64, 64), QUICK)


def test_offsets_have_unit_covariance_and_lead_back_to_codes(small_stylegan2):
    for name in ("Z", "W", "W+"):
        space = space_of(latent_space(small_stylegan2, name))
        coordinates = Coordinates(space)
        z = torch.randn(500, space.generator.z_dim, generator=torch.Generator().manual_seed(1))
        codes = space.codes_of(z)
        offsets = coordinates.of(codes)
        assert abs(offsets.square().mean().item() - 1) < 0.2
        torch.testing.assert_close(coordinates.codes(offsets), codes, rtol=0, atol=1e-3)


class Layered(nn.Module):
    """A generator of one's own, whose mapping gives each of three layers a w of its own."""

    z_dim, resolution = 4, 16

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3 * 5), nn.Linear(3 * 5, 3 * 16 * 16)

    def mapping(self, z):
        return torch.tanh(self.first(z)).unflatten(1, (3, 5))

    def synthesis(self, w):
        return torch.tanh(self.second(w.flatten(1))).unflatten(1, (3, 16, 16))

    def forward(self, z):
        return self.synthesis(self.mapping(z))


def test_layers_may_have_a_w_of_their_own_each():
    torch.manual_seed(0)
    module = Layered()
    generator = CustomGenerator(module, 4, 16).requires_grad_(False)
    generator.show_w(module.mapping(torch.randn(2, 4)))
    space = latent_space(generator, "W+", layer=1)
    codes, targets = samples(space, 2)
    found = invert(space, targets, replace(QUICK, steps=60))
    assert found.codes.shape == codes.shape == (2, 3, 5)
    assert (found.distances < 0.1 * pixels(targets, targets.flip(0))).all()
    with pytest.raises(UserError, match="has no space W"):
        invert(space, targets, replace(QUICK, stylegan_space="W"))


def test_regression_finds_a_linear_map():
    noise = torch.Generator().manual_seed(0)
    offsets, matrix = torch.randn(400, 1, 5, generator=noise), torch.randn(5, 60, generator=noise)
    seen = offsets[:, 0] @ matrix + 3
    found = regressed(seen[:4], seen[4:], offsets[4:])
    assert (F.cosine_similarity(found[:, 0], offsets[:4, 0]) > 0.9).all()


def test_a_search_may_start_at_the_mean_of_w_but_not_of_z(small_stylegan2):
    settings = replace(QUICK, start="mean")
    _, targets = samples(latent_space(small_stylegan2, "W"), 1)
    coordinates = Coordinates(latent_space(small_stylegan2, "W"))
    assert not start(coordinates, targets, settings).any()
    with pytest.raises(UserError, match="--start=samples"):
        invert(latent_space(small_stylegan2, "Z"), targets, settings)


def test_a_clip_takes_part_where_it_is_asked_to(small_stylegan2, tiny_clip_file):
    space = latent_space(small_stylegan2, "W")
    _, targets = samples(space, 1)
    found = invert(space, targets, replace(QUICK, steps=4, compare=f"clip:{tiny_clip_file}"))
    compared = load_comparison(f"clip:{tiny_clip_file}").to(targets)
    torch.testing.assert_close(found.distances, compared(found.images))
    assert (found.distances > pixels(found.images, targets)).all()
    assert compared(targets).abs().item() < 1e-4


def test_lpips_takes_part_and_sees_large_pictures_smaller(monkeypatch):
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).requires_grad_(False)
    network, sizes = perceptual.Lpips(layers, (1,), [torch.ones(4)]), []
    layers[0].register_forward_hook(lambda layer, given, found: sizes.append(given[0].shape[-1]))
    monkeypatch.setattr(perceptual, "load_lpips", lambda name, device: network)
    targets = torch.rand(2, 3, 600, 600, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images = targets.flip(0).requires_grad_()
    distances = load_comparison("lpips").to(targets)(images)
    assert set(sizes) == {300}
    assert (distances > pixels(images, targets)).all() and load_comparison("lpips").to(targets)(targets).max() == 0
    assert torch.autograd.grad(distances.sum(), images)[0].any()


def test_what_does_not_fit_is_refused(small_stylegan2, tiny_pggan, tiny_biggan):
    with pytest.raises(UserError, match="has no space W"):
        space_of(latent_space(tiny_pggan, "Z"), "W+")
    with pytest.raises(UserError, match="hold a class"):
        space_of(latent_space(tiny_biggan, "Z"))
    with pytest.raises(UserError, match="are of no use in Z"):
        space_of(latent_space(small_stylegan2, "Z"), "W")
    with pytest.raises(UserError, match="is not a comparison"):
        load_comparison("vgg")


def test_images_that_are_not_finite_are_refused(small_stylegan2, monkeypatch):
    monkeypatch.setattr(optimisation_of_codes, "RATE", float("inf"))
    _, targets = samples(latent_space(small_stylegan2, "W"), 1)
    with pytest.raises(UserError, match="not finite"):
        invert(latent_space(small_stylegan2, "W"), targets, replace(QUICK, steps=2))
