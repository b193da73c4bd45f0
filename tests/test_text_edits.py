"""StyleCLIP's mapper, global directions and optimisation, and CF-CLIP: trained, resumed, walked by the commands."""

import json

import numpy as np
import pytest
import torch
from method_runs import stopped_at

import sample_gan
import train
import traverse_latent_space
from lib.judges.faces.arcface import ArcFace
from lib.judges.faces.checkpoints import Checkpoint
from lib.methods import cf_clip, find_method
from lib.methods.vgg19 import VGG19
from lib.trained import open_experiment
from models.errors import UserError
from models.untrusted.tensor_files import load_tensors

GAN = "stylegan2_tiny"
MAPPER, GLOBAL, OPTIMIZATION, CF = "styleclip-mapper", "styleclip-global", "styleclip-optimization", "cf-clip"
SPACES = [(MAPPER, "W+"), (MAPPER, "S"), (GLOBAL, "S"), (OPTIMIZATION, "W+"), (OPTIMIZATION, "S"), (CF, "W+")]
NAMES = {
    (MAPPER, "W+"): f"StyleCLIPmapper_{GAN}-W+9-K2-levels-channels-faces",
    (MAPPER, "S"): f"StyleCLIPmapper_{GAN}-S8-K2-levels-channels-faces",
    (GLOBAL, "S"): f"StyleCLIPglobal_{GAN}-S1-K2-beta0.01-faces",
    (OPTIMIZATION, "W+"): f"StyleCLIPoptimization_{GAN}-W+9-K2-faces",
    (OPTIMIZATION, "S"): f"StyleCLIPoptimization_{GAN}-S8-K2-faces",
    (CF, "W+"): f"CFCLIP_{GAN}-W+9-K2-channels-faces",
}
WEIGHTS = {MAPPER: "mappers.pt", GLOBAL: "edits.pt", OPTIMIZATION: "edits.pt", CF: "counterfactual_mappers.pt"}
FLAGS = {
    MAPPER: ["--batch-size=2", "--max-iter=3"],
    GLOBAL: ["--channel-beta=0.01", "--channel-images=2", "--channel-samples=50", "--stylegan-layer=1"],
    OPTIMIZATION: ["--pool=stylegan2_tiny-2", "--max-iter=3", "--lr=0.5"],
    CF: ["--batch-size=2", "--max-iter=3", "--nce-views=2"],
}
TOO_LONG = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (9999999, 999999), }" + b" " * 50

ITERATED = [(method, space) for method, space in SPACES if method != GLOBAL]


@pytest.fixture(scope="module")
def pool(data, tmp_path_factory):
    """A working directory with a pool of two codes."""
    directory = tmp_path_factory.mktemp("pool")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        sample_gan.main([f"--gan={data / GAN}.pth", "--num-samples=2", "--no-cuda"])
    return directory / "experiments" / "latent_codes"


@pytest.fixture
def workplace(tmp_path, monkeypatch, pool):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "latent_codes").symlink_to(pool)
    (tmp_path / "faces.txt").write_text("a happy face | a sad face\na young face | an old face\n")
    return tmp_path


@pytest.fixture
def arguments(data, tiny_clip_file, workplace):
    """arguments(method, space, ...) -> of a short run."""

    def build(method, space, *more):
        return [f"--gan={data / GAN}.pth", f"--method={method}", f"--stylegan-space={space}", "--corpus=faces.txt",
                f"--clip-model={tiny_clip_file}", "--no-cuda", "--ckp-freq=2", *FLAGS[method], *more]  # fmt: skip

    return build


def trained_weights(workplace, method, space, suffix=""):
    return load_tensors(workplace / "experiments" / "complete" / (NAMES[method, space] + suffix) / "models"
                        / WEIGHTS[method])  # fmt: skip


def same(state, other):
    tensors = {key for key, value in state.items() if isinstance(value, torch.Tensor)}
    return state.keys() == other.keys() and all(torch.equal(state[key], other[key]) for key in tensors)


