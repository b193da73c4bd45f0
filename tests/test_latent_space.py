"""Z, W and W+: what their codes and positions are, what a shift moves, and how large they are."""

import pytest
import torch

from lib.latent_space import jung_radius, jung_radius_of, latent_space
from models.errors import UserError

SPACES = [("Z", None, 32), ("W", None, 32), ("W+", 5, 192), ("W+", 0, 32)]


@pytest.fixture
def z(published):
    return published("stylegan2_tiny")["z"]


@pytest.mark.parametrize("name, layer, dim", SPACES)
def test_shift_moves_the_position_by_the_offsets(name, layer, dim, tiny_stylegan2, z):
    space = latent_space(tiny_stylegan2, name, layer)
    codes = space.codes_of(z)
    offsets = torch.randn(3, dim, generator=torch.Generator().manual_seed(0))
    assert (space.name, space.layer, space.dim) == (name, layer, dim)
    torch.testing.assert_close(space.positions(space.shift(codes, offsets)), space.positions(codes) + offsets)


def test_z_codes_are_z(tiny_stylegan2, tiny_pggan, z):
    for generator in (tiny_stylegan2, tiny_pggan):
        space = latent_space(generator, "Z")
        assert torch.equal(space.codes_of(z), z) and torch.equal(space.positions(z), z)


def test_w_shift_moves_all_layers_alike(tiny_stylegan2, z):
    space = latent_space(tiny_stylegan2, "W")
    codes, offsets = space.codes_of(z), torch.randn(3, 32)
    torch.testing.assert_close(space.shift(codes, offsets), codes + offsets[:, None])


def test_w_plus_shift_leaves_upper_layers_and_does_not_mix_lower_ones(tiny_stylegan2, published):
    codes = published("stylegan2_tiny")["w_plus_perturbed"]
    space = latent_space(tiny_stylegan2, "W+", 5)
    offsets = torch.zeros(3, 6, 32)
    offsets[:, 4] = 1
    expected = codes.clone()
    expected[:, 4] += 1
    assert torch.equal(space.shift(codes, offsets.flatten(1)), expected)


@pytest.mark.parametrize("name", ["Z", "W", "W+"])
@pytest.mark.parametrize("truncation, image", [(1.0, "image_from_z"), (0.7, "image_from_w_plus_psi07")])
def test_images_are_those_of_the_truncated_code(name, truncation, image, tiny_stylegan2, published, conforms):
    expected = published("stylegan2_tiny")
    space = latent_space(tiny_stylegan2, name, truncation=truncation)
    conforms(space.synthesise(space.codes_of(expected["z"])), expected[image])


def test_pggan_images(tiny_pggan, published, conforms):
    expected = published("pggan_tiny")
    space = latent_space(tiny_pggan)
    conforms(space.synthesise(space.codes_of(expected["z"])), expected["image_from_z"])


@pytest.mark.parametrize("name, radius", [("Z", "radius_z"), ("W", "radius_w_psi1"), ("W+", "radius_w_plus_psi1")])
def test_jung_radius_conforms(name, radius, tiny_stylegan2, published, conforms):
    expected = published("jung_radius")
    layer = expected["stylegan_layer"].item() if name == "W+" else None
    space = latent_space(tiny_stylegan2, name, layer)
    conforms(torch.tensor(jung_radius_of(space.positions(space.codes_of(expected["z"])))), expected[radius])


@pytest.mark.parametrize("name, scale", [("Z", 1), ("W", 0.5), ("W+", 0.5)])
def test_jung_radius_scales_with_truncation(name, scale, tiny_stylegan2):
    full, half = (jung_radius(latent_space(tiny_stylegan2, name, truncation=t), "cpu", seed=3) for t in (1.0, 0.5))
    assert half == pytest.approx(scale * full, rel=1e-4)


def test_w_plus_layer_is_lowered_to_the_last(tiny_stylegan2):
    assert latent_space(tiny_stylegan2, "W+").layer == 9


def test_layer_out_of_range(tiny_stylegan2):
    with pytest.raises(UserError, match=r"--stylegan-layer is 10, .* 0 to 9"):
        latent_space(tiny_stylegan2, "W+", 10)


@pytest.mark.parametrize("name, truncation", [("W", 1.0), ("W+", 1.0), ("Z", 0.7)])
def test_pggan_has_neither_w_nor_truncation(name, truncation, tiny_pggan):
    with pytest.raises(UserError, match="ProgGAN"):
        latent_space(tiny_pggan, name, truncation=truncation)
