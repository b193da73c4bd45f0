"""Z, W, W+ and S: what their codes and positions are, what a shift moves, and how large they are."""

import pytest
import torch

from lib.latent_space import jung_radius, jung_radius_of, latent_space, limit_resolution
from models.errors import UserError

# The tiny generator's convolutions have 32 input channels up to layer 5, then 32, 16, 16, 8.
SPACES = [("Z", None, 32), ("W", None, 32), ("W+", 5, 192), ("W+", 0, 32), ("S", 0, 32), ("S", 6, 208), ("S", 8, 232)]


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


def test_style_codes_are_the_published_styles(tiny_stylegan2, published, conforms):
    expected = published("stylegan2_tiny")
    codes = latent_space(tiny_stylegan2, "S").codes_of_w_plus(expected["w_plus_perturbed"])
    styles = [expected[f"style{i:02d}"] for i in range(9)] + [expected[f"output_style{i}"] for i in range(5)]
    conforms(codes, torch.cat(styles, dim=1))


def test_style_images_are_those_of_the_w_plus_code(tiny_stylegan2, published, conforms):
    expected = published("stylegan2_tiny")
    space = latent_space(tiny_stylegan2, "S")
    conforms(space.synthesise(space.codes_of_w_plus(expected["w_plus_perturbed"])),
             expected["image_from_w_plus_perturbed"])


@pytest.mark.parametrize("layer", [0, 3, 8])
def test_style_shift_moves_lower_convolutions_and_leaves_the_rest(layer, tiny_stylegan2, published):
    space = latent_space(tiny_stylegan2, "S", layer)
    w_plus = published("stylegan2_tiny")["w_plus_perturbed"]
    styles = tiny_stylegan2.styles(w_plus)
    moved = space.shift(space.codes_of_w_plus(w_plus), torch.ones(3, space.dim))
    for name, after in zip(space.widths, moved.split(list(space.widths.values()), dim=1)):
        moves = name.startswith("layer") and int(name.removeprefix("layer")) <= layer
        assert torch.equal(after, styles[name] + moves), name


@pytest.mark.parametrize("name", ["Z", "W", "W+", "S"])
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


@pytest.mark.parametrize("name, scale", [("Z", 1), ("W", 0.5), ("W+", 0.5), ("S", 0.5)])
def test_jung_radius_scales_with_truncation(name, scale, tiny_stylegan2):
    full, half = (jung_radius(latent_space(tiny_stylegan2, name, truncation=t), seed=3) for t in (1.0, 0.5))
    assert half == pytest.approx(scale * full, rel=1e-4)


@pytest.mark.parametrize("name, last", [("W+", 9), ("S", 8)])
def test_layer_is_lowered_to_the_last(name, last, tiny_stylegan2):
    assert latent_space(tiny_stylegan2, name).layer == last
    with pytest.raises(UserError, match=f"--stylegan-layer is {last + 1}, .* 0 to {last}"):
        latent_space(tiny_stylegan2, name, last + 1)


@pytest.mark.parametrize("name, truncation", [("W", 1.0), ("W+", 1.0), ("S", 1.0), ("Z", 0.7)])
def test_pggan_has_neither_w_nor_truncation(name, truncation, tiny_pggan):
    with pytest.raises(UserError, match="ProgGAN"):
        latent_space(tiny_pggan, name, truncation=truncation)


@pytest.mark.parametrize("name, layer", [("Z", None), ("W", None), ("W+", 7), ("S", 6)])
def test_limited_synthesis_gives_the_skip_image(name, layer, tiny_stylegan2, z):
    space = latent_space(tiny_stylegan2, name, layer)
    limit_resolution(space, 32)
    w_plus = tiny_stylegan2.w_plus(tiny_stylegan2.mapping(z))
    images = space.synthesise(space.codes_of(z))
    assert images.shape == (3, 3, 32, 32)
    torch.testing.assert_close(images, tiny_stylegan2(w_plus, resolution=32))
    limit_resolution(space, 64)
    torch.testing.assert_close(space.synthesise(space.codes_of(z)), tiny_stylegan2(w_plus))


@pytest.mark.parametrize("resolution", [2, 3, 48, 128])
def test_synthesis_is_limited_to_what_the_generator_has(resolution, tiny_stylegan2, tiny_pggan):
    with pytest.raises(UserError, match=f"--synthesis-resolution is {resolution}, .* 4, 8, 16, 32, 64"):
        limit_resolution(latent_space(tiny_stylegan2, "W"), resolution)
    with pytest.raises(UserError, match="needs a StyleGAN2"):
        limit_resolution(latent_space(tiny_pggan), 32)


@pytest.mark.parametrize("name, last", [("W+", 7), ("S", 6)])
def test_synthesis_is_not_limited_below_what_the_paths_move(name, last, tiny_stylegan2):
    """The images of 32 px depend on the last layer that is let through, and not on the one beyond."""
    with pytest.raises(UserError, match=f"ends with layer {last}, and the paths move layers up to {last + 1}"):
        limit_resolution(latent_space(tiny_stylegan2, name, last + 1), 32)
    space = latent_space(tiny_stylegan2, name, last)
    limit_resolution(space, 32)
    codes = space.codes_of(torch.randn(1, 32, generator=torch.Generator().manual_seed(0)))
    offsets = torch.zeros(1, space.dim)
    offsets[:, -4:] = 1  # of the last layer alone
    assert (space.synthesise(space.shift(codes, offsets)) - space.synthesise(codes)).abs().max() > 1e-4