@pytest.mark.parametrize("method, space", SPACES)
def test_method_is_trained_and_walked(method, space, arguments, workplace, capsys):
    train.main(arguments(method, space))
    directory = workplace / "experiments" / "complete" / NAMES[method, space]
    before = load_tensors(directory / "models" / WEIGHTS[method].replace(".pt", "_init.pt"))
    assert same(before, trained_weights(workplace, method, space)) == (method == GLOBAL)
    experiment = open_experiment(directory)
    assert experiment.labels == [("a happy face", "a sad face"), ("a young face", "an old face")]
    walk = [f"--exp={directory}", "--pool=stylegan2_tiny-2", "--shift-steps=2", "--eps=0.5", "--no-cuda", "--workers=0"]
    traverse_latent_space.main(walk)
    (codes, *_) = (directory / "results" / "stylegan2_tiny-2" / "4_0.5_2.0").glob("*/paths_latent_codes.pt")
    paths, space_of = load_tensors(codes), experiment.space
    start = paths[:, 2]
    with torch.no_grad():
        edits = experiment.paths(space_of.positions(start), torch.tensor([0, 1]))
    assert edits.abs().max() > 0
    # A walk is straight, and at a shift of 1, after two steps of a half, it has the whole edit of its start.
    torch.testing.assert_close(paths[:, 4], space_of.shift(start, edits), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(paths[:, 0], space_of.shift(start, -edits), rtol=1e-4, atol=1e-4)
    # Published weights of networks that compare faces are not here, which is said.
    assert ("--id-lambda has no effect" in capsys.readouterr().err) == (method in (MAPPER, CF))


@pytest.mark.parametrize("method, space", ITERATED)
def test_method_resumes_bit_for_bit(method, space, arguments, workplace):
    train.main(arguments(method, space, "--exp-id=whole"))
    with stopped_at(2, find_method(method)):
        train.main(arguments(method, space))
    train.main(arguments(method, space))
    ends = [trained_weights(workplace, method, space, suffix) for suffix in ("", "-whole")]
    assert same(*ends)


@pytest.mark.parametrize("method, space", [(OPTIMIZATION, "W+"), (CF, "W+")])
def test_micro_batches_change_the_weights_by_rounding_alone(method, space, arguments, workplace):
    train.main(arguments(method, space, "--exp-id=whole", "--micro-batch-size=100"))
    train.main(arguments(method, space, "--micro-batch-size=1"))
    parts, whole = (trained_weights(workplace, method, space, suffix) for suffix in ("", "-whole"))
    for key, tensor in whole.items():
        if isinstance(tensor, torch.Tensor):
            torch.testing.assert_close(parts[key], tensor, rtol=1e-2, atol=1e-2 * tensor.abs().max().item())


def test_mappers_edit_the_codes_of_a_pool(arguments, workplace):
    train.main(arguments(MAPPER, "W+", "--pool=stylegan2_tiny-2"))
    stored = json.loads((workplace / "experiments" / "complete" / NAMES[MAPPER, "W+"] / "args.json").read_text())
    assert len(stored["pool_sha1"]) == 40 and stored["has_identity"] is False


# --- networks that compare faces and pictures, with random weights in the published files' places


@pytest.fixture
def networks(tmp_path, monkeypatch):
    """Small networks in the places of ArcFace's and VGG-19's, with their files."""
    units, widths = [(16, 16, 2), (16, 16, 2)], (2, 2, 2, 2, 2)
    for module, cls, build in (
        ("lib.judges.faces.arcface", ArcFace, lambda: ArcFace(units, 112, 8)),
        ("lib.methods.vgg19", VGG19, lambda: VGG19(widths)),
    ):
        name = cls.__name__
        file = tmp_path / f"{name}.pth"
        torch.save(build().state_dict(), file)

        def small(build=build):
            return build()

        small.checkpoint = Checkpoint("x", file)
        monkeypatch.setattr(f"{module}.{name}", small)
        monkeypatch.setattr(cls, "checkpoint", small.checkpoint)


@pytest.mark.parametrize("method, more", [(MAPPER, []), (OPTIMIZATION, ["--id-lambda=0.1"]), (CF, ["--perc-lambda=1"])])
def test_faces_and_pictures_are_compared_where_the_weights_are(method, more, arguments, workplace, networks, capsys):
    train.main(arguments(method, "W+", *more))
    stored = json.loads((workplace / "experiments" / "complete" / NAMES[method, "W+"] / "args.json").read_text())
    assert stored["has_identity"] is True and stored.get("has_vgg", True) is True
    assert "no effect" not in capsys.readouterr().err
    with_networks = trained_weights(workplace, method, "W+")
    train.main(arguments(method, "W+", "--exp-id=without", "--id-lambda=0", *["--perc-lambda=0"] * (method == CF)))
    assert not same(with_networks, trained_weights(workplace, method, "W+", "-without"))


# --- global directions


def test_channels_are_measured_once(arguments, workplace, monkeypatch):
    """Other sentences need no other measurement; it is kept layer by layer, so that a run that was stopped goes on."""
    train.main(arguments(GLOBAL, "S"))
    files = sorted((workplace / "experiments" / "cache").rglob("layer*.pt"))
    assert [file.name for file in files] == [f"layer{i}.pt" for i in range(2)]
    first = trained_weights(workplace, GLOBAL, "S")
    files[0].unlink()
    kept = files[1].stat().st_mtime_ns
    train.main(arguments(GLOBAL, "S", "--exp-id=again"))
    assert torch.equal(first["EDITS"], trained_weights(workplace, GLOBAL, "S", "-again")["EDITS"])
    assert files[0].is_file() and files[1].stat().st_mtime_ns == kept


def test_published_channel_directions_are_taken(arguments, workplace, capsys):
    directions = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)
    np.save("fs3.npy", directions)
    train.main(arguments(GLOBAL, "S", "--channel-directions=fs3.npy"))
    edits = trained_weights(workplace, GLOBAL, "S")["EDITS"]
    assert edits[:, :32].any() and not edits[:, 32:].any() and not (workplace / "experiments" / "cache").exists()
    assert " of 32 channels, beta 0.01" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content, said",
    [
        (np.zeros((33, 32), np.float32), "channels: it is another generator's"),
        (np.zeros((32, 31), np.float32), "not \\(channels, 32\\)"),
        (np.full((32, 32), np.nan, np.float32), "not finite"),
        (np.zeros((32, 32), complex), "complex"),
        (np.array([{}]), "cannot be read as an array"),
        (b"hello", "cannot be read as an array"),
        (TOO_LONG, "cannot be read as an array"),
    ],
)  # fmt: skip
def test_other_channel_directions_are_refused(content, said, arguments, workplace):
    if isinstance(content, bytes):
        (workplace / "fs3.npy").write_bytes(content)
    else:
        np.save("fs3.npy", content, allow_pickle=True)
    with pytest.raises(UserError, match=rf"fs3\.npy .*{said}"):
        train.main(arguments(GLOBAL, "S", "--channel-directions=fs3.npy"))
    assert not (workplace / "experiments" / "wip").exists()


