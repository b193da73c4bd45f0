"""Walks along paths against the published implementation, and the frames that are saved of them."""

import fcntl
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lib.files import save_tensors
from lib.latent_space import latent_space
from lib.paths.support_sets import LatentSupportSets
from lib.paths.tracing import trace
from lib.pixels import to_uint8
from lib.settings import WalkSettings
from lib.walking import pictures, traversal
from lib.walking.synthesis import Synthesiser
from lib.walking.traversal import traverse
from models.errors import UserError
from models.untrusted.tensor_files import load_tensors


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
    assert shown.shape[2] == WalkSettings(shift_steps=steps, shift_leap=leap).frames_per_path


def test_saved_frames_show_the_saved_codes(space, support_sets, published, tmp_path):
    z = published("stylegan2_tiny")["z"][:1]
    save_tensors(z, tmp_path / "pool" / "code" / "latent_code_z.pt")
    settings = WalkSettings(shift_steps=4, shift_leap=2, eps=2.0, img_quality=100)
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


SETTINGS = WalkSettings(film=True, shift_steps=4, shift_leap=2, eps=2.0, img_quality=90, strip=True, strip_number=3,
                        strip_height=32, gif=True, gif_height=48, gif_fps=20)  # fmt: skip


@pytest.fixture
def sources(published, tmp_path):
    """The directories of three codes."""
    for i, z in enumerate(published("stylegan2_tiny")["z"][:3].split(1)):
        save_tensors(z.clone(), tmp_path / "pool" / f"code_{i}" / "latent_code_z.pt")
    return sorted((tmp_path / "pool").iterdir())


@pytest.fixture
def walk(space, support_sets, sources, tmp_path):
    """walk("results", batch_size=.., workers=.., gif=False..) -> the files' contents there, after traversing."""

    def run(name, batch_size=4, workers=0, **changes):
        results = tmp_path / name
        walked = traverse(space, support_sets, sources, results, replace(SETTINGS, **changes), batch_size, workers)
        assert len(list(walked)) == 3 * len(sources)
        return contents(results)

    return run


def contents(directory):
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


class Counted(Synthesiser):
    """Counts the images of all."""

    made = 0

    def __call__(self, codes):
        Counted.made += len(codes)
        return super().__call__(codes)


@pytest.fixture
def images_made(monkeypatch):
    """images_made() -> how many images were made since it was asked last."""
    monkeypatch.setattr(traversal, "Synthesiser", Counted)

    def since():
        made, Counted.made = Counted.made, 0
        return made

    since()
    return since


@pytest.mark.parametrize("workers", [0, 2])
def test_files_are_those_of_one_frame_at_a_time(workers, walk, space, support_sets, sources, tmp_path):
    written = walk("results", batch_size=1, workers=workers)
    plain = tmp_path / "plain"
    with torch.no_grad():
        starts = torch.cat([space.codes_of(load_tensors(source / "latent_code_z.pt")) for source in sources])
        for source, paths in zip(sources, trace(space, support_sets, starts, 4, 2.0)[:, :, ::2]):
            for k, path in enumerate(paths):
                frames = [to_uint8(space.synthesise(code[None]))[0] for code in path]
                folder, strips = plain / source.name, plain / source.name / "paths_strips"
                for i, frame in enumerate(frames):
                    pictures.save_jpeg(frame, folder / "paths_images" / f"path_{k:03d}" / f"{i:06d}.jpg", None, 90)
                pictures.save_film(frames, strips / f"path_{k:03d}_film.jpg", None, 90)
                pictures.save_strip(frames, strips / f"path_{k:03d}_strip.jpg", 3, 32)
                pictures.save_gif(frames, strips / f"path_{k:03d}.gif", 48, 20)
            pictures.save_jpeg(frames[2], folder / "original_image.jpg", None, 90)
    shown = {name: content for name, content in written.items() if name.endswith((".jpg", ".gif"))}
    assert shown == contents(plain)


@pytest.mark.parametrize("batch_size, traced_codes", [(2, 64), (7, 64), (100, 1)])
def test_batches_go_over_the_borders_of_paths_and_codes(batch_size, traced_codes, walk, tmp_path, monkeypatch):
    one = walk("one", batch_size=1)
    monkeypatch.setattr(traversal, "TRACED_CODES", traced_codes)
    many = walk("many", batch_size=batch_size)
    assert one.keys() == many.keys()
    for name in (name for name in one if name.endswith(".jpg")):
        a, b = (np.asarray(Image.open(tmp_path / folder / name)).astype(int) for folder in ("one", "many"))
        assert np.abs(a - b).mean() < 0.05


