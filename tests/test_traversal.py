"""Walks along paths against the published implementation, and the frames that are saved of them."""

import numpy as np
import pytest
import torch
from PIL import Image

from lib.files import save_tensors
from lib.latent_space import latent_space
from lib.rendering import to_uint8
from lib.support_sets import LatentSupportSets
from lib.traversal import frame_count, trace, traverse
from models.tensor_files import load_tensors


@pytest.fixture
def space(tiny_stylegan2):
    return latent_space(tiny_stylegan2, "W+", 5)


@pytest.fixture
def support_sets(data, space):
    return LatentSupportSets.from_state(load_tensors(data / "latent_support_sets.pt"), space.dim, "file")


def test_traced_paths_conform(space, support_sets, published, conforms):
    expected = published("traversal")
    steps, eps = expected["shift_steps"].item(), expected["eps"].item()
    conforms(trace(space, support_sets, expected["start_codes"], steps, eps), expected["paths"])


def test_codes_and_paths_do_not_depend_on_each_other(space, support_sets, published):
    codes = published("traversal")["start_codes"]
    together = trace(space, support_sets, codes, 3, 0.5)
    for k in range(3):
        alone = LatentSupportSets(1, support_sets.num_dipoles, support_sets.dim)
        alone.load_state_dict({key: value[k : k + 1] for key, value in support_sets.state_dict().items()})
        for code, path in zip(codes.split(1), together[:, k]):
            torch.testing.assert_close(trace(space, alone, code, 3, 0.5)[0, 0], path, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("network, name", [("stylegan2", "Z"), ("stylegan2", "W"), ("pggan", "Z")])
def test_start_is_in_the_middle_and_steps_have_their_length(network, name, published, request):
    space = latent_space(request.getfixturevalue(f"tiny_{network}"), name)
    codes = space.codes_of(published("pggan_tiny")["z"])
    sets = LatentSupportSets.random(2, 4, 32, 9.0, 0.5, torch.Generator().manual_seed(0))
    paths = trace(space, sets, codes, 4, 0.3)
    assert paths.shape == (3, 2, 9, *codes.shape[1:])
    assert torch.equal(paths[:, :, 4], codes[:, None].expand_as(paths[:, :, 4]))
    positions = space.positions(paths.flatten(0, 2)).unflatten(0, (3, 2, 9))
    torch.testing.assert_close(positions.diff(dim=2).norm(dim=-1), torch.full((3, 2, 8), 0.3))


@pytest.mark.parametrize(
    "steps, leap, expected",
    [(2, 1, [0, 1, 2, 3, 4]), (4, 2, [0, 2, 4, 6, 8]), (5, 2, [1, 3, 5, 7, 9]), (2, 3, [2]), (1, 1, [0, 1, 2])],
)
def test_frames_with_leap_keep_the_start_in_the_middle(steps, leap, expected, space, support_sets, published):
    codes = published("traversal")["start_codes"]
    shown = trace(space, support_sets, codes, steps, 0.5, leap)
    assert torch.equal(shown, trace(space, support_sets, codes, steps, 0.5)[:, :, expected])
    assert shown.shape[2] == frame_count(steps, leap)


def test_saved_frames_show_the_saved_codes(space, support_sets, published, tmp_path):
    z = published("stylegan2_tiny")["z"][:1]
    save_tensors(z, tmp_path / "pool" / "code" / "latent_code_z.pt")
    settings = {"shift_steps": 4, "shift_leap": 2, "eps": 2.0, "img_size": None, "img_quality": 100, "strip": False,
                "gif": False}  # fmt: skip
    walked = traverse(space, support_sets, [tmp_path / "pool" / "code"], tmp_path / "results", settings, batch_size=2)
    assert len(list(walked)) == 3
    folder = tmp_path / "results" / "code"
    codes = load_tensors(folder / "paths_latent_codes.pt")
    torch.testing.assert_close(codes, trace(space, support_sets, space.codes_of(z), 4, 2.0)[0][:, ::2])
    images = to_uint8(space.synthesise(codes.flatten(0, 1))).reshape(3, 5, 64, 64, 3).astype(int)
    apart = np.abs(images[:, 1:] - images[:, :-1]).mean()
    for k in range(3):
        files = sorted((folder / "paths_images" / f"path_{k:03d}").iterdir())
        assert [file.name for file in files] == [f"{i:06d}.jpg" for i in range(5)]
        for file, image in zip(files, images[k]):
            assert np.abs(np.asarray(Image.open(file)).astype(int) - image).mean() < min(2, apart / 2)
    original = np.asarray(Image.open(folder / "original_image.jpg")).astype(int)
    assert np.abs(original - to_uint8(space.synthesise(space.codes_of(z)))[0].astype(int)).mean() < 2