def test_beta_above_all_channels_is_refused_with_the_largest_relevance(arguments, workplace):
    with pytest.raises(UserError, match=r"--channel-beta 1.0 leaves no channel for 'a happy face', .* has 0\.\d+"):
        train.main(arguments(GLOBAL, "S", "--channel-beta=1"))
    assert not any((workplace / "experiments" / "wip").glob("*"))


# --- published checkpoints


def walk_published(file, data):
    traverse_latent_space.main([f"--exp={file}", f"--gan={data / GAN}.pth", "--pool=stylegan2_tiny-2", "--no-cuda",
                                "--shift-steps=1", "--eps=1", "--workers=0"])  # fmt: skip
    return sorted((file.with_suffix("") / "results" / "stylegan2_tiny-2" / "2_1.0_2.0").glob("*/paths_latent_codes.pt"))


def published_checkpoint(state, file, **options):
    options = {"description": "purple hair", "lr": 0.5, "no_fine_mapper": False} | options
    torch.save({"state_dict": state | {"decoder.input.input": torch.zeros(2)}, "opts": options}, file)


def perceptron(name, width, inputs=None):
    generator = torch.Generator().manual_seed(0)
    return {
        f"{name}.mapping.{i}.{kind}": 100 * torch.randn(*shape, generator=generator)
        for i in range(1, 5)
        for kind, shape in (("weight", (width, inputs or width if i == 1 else width)), ("bias", (width,)))
    }


@pytest.mark.parametrize("kind", ["levels", "no_fine", "single", "styles", "counterfactual"])
def test_published_mappers_are_walked(kind, workplace, data, tiny_clip_file, monkeypatch):
    monkeypatch.setattr(cf_clip, "PUBLISHED_CLIP", tiny_clip_file)
    levels = {key: tensor for group in ("course", "medium", "fine")
              for key, tensor in perceptron(f"mapper.{group}_mapping", 32).items()}  # fmt: skip
    state = {
        "levels": levels,
        "no_fine": {key: value for key, value in levels.items() if "fine" not in key},
        "single": perceptron("mapper.mapping", 32),
        "styles": {k: v for i, width in zip((0, 2, 3, 5, 6, 8, 9, 11, 12), [32] * 6 + [16, 16, 8])
                   for k, v in perceptron(f"mapper.mapper_{i}", width).items()},
        "counterfactual": levels | {"mapper.fc.weight": torch.randn(32, 64), "mapper.fc.bias": torch.randn(32)}
        | {k: v for i in range(10) for k, v in perceptron(f"text_mapper.mapper_{i}", 32).items()},
    }[kind]  # fmt: skip
    file = workplace / "purple.pt"
    published_checkpoint(state, file)
    codes = [load_tensors(code) for code in walk_published(file, data)]
    assert len(codes) == 2 and codes[0].isfinite().all() and (codes[0][0, 2] != codes[0][0, 1]).any()
    experiment = open_experiment(file, data / f"{GAN}.pth")
    assert experiment.labels == ["purple hair"] and experiment.settings.mapper_norm == "layers"
    if kind == "no_fine":
        assert torch.equal(codes[0][0, 0, 8:], codes[0][0, 2, 8:])


