"""Files of directions, as other projects leave them and as ours are exported: read, walked, evaluated, and refused."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

import train
import traverse_latent_space
from lib.evaluation.experiments import Options, evaluate
from lib.files import save_tensors
from lib.latent_space import feed_layers, latent_space
from lib.methods.direction_files import read_directions, write_directions
from lib.paths.edits import Edits
from lib.paths.lines import Lines
from lib.paths.support_sets import LatentSupportSets
from lib.settings import TrainingSettings
from lib.trained import Trained, open_directions, open_experiment
from models.errors import UserError
from models.untrusted import numpy_files
from models.untrusted.tensor_files import load_tensors


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, z in enumerate(torch.randn(2, 1, 32, generator=torch.Generator().manual_seed(0))):
        save_tensors(z, tmp_path / "pool" / f"code_{i}" / "latent_code_z.pt")
    return tmp_path


@pytest.fixture
def drawn():
    return torch.randn(3, 32, generator=torch.Generator().manual_seed(1))


def ganspace(file, directions):
    """As GANSpace writes it, with (K, 1, d) components, and activations that are not needed."""
    arrays = {name: np.ones(3, np.float32) for name in ("act_mean", "act_stdev", "lat_mean", "lat_stdev", "var_ratio")}
    components = directions.numpy()[:, None]
    np.savez_compressed(file, act_comp=components + 1, lat_comp=components, random_stdevs=np.ones(3), **arrays)


WRITERS = {
    "boundary.npy": lambda file, found: np.save(file, found.numpy()),
    "double.npy": lambda file, found: np.save(file, found.double().numpy()),
    "components.npz": ganspace,
    "only.npz": lambda file, found: np.savez(file, anything=found.numpy()),
    "tensor.pt": lambda file, found: torch.save(found, file),
    "lines.pt": lambda file, found: torch.save({"DIRECTIONS": found}, file),
    "only.safetensors": lambda file, found: safetensors.torch.save_file({"x": found}, file),
    "two.safetensors": lambda file, found: safetensors.torch.save_file({"directions": found, "other": found + 1}, file),
}


@pytest.mark.parametrize("name", WRITERS)
def test_files_of_other_projects_are_read(name, workplace, drawn):
    WRITERS[name](workplace / name, drawn)
    found = read_directions(workplace / name)
    torch.testing.assert_close(found.directions, drawn)
    assert found.labels == [f"{name.partition('.')[0]} {k}" for k in range(3)] and found.space is None


def test_factors_of_rosinality_are_columns(workplace):
    vectors, _ = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))
    torch.save({"ckpt": "some.pt", "eigvec": vectors}, "factor.pt")
    assert torch.equal(read_directions("factor.pt").directions, vectors.T)


def walk(file, data, *more):
    traverse_latent_space.main([f"--directions={file}", f"--gan={data / 'stylegan2_tiny.pth'}", "--pool=pool",
                                "--shift-steps=1", "--eps=0.5", "--no-cuda", "--workers=0", *more])  # fmt: skip


def test_an_interfacegan_boundary_is_walked_and_evaluated(workplace, data, drawn):
    np.save("smile.npy", drawn[:1].numpy())
    walk("smile.npy", data, "--stylegan-space=W", "--truncation=0.7")
    home = Path("smile-stylegan2_tiny-W-0.7") / "results" / "pool"
    codes = load_tensors(home / "2_0.5_1.0" / "code_0" / "paths_latent_codes.pt")
    expected = 0.5 * F.normalize(drawn[0], dim=0)
    torch.testing.assert_close(codes[0, 2] - codes[0, 1], expected.expand(10, -1), rtol=0, atol=1e-6)
    assert "smile" in (home / "2_0.5_1.0" / "index.html").read_text()
    options = Options(pool="pool", directions="smile.npy", gan=str(data / "stylegan2_tiny.pth"), stylegan_space="W",
                      truncation=0.7, judge="portraits", shift_steps=2, samples=100)  # fmt: skip
    directory, summary = evaluate("smile.npy", options, torch.device("cpu"))
    assert directory.is_relative_to(home) and json.loads((directory / "summary.json").read_text())
    assert summary["experiment"] == "smile-stylegan2_tiny-W-0.7" and len(summary["paths"]) == 1


def test_one_file_in_two_spaces_has_two_results(workplace, data, drawn):
    np.save("smile.npy", drawn.numpy())
    for space, shape in (("Z", (3, 3, 32)), ("W", (3, 3, 10, 32))):
        walk("smile.npy", data, f"--stylegan-space={space}")
        file = workplace / f"smile-stylegan2_tiny-{space}-1.0/results/pool/2_0.5_1.0/code_0/paths_latent_codes.pt"
        assert load_tensors(file).shape == shape


@pytest.mark.parametrize("shape, named, space, layer", [
    ((2, 10, 32), None, "W+", 9), ((2, 4, 32), None, "W+", 3), ((2, 96), "W+", "W+", 2), ((2, 1, 32), "W", "W", None),
])  # fmt: skip
def test_the_shape_says_which_layers_move(shape, named, space, layer, workplace, data):
    np.save("file.npy", torch.randn(shape, generator=torch.Generator().manual_seed(0)).numpy())
    found = open_directions("file.npy", data / "stylegan2_tiny.pth", stylegan_space=named)
    assert found.space.name == space and found.space.layer == layer and found.paths.num_paths == 2


def test_directions_of_style_space_end_with_a_layer(workplace, data, tiny_stylegan2):
    dim = latent_space(tiny_stylegan2, "S", 4).dim
    np.save("file.npy", np.ones((2, dim), np.float32))
    assert open_directions("file.npy", data / "stylegan2_tiny.pth", stylegan_space="S").space.layer == 4
    np.save("file.npy", np.ones((2, dim + 1), np.float32))
    with pytest.raises(UserError, match=r"and S of this generator is layers \d+, "):
        open_directions("file.npy", data / "stylegan2_tiny.pth", stylegan_space="S")


def test_a_generator_with_one_space_needs_no_flag(workplace, data, drawn):
    np.save("file.npy", drawn.numpy())
    assert open_directions("file.npy", data / "pggan_tiny.pth").space.name == "Z"


# --- the way out and back


def test_paths_are_exported_and_come_back(workplace, data):
    gan = data / "stylegan2_tiny.pth"
    train.main([f"--gan={gan}", "--method=sefa", "--stylegan-space=W", "--truncation=0.7", "--num-directions=2",
                "--no-cuda"])  # fmt: skip
    directory = next((workplace / "experiments/complete").iterdir())
    traverse_latent_space.main([f"--exp={directory}", "--export-directions=out.npz", "--no-cuda"])
    assert not (directory / "results").exists()
    with np.load("out.npz") as arrays:
        assert arrays["directions"].shape == (2, 32) and str(arrays["space"]) == "W"
        assert str(arrays["gan"]) == "stylegan2_tiny" and list(arrays["names"]) == ["direction 0", "direction 1"]
    found, before = open_directions("out.npz", gan), open_experiment(directory)
    assert found.space.name == "W" and found.space.truncation == 0.7 and found.labels == before.labels
    torch.testing.assert_close(found.paths.DIRECTIONS, before.paths.DIRECTIONS)
    with pytest.raises(UserError, match=r"out\.npz has directions of another generator"):
        open_directions("out.npz", data / "pggan_tiny.pth")
    with pytest.raises(UserError, match="has directions in W, not Z"):
        open_directions("out.npz", gan, stylegan_space="Z")


def exported(space, paths, labels, gan):
    """What comes back of paths that were exported."""
    from models.files import sha256

    settings = TrainingSettings(gan=str(gan), gan_sha256=sha256(gan), stylegan_space=space.name)
    write_directions("out.npz", Trained("exp", space.generator, space, paths, labels, settings, "file"))
    return open_directions("out.npz", gan)


@pytest.mark.parametrize("name, layer, fed", [("W", None, [1, 4]), ("W+", 3, None), ("S", 2, None)])
@pytest.mark.parametrize("kind", [Lines, Edits])
def test_what_comes_back_moves_codes_as_before(name, layer, fed, kind, workplace, data, tiny_stylegan2):
    space = latent_space(tiny_stylegan2, name, layer, 0.7)
    if fed:
        feed_layers(space, fed)
    drawn = torch.Generator().manual_seed(0)
    paths = kind(torch.randn(2, space.dim, generator=drawn))
    labels = [("a smile.", "no smile."), ("old.", "young.")]
    found = exported(space, paths, labels, data / "stylegan2_tiny.pth")
    assert found.labels == labels
    codes, indices = space.codes_of(torch.randn(2, 32, generator=drawn)), torch.tensor([1, 0])
    before, after = (one.space.shift(codes, 0.3 * one.paths(one.space.positions(codes), indices))
                     for one in (Trained("", None, space, paths, [], None, ""), found))  # fmt: skip
    torch.testing.assert_close(after, before)


def test_bent_paths_are_no_directions(workplace, data, tiny_stylegan2):
    space = latent_space(tiny_stylegan2, "W")
    bent = LatentSupportSets.random(2, 3, 32, 5.0, 0.5, torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match="are not straight"):
        exported(space, bent, ["a", "b"], data / "stylegan2_tiny.pth")
    with pytest.raises(UserError, match=r"must end in \.npz"):
        write_directions("out.npy", Trained("exp", None, space, Lines(torch.ones(1, 32)), ["a"], None, "file"))
    assert [file.name for file in workplace.iterdir()] == ["pool"]


# --- what cannot be


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def bomb():
    """A few kilobytes that claim, and would unpack to, more than any directions have."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("directions.npy", "w") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (75497472,)})
            for _ in range(288):
                file.write(bytes(1 << 20))
    return stream.getvalue()