def test_a_damaged_picture_is_made_again_and_nothing_else(walk, images_made, tmp_path):
    before = walk("results")
    assert images_made() == 45
    assert walk("results") == before and images_made() == 0
    code = tmp_path / "results" / "code_1"
    (code / "paths_images" / "path_002" / "000004.jpg").write_bytes(b"")
    (code / "paths_strips" / "path_000.gif").unlink()
    kept = [code / "paths_images" / "path_000" / "000001.jpg", tmp_path / "results" / "code_0" / "original_image.jpg"]
    times = [file.stat().st_mtime_ns for file in kept]
    assert walk("results") == before
    assert images_made() == 12  # of the fixed batches of four: those with frames 15 to 19 and 29
    assert [file.stat().st_mtime_ns for file in kept] == times


def test_strips_are_added_from_their_own_frames(walk, images_made):
    walk("results", batch_size=1, strip=False)
    images_made()
    added = walk("results", batch_size=1)
    assert images_made() == 27  # three of the five of each path
    assert added == walk("expected", batch_size=1)
    changed = walk("results", batch_size=1, strip_height=16, gif=False)  # the animations that were there stay
    assert {name: added[name] for name in added if name.endswith(".gif")}.items() <= changed.items()
    assert sum(added[name] != changed[name] for name in added if name.endswith("_strip.jpg")) == 9


def test_what_was_made_before_is_kept_and_made_again_where_it_shows_something_else(walk, images_made):
    whole = walk("results", weights_sha256="1")
    images_made()
    alone = {"frames": False, "strip": False, "gif": False}
    assert walk("results", weights_sha256="1", **alone) == whole and images_made() == 0
    for changes in ({"weights_sha256": "2"}, {"img_quality": 50}):
        again = walk("results", **changes, **alone)
        assert again.keys() == whole.keys() and images_made() == 45
        assert again == walk("expected_" + "_".join(changes), **changes)
        images_made()


def test_results_with_single_frames_need_no_film_and_a_film_no_single_frames(walk, images_made):
    earlier = walk("earlier", film=False)
    images_made()
    assert walk("earlier") == earlier == walk("earlier", frames=False) and images_made() == 0
    film = walk("film", frames=False)
    assert sum(name.endswith("_film.jpg") for name in film) == 9 and not [name for name in film if "images" in name]
    added = walk("film")
    assert {name for name in added if "paths_images" in name} == {name for name in earlier if "paths_images" in name}
    assert film.items() - added.items() == {(name, film[name]) for name in film if name.endswith("settings.json")}


def test_codes_of_w_are_stored_once_for_all_layers(tiny_stylegan2, sources, tmp_path):
    space = latent_space(tiny_stylegan2, "W")
    sets = LatentSupportSets.random(2, 4, 32, 9.0, 0.5, torch.Generator().manual_seed(0))
    settings = WalkSettings(shift_steps=20, eps=0.2, img_size=8, frames=False)
    assert len(list(traverse(space, sets, sources[:1], tmp_path / "results", settings, 50, 0))) == 2
    file = tmp_path / "results" / sources[0].name / "paths_latent_codes.pt"
    start = space.codes_of(load_tensors(sources[0] / "latent_code_z.pt"))
    expected = trace(space, sets, start, 20, 0.2)[0]
    for codes in (load_tensors(file), torch.load(file)):
        assert torch.equal(codes, expected)
    assert file.stat().st_size < expected.nbytes / 8


def test_a_half_made_code_of_other_settings_is_not_used(walk, space, support_sets, sources, tmp_path):
    expected = walk("expected")
    begun = traverse(space, support_sets, sources, tmp_path / "results", replace(SETTINGS, eps=1.0), 4, 0)
    next(begun), next(begun)
    begun.close()
    assert (tmp_path / "results" / ".code_0.partial" / "paths_images" / "path_001").is_dir()
    assert walk("results") == expected


def test_two_processes_do_not_make_the_same_code(walk, tmp_path):
    partial = tmp_path / "results" / ".code_0.partial"
    partial.mkdir(parents=True)
    other = os.open(partial, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="another process"):
        walk("results")
    os.close(other)
    walk("results")
    assert json.loads((tmp_path / "results" / "code_0" / "settings.json").read_text()) == SETTINGS.to_json()


def out_of_memory_above(fitting, calls):
    def synthesise(codes):
        calls.append(len(codes))
        if len(codes) > fitting:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return codes[:, :, None, None].expand(-1, 3, 2, 2)

    return synthesise


def test_a_batch_that_does_not_fit_is_halved_and_that_is_said_once(capsys):
    calls, codes = [], torch.linspace(-1, 1, 9)[:, None]
    synthesise = Synthesiser(out_of_memory_above(2, calls), 8)
    frames = [synthesise(codes), synthesise(codes)]
    assert calls == [8, 4, 2, 2, 2, 2, 1, 2, 2, 2, 2, 1]
    assert all((found == to_uint8(codes[:, :, None, None].expand(-1, 3, 2, 2))).all() for found in frames)
    assert capsys.readouterr().err.count("going on with fewer") == 1
    with pytest.raises(UserError, match="--no-cuda"):
        Synthesiser(out_of_memory_above(0, calls), 2)(codes)