@pytest.mark.parametrize(
    "change, said",
    [
        ({"gan": False}, "say where it is with --gan"),
        ({"description": None}, "does not say for which sentence"),
        ({"width": 16}, "does not fit this generator"),
        ({"key": "mapper.course_mapping.mapping.9.bias"}, "unknown"),
    ],
)
def test_published_mapper_that_does_not_fit_is_refused(change, said, workplace, data):
    state = perceptron("mapper.course_mapping", change.get("width", 32))
    if "key" in change:
        state[change["key"]] = torch.zeros(3)
    published_checkpoint(state, workplace / "m.pt", **{key: change[key] for key in change if key == "description"})
    with pytest.raises(UserError, match=rf"m\.pt .*{said}"):
        open_experiment(workplace / "m.pt", None if change.get("gan") is False else data / f"{GAN}.pth")


def test_another_file_is_refused(workplace, data):
    torch.save({"weights": torch.zeros(2)}, workplace / "m.pt")
    with pytest.raises(UserError, match="not a checkpoint that a method here can read"):
        open_experiment(workplace / "m.pt", data / f"{GAN}.pth")


# --- what is refused before anything is loaded


@pytest.mark.parametrize(
    "flags, said",
    [
        ("--method=styleclip-mapper --stylegan-space=Z", "no paths in Z: use --stylegan-space=W\\+ or S"),
        ("--method=styleclip-global --stylegan-space=W", "no paths in W: use --stylegan-space=S"),
        ("--method=cf-clip --stylegan-space=S", "no paths in S: use --stylegan-space=W\\+"),
        ("--method=styleclip-optimization", "needs --pool"),
        ("--method=styleclip-global --lr=1", "--lr is not used by"),
        ("--method=styleclip-global --max-iter=1", "--max-iter is not used by"),
        ("--method=styleclip-optimization --pool=p --batch-size=3", "--batch-size is not used by"),
        ("--method=styleclip-global --channel-images=9 --channel-samples=8", "--channel-images 9 is above"),
        ("--method=styleclip-mapper --mapper-type=single --no-fine-mapper", "--no-fine-mapper go with"),
        ("--method=styleclip-mapper --mapper-type=single --stylegan-space=S", "--mapper-type=single goes with"),
        ("--method=cf-clip --no-fine-mapper --no-medium-mapper --no-coarse-mapper", "nothing is left"),
        ("--method=cf-clip --mapper-type=single", "--mapper-type is not used by"),
        ("--method=cf-clip --clip-input=published", "--clip-input is not used by"),
        ("--method=styleclip-mapper --nce-lambda=1", "--nce-lambda is not used by"),
        ("--nce-views=3", "--nce-views is not used by --method=contraclip"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(flags, said):
    with pytest.raises(UserError, match=said):
        train.settings_of(train.parse(["--gan=g", "--corpus=c", *flags.split()]), None)


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "many", ""])
@pytest.mark.parametrize("flag", ["id-lambda", "latent-l2-lambda", "clip-lambda", "nce-lambda", "perc-lambda",
                                  "nce-views", "channel-beta", "channel-images", "channel-samples"])  # fmt: skip
def test_numbers_out_of_range_are_refused_by_the_parser(flag, value, capsys):
    with pytest.raises(SystemExit) as ended:
        train.parse(["--gan=g", "--corpus=c", f"--{flag}={value}"])
    assert ended.value.code == 2 and f"--{flag}" in capsys.readouterr().err


def test_published_clip_input_needs_a_clip_of_224_pixels(arguments):
    with pytest.raises(UserError, match="this one sees 64"):
        train.main(arguments(MAPPER, "W+", "--clip-input=published"))


def test_walk_from_codes_that_were_not_optimised_is_refused(arguments, workplace, data):
    train.main(arguments(OPTIMIZATION, "W+"))
    sample_gan.main([f"--gan={data / GAN}.pth", "--num-samples=1", "--seed=5", "--no-cuda"])
    with pytest.raises(UserError, match="not among them"):
        traverse_latent_space.main([f"--exp=experiments/complete/{NAMES[OPTIMIZATION, 'W+']}", "--no-cuda",
                                    "--pool=stylegan2_tiny-1", "--workers=0", "--shift-steps=1"])  # fmt: skip


def test_checkpoint_of_another_method_is_refused(arguments, workplace):
    train.main(arguments(MAPPER, "W+"))
    directory = workplace / "experiments" / "complete" / NAMES[MAPPER, "W+"]
    torch.save({"DIRECTIONS": torch.zeros(2, 3)}, directory / "models" / "mappers.pt")
    with pytest.raises(UserError, match=r"mappers\.pt does not hold mappers"):
        open_experiment(directory)