def lying():
    """An array in an archive that claims more numbers than there are."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, archive.open("directions.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (1000, 1000)})
        file.write(bytes(64))
    return stream.getvalue()


ONES = np.ones((2, 32), np.float32)
OURS = {"directions": ONES, "lengths": np.ones(2), "names": np.array(["a", "b"]), "space": np.array("W"),
        "truncation": np.array(1.0), "gan": np.array("g"), "gan_sha256": np.array("0")}  # fmt: skip
REFUSED = {
    "missing": (None, "file.npy", "is missing"),
    "another suffix": (b"", "file.mat", r"which end in \.npy"),
    "text": (b"nothing", "file.npy", "cannot be read as an array"),
    "objects": (npy(np.array([{}], dtype=object)), "file.npy", "cannot be read as an array"),
    "complex": (npy(ONES.astype(complex)), "file.npy", "of the type complex128"),
    "no archive": (b"nothing", "file.npz", "cannot be read as an array"),
    "objects in an archive": (npz(directions=np.array([{}], dtype=object)), "file.npz", "cannot be read as an array"),
    "a bomb": (bomb(), "file.npz", "it claims 75497472 numbers"),
    "a lie": (lying(), "file.npz", "it claims 1000000 numbers"),
    "several arrays": (npz(a=ONES, b=ONES), "file.npz", "holds no directions"),
    "one number": (npy(np.float32(3)), "file.npy", "holds no directions"),
    "not finite": (npy(ONES * np.nan), "file.npy", "zero, or not finite"),
    "zeros": (npy(ONES * 0), "file.npy", "zero, or not finite"),
    "another width": (npy(ONES[:, :31]), "file.npy", r"shape \(2, 31\), and W of this generator is 32 wide"),
    "too many layers": (npy(np.ones((2, 11, 32))), "file.npy", r"has directions in W\+, not W"),
    "edited names": (npz(**{**OURS, "names": np.array(["a"])}), "file.npz", "not as --export-directions writes it"),
    "unprintable names": (npz(**{**OURS, "names": np.array(["a", "\x1b[2J"])}), "file.npz", "was damaged or edited"),
    "another space": (npz(**{**OURS, "space": np.array("Q")}), "file.npz", "was damaged or edited"),
    "damaged safetensors": (b"\x08\x00\x00\x00\x00\x00\x00\x00nothing!", "file.safetensors", "cannot be read as"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_holds_no_directions_is_refused_and_leaves_nothing(kind, workplace, data):
    content, name, message = REFUSED[kind]
    if content is not None:
        (workplace / name).write_bytes(content)
    before = sorted(workplace.rglob("*"))
    with pytest.raises(UserError, match=message) as refused:
        walk(name, data, "--stylegan-space=W")
    assert "\n" not in str(refused.value) and sorted(workplace.rglob("*")) == before


def test_a_lying_header_is_refused_before_memory_is_asked_for(workplace, monkeypatch):
    (workplace / "file.npz").write_bytes(lying())
    monkeypatch.setattr(numpy_files.np, "frombuffer", None)
    with pytest.raises(UserError, match="it claims"):
        numpy_files.load_named_array("file.npz", "directions")


@pytest.mark.parametrize("more, message", [
    (["--pool=pool"], "does not say in which space its directions are: give --stylegan-space, Z or W"),
    (["--pool=pool", "--stylegan-space=W", "--exp=x"], "--exp and --directions both"),
])  # fmt: skip
def test_flags_that_do_not_go_together_are_refused(more, message, workplace, data):
    np.save("file.npy", ONES)
    gan = f"--gan={data / 'stylegan2_tiny.pth'}"
    with pytest.raises(UserError, match=message):
        traverse_latent_space.main(["--directions=file.npy", gan, "--no-cuda", *more])
    with pytest.raises(UserError, match="does not name a file of its generator"):
        traverse_latent_space.main(["--directions=file.npy", "--pool=pool", "--no-cuda"])
    with pytest.raises(UserError, match="--truncation goes with --directions"):
        traverse_latent_space.main(["--exp=x", "--pool=pool", "--truncation=0.7"])
