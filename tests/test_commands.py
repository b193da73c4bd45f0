"""The commands from end to end, as processes: train, sample, walk; and what they say of themselves."""

import hashlib
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from beside import TIMEOUT
from PIL import Image

import sample_gan
import train
import traverse_latent_space
from lib.command_line import unglue
from lib.latent_space import latent_space
from lib.pixels import to_uint8
from lib.walking import pictures
from models.load_generator import load_generator

FLAGS = {
    "train.py": "--exp-id --gan --stylegan-space --stylegan-layer --truncation --corpus --beta --css-beta --styleclip "
    "--linear --num-latent-support-dipoles --lss-beta --lr --min-shift-magnitude --max-shift-magnitude --max-iter "
    "--batch-size --loss --temperature --log-freq --ckp-freq --cuda --no-cuda --ops --seed --clip-model",
    "sample_gan.py": "-v --gan --gan-type --stylegan-space --truncation --num-samples --from-codes "
    "--batch-size --cuda --no-cuda --ops --seed",
    "traverse_latent_space.py": "-v --exp --pool --w-space --shift-steps --eps --shift-leap --batch-size --img-size "
    "--img-quality --frames --gif --gif-height --gif-fps --strip --strip-number --strip-height --workers --cuda "
    "--no-cuda --ops",
}
PUBLISHED_COMMAND = (
    "--gan=stylegan2_ffhq1024 --truncation=0.7 --stylegan-space=W --corpus=expressions3 "
    "--num-latent-support-dipoles=128 --loss=contrastive --temperature=0.5 --beta=0.75 --min-shift-magnitude=0.1 "
    "--max-shift-magnitude=0.2 --batch-size=3 --max-iter=120000 --log-freq=10--ckp-freq=100"
)
# experiment: its flags, its directory's name, the dimension of its paths, its generator
EXPERIMENTS = {
    "Z": (
        "--loss=cossim --max-iter=7 --log-freq=3 --ckp-freq=4",
        "ContraCLIP_stylegan2_tiny-Z-K2-D4-eps0.25_0.45-nonlinear_beta-0.5-cossim-faces",
        32,
        "stylegan2_tiny",
    ),
    "W": (
        "--stylegan-space=W --truncation=0.7 --loss=contrastive --temperature=0.5 --beta=0.75 "
        "--min-shift-magnitude=0.1 --max-shift-magnitude=0.2 --max-iter=2 --exp-id=second-try",
        "ContraCLIP_stylegan2_tiny-W-K2-D4-eps0.1_0.2-nonlinear_beta-0.75-contrastive_0.5-faces-second-try",
        32,
        "stylegan2_tiny",
    ),
    "W+": (
        "--stylegan-space=W+ --stylegan-layer=5 --linear --loss=cossim --max-iter=2",
        "ContraCLIP_stylegan2_tiny-W+5-K2-D4-eps0.25_0.45-linear_beta-0.5-cossim-faces",
        192,
        "stylegan2_tiny",
    ),
    "S": (
        "--stylegan-space=S --stylegan-layer=6 --loss=cossim --max-iter=2",
        "ContraCLIP_stylegan2_tiny-S6-K2-D4-eps0.25_0.45-nonlinear_beta-0.5-cossim-faces",
        208,
        "stylegan2_tiny",
    ),
    "ProgGAN": (
        "--styleclip --loss=cossim --max-iter=2",
        "ContraCLIP_pggan_tiny-Z-K2-D4-eps0.25_0.45-styleclip_beta-0.5-cossim-faces",
        32,
        "pggan_tiny",
    ),
}
DIPOLES = [["a happy face.", "a sad face."], ["a young face.", "an old face."]]
STEPS, EPS = 3, 0.25


def done(process):
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    return process.stdout


def files_in(directory):
    return {str(file.relative_to(directory)) for file in directory.rglob("*") if file.is_file()}


def times_in(directory):
    return {file: file.stat().st_mtime_ns for file in directory.rglob("*") if file.is_file()}


def contents(directory):
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def read_tensors(file):
    return torch.load(file, weights_only=True)


def pixels(file):
    return np.asarray(Image.open(file)).astype(int)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A working directory that the module's tests share, with a corpus whose path has a blank."""
    directory = tmp_path_factory.mktemp("workplace")
    (directory / "my corpora").mkdir()
    (directory / "my corpora" / "faces.txt").write_text("".join(f"{a} | {b}\n" for a, b in DIPOLES))
    return directory


@pytest.fixture(scope="module")
def train_in(workplace, data, tiny_clip_file, run_warm):
    """train_in(experiment) -> its finished process, begun in the workplace."""

    def run(experiment):
        flags, _, _, gan = EXPERIMENTS[experiment]
        arguments = [f"--gan={data / gan}.pth", f"--clip-model={tiny_clip_file}", "--corpus=my corpora/faces.txt"]
        arguments += ["--no-cuda", "--batch-size=2", "--num-latent-support-dipoles=4", *flags.split()]
        return run_warm("train.py", *arguments, cwd=workplace)

    return run


@pytest.fixture(scope="module")
def trained(workplace, train_in):
    """trained(experiment) -> its directory under experiments/complete, trained at the first call."""
    directories = {}

    def get(experiment):
        if experiment not in directories:
            directories[experiment] = workplace / "experiments" / "complete" / EXPERIMENTS[experiment][1]
            assert not directories[experiment].exists()
            done(train_in(experiment))
        return directories[experiment]

    return get


@pytest.fixture(scope="module")
def pool_of(workplace, data, run_warm):
    """pool_of(gan) -> the directory of its two codes, made at the first call; those of StyleGAN2 are truncated."""

    def get(gan):
        directory = workplace / "experiments" / "latent_codes" / gan / f"{gan}-2"
        if not directory.exists():
            truncation = ["--truncation=0.7"] if gan == "stylegan2_tiny" else []
            arguments = ["-v", f"--gan={data / gan}.pth", "--num-samples=2", "--no-cuda", *truncation]
            output = done(run_warm("sample_gan.py", *arguments, cwd=workplace))
            assert all(code.name in output for code in directory.iterdir() if code.is_dir())  # -v
        return directory

    return get


@pytest.fixture(scope="module")
def walk(workplace, trained, pool_of, run_warm):
    """walk(experiment, *flags) -> the directory of the results, in which traverse_latent_space.py has run."""

    def run(experiment, *flags):
        exp, pool = trained(experiment), pool_of(EXPERIMENTS[experiment][3])
        arguments = [f"--exp={exp}", f"--pool={pool.name}", f"--shift-steps={STEPS}", f"--eps={EPS}", "--no-cuda"]
        done(run_warm("traverse_latent_space.py", *arguments, *flags, cwd=workplace))
        return exp / "results" / pool.name / f"{2 * STEPS}_{EPS}_{2 * STEPS * EPS}"

    return run


@pytest.mark.parametrize("script", FLAGS)
def test_help_lists_every_flag_and_answers_at_once(script, run_command, tmp_path):
    process = run_command(script, "-h", cwd=tmp_path)
    listed = {word.strip(",[]()|") for word in done(process).split()}
    assert set(FLAGS[script].split()) <= listed
    assert process.cpu_seconds < 0.5


@pytest.mark.parametrize(
    "arguments, parted",
    [
        (["--log-freq=10--ckp-freq=100"], ["--log-freq=10", "--ckp-freq=100"]),
        (["-v", "--a=1--b=2--c=3", "d"], ["-v", "--a=1", "--b=2", "--c=3", "d"]),
        (["--corpus=my--faces.txt", "--exp-id", "a--b"], ["--corpus=my--faces.txt", "--exp-id", "a--b"]),
    ],
)
def test_a_missing_blank_between_two_flags_is_put_back(arguments, parted):
    assert unglue(arguments) == parted


def test_published_train_command_parses_as_it_stands():
    args = train.parser().parse_args(unglue(shlex.split(PUBLISHED_COMMAND)))
    expected = {
        "gan": "stylegan2_ffhq1024", "truncation": 0.7, "stylegan_space": "W", "corpus": "expressions3",
        "num_latent_support_dipoles": 128, "loss": "contrastive", "temperature": 0.5, "css_beta": 0.75,
        "min_shift_magnitude": 0.1, "max_shift_magnitude": 0.2, "batch_size": 3, "max_iter": 120000, "log_freq": 10,
        "ckp_freq": 100, "cuda": True,
    }  # fmt: skip
    assert vars(args) | expected == vars(args)


def test_both_spellings_of_a_flag_mean_the_same():
    needed = ["--gan=g", "--corpus=c"]
    assert train.parser().parse_args([*needed, "--beta=0.6"]) == train.parser().parse_args([*needed, "--css-beta=0.6"])
    published = "-v --gan-type=stylegan2_ffhq1024 --truncation=0.7 --num-samples=4"
    ours = published.replace("--gan-type", "--gan")
    assert sample_gan.parser().parse_args(published.split()) == sample_gan.parser().parse_args(ours.split())
    assert traverse_latent_space.parser().parse_args(["--exp=e", "--pool=p", "--cuda"]).cuda


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_training_leaves_a_complete_experiment(experiment, trained, workplace):
    directory = trained(experiment)
    assert directory.is_dir()
    models = {"latent_support_sets_init.pt", "semantic_dipoles.json", "checkpoint.pt", "latent_support_sets.pt"}
    pictures = {file for file in files_in(directory) if file.startswith("progress/")}
    assert "progress/000000.jpg" in pictures and len(pictures) > 1
    files = {"args.json", "stats.json", "command.sh", "progress.html"} | pictures
    assert files_in(directory) == files | {f"models/{file}" for file in models}
    assert not list((workplace / "experiments" / "wip").iterdir())
    assert json.loads((directory / "models" / "semantic_dipoles.json").read_text()) == DIPOLES


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_trained_paths_are_stored_as_the_authors_store_them(experiment, trained):
    models, dimension = trained(experiment) / "models", EXPERIMENTS[experiment][2]
    paths, begun = (read_tensors(models / f"latent_support_sets{end}.pt") for end in ("", "_init"))
    for state in (paths, begun):
        shapes = {key: tuple(value.shape) for key, value in state.items()}
        assert shapes == {"SUPPORT_SETS": (2, 2 * 4 * dimension), "LOGGAMMA": (2, 1)}
        assert all(value.isfinite().all() for value in state.values())
    assert not torch.equal(paths["SUPPORT_SETS"], begun["SUPPORT_SETS"])


def test_settings_and_statistics_of_a_run_are_kept(trained, data):
    args = json.loads((trained("W") / "args.json").read_text())
    assert json.loads((data / "args.json").read_text()).keys() <= args.keys()  # what the published files have
    assert args | {"stylegan_space": "W", "truncation": 0.7, "css_beta": 0.75, "exp_id": "second-try"} == args
    stats = json.loads((trained("Z") / "stats.json").read_text())
    assert list(stats) == ["3", "6", "7"]
    for entry in stats.values():
        assert entry.keys() == {"loss", "spread", "lr", "peak_gib"} and all(map(np.isfinite, entry.values()))
    assert [entry["lr"] for entry in stats.values()] == pytest.approx([1e-3, 1e-3, 1e-3])


def test_command_file_repeats_a_complete_run_which_says_so(trained, workplace):
    directory = trained("Z")
    before = times_in(directory)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    options = {"cwd": workplace, "env": environment, "timeout": TIMEOUT, "capture_output": True, "text": True}
    output = done(subprocess.run(["bash", str(directory / "command.sh")], **options))
    assert "complete" in output and directory.name in output and len(output.splitlines()) == 1
    assert times_in(directory) == before


def test_pool_holds_codes_under_their_hashes_with_their_images(pool_of, tiny_stylegan2):
    pool = pool_of("stylegan2_tiny")
    codes = [path for path in pool.iterdir() if path.is_dir()]
    assert len(codes) == 2
    for code in codes:
        files = {"latent_code_z.pt", "latent_code_w.pt", "latent_code_w+.pt", "image_z.jpg"}
        assert files_in(code) == files
        z, w, w_plus = (read_tensors(code / f"latent_code_{space}.pt") for space in ("z", "w", "w+"))
        assert (z.shape, w.shape, w_plus.shape) == ((1, 32), (1, 32), (1, 10, 32))
        assert hashlib.sha1(z.numpy().tobytes()).hexdigest() == code.name
        with torch.no_grad():
            expected = tiny_stylegan2.w_plus(tiny_stylegan2.mapping(z), 0.7)
            image = to_uint8(tiny_stylegan2(expected))[0]
        torch.testing.assert_close(w_plus, expected)
        torch.testing.assert_close(w, expected[:, 0])
        assert abs(pixels(code / "image_z.jpg") - image).mean() < 3  # JPEG
    assert json.loads((pool / "args.json").read_text())["truncation"] == 0.7


def test_pool_of_a_proggan_has_the_space_z_alone(pool_of):
    for code in (path for path in pool_of("pggan_tiny").iterdir() if path.is_dir()):
        assert files_in(code) == {"latent_code_z.pt", "image_z.jpg"}


def test_another_seed_gives_other_codes(pool_of, data, run_warm, tmp_path):
    arguments = [f"--gan={data / 'stylegan2_tiny'}.pth", "--num-samples=2", "--no-cuda", "--seed=1"]
    done(run_warm("sample_gan.py", *arguments, "--stylegan-space=W", cwd=tmp_path))
    pool = tmp_path / "experiments" / "latent_codes" / "stylegan2_tiny" / "stylegan2_tiny-2"
    codes = [path for path in pool.iterdir() if path.is_dir()]
    assert len(codes) == 2
    assert not any((pool_of("stylegan2_tiny") / code.name).exists() for code in codes)
    assert all((code / "image_w.jpg").is_file() and not (code / "image_z.jpg").exists() for code in codes)


def test_pool_takes_a_name(data, run_warm, tmp_path):
    arguments = [f"--gan={data / 'pggan_tiny'}.pth", "--num-samples=1", "--no-cuda"]
    done(run_warm("sample_gan.py", *arguments, "--name=mine", cwd=tmp_path))
    assert (tmp_path / "experiments/latent_codes/pggan_tiny/pggan_tiny-mine/args.json").is_file()
    refused = run_warm("sample_gan.py", *arguments, "--name=../mine", cwd=tmp_path)
    assert refused.returncode == 2 and "--name '../mine'" in refused.stderr


def test_sampling_again_gives_the_same_codes_and_makes_only_what_is_missing(pool_of, data, run_warm, tmp_path):
    arguments = [f"--gan={data / 'pggan_tiny'}.pth", "--num-samples=2", "--no-cuda"]
    pool = tmp_path / "experiments" / "latent_codes" / "pggan_tiny" / "pggan_tiny-2"
    shutil.copytree(pool_of("pggan_tiny"), pool)
    lost, kept = (path for path in pool.iterdir() if path.is_dir())
    lost.rename(tmp_path / "lost")
    before = times_in(kept)
    done(run_warm("sample_gan.py", *arguments, cwd=tmp_path))
    assert {path for path in pool.iterdir() if path.is_dir()} == {lost, kept}
    assert contents(lost) == contents(tmp_path / "lost")
    assert times_in(kept) == before


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_walk_writes_the_frames_that_the_generator_gives(experiment, walk, trained, pool_of, data, tiny_stylegan2):
    results = walk(experiment, "--frames")
    gan = EXPERIMENTS[experiment][3]
    generator = load_generator(data / f"{gan}.pth")
    codes = [path.name for path in pool_of(gan).iterdir() if path.is_dir()]
    frames = {f"paths_images/path_{k:03d}/{i:06d}.jpg" for k in range(2) for i in range(2 * STEPS + 1)}
    films = {f"paths_strips/path_{k:03d}_film.jpg" for k in range(2)}
    per_code = frames | films | {"original_image.jpg", "paths_latent_codes.pt", "settings.json"}
    pages = {"index.html", "results.md", "results_strips.md"}
    assert files_in(results) == pages | {f"{code}/{file}" for code in codes for file in per_code}

    psi = 0.7 if experiment == "W" else 1.0
    mapped, styles = experiment in ("W", "W+", "S"), latent_space(tiny_stylegan2, "S", 6)
    for code in codes:
        start = read_tensors(pool_of(gan) / code / "latent_code_z.pt")
        paths = read_tensors(results / code / "paths_latent_codes.pt")
        with torch.no_grad():
            if mapped:
                start = generator.w_plus(generator.mapping(start), psi)
            inputs = paths.flatten(0, 1)
            if experiment == "Z":
                inputs = generator.w_plus(generator.mapping(inputs), psi)
            if experiment == "S":
                start, images = styles.codes_of_w_plus(start), styles.synthesise(inputs)
            else:
                images = generator(inputs)
            images = to_uint8(images).reshape(2, 2 * STEPS + 1, 64, 64, 3)
        assert paths.shape == (2, 2 * STEPS + 1, *start.shape[1:])
        torch.testing.assert_close(paths[:, STEPS], start.expand_as(paths[:, STEPS]))
        moves = paths.diff(dim=1)
        moved = {"W": moves[..., 0, :], "W+": moves[..., :6, :].flatten(2)}.get(experiment, moves)
        torch.testing.assert_close(moved.norm(dim=-1), torch.full((2, 2 * STEPS), EPS), atol=1e-5, rtol=1e-4)
        if experiment in ("W+", "S"):
            assert not (moves[..., 6:, :] if experiment == "W+" else moves[..., 208:]).any()
        for k in range(2):
            film = pictures.film_frames(results / code / "paths_strips" / f"path_{k:03d}_film.jpg", 2 * STEPS + 1)
            for i in range(2 * STEPS + 1):
                compressed = io.BytesIO()
                Image.fromarray(images[k, i]).save(compressed, "JPEG", quality=95, subsampling="4:4:4")
                frame = pixels(results / code / "paths_images" / f"path_{k:03d}" / f"{i:06d}.jpg")
                assert abs(frame - pixels(compressed)).mean() < 0.1
                assert (frame == film[i]).all()
        original = (results / code / "original_image.jpg").read_bytes()
        assert original == (results / code / "paths_images" / "path_000" / f"{STEPS:06d}.jpg").read_bytes()


def test_walking_again_makes_only_what_is_missing(walk):
    results = walk("Z")
    codes = [path for path in results.iterdir() if path.is_dir()]
    frames = {file: file.read_bytes() for code in codes for file in code.rglob("*.jpg")}
    before = {code: times_in(code) for code in codes}
    walk("Z", "-v", "--batch-size=1")  # flags that change no picture
    assert {code: times_in(code) for code in codes} == before

    walk("Z", "--gif", "--gif-height=32", "--strip", "--strip-number=3", "--strip-height=16")
    for code in codes:
        strips = code / "paths_strips"
        ends = (".gif", "_strip.jpg", "_film.jpg")
        assert files_in(strips) == {f"path_{k:03d}{end}" for k in range(2) for end in ends}
        assert pixels(strips / "path_000_strip.jpg").shape == (16, 3 * 16, 3)
        gif = Image.open(strips / "path_001.gif")
        assert (gif.size, gif.n_frames) == ((32, 32), 2 * (2 * STEPS + 1) - 2)
    assert {file: file.read_bytes() for file in frames} == frames
    made = {file: file.read_bytes() for code in codes for file in code.rglob("*") if file.suffix in (".jpg", ".gif")}
    walk("Z", "--frames")  # adds them, and keeps what earlier calls made
    assert len(list(results.glob("*/paths_images/*/*.jpg"))) == len(codes) * 2 * (2 * STEPS + 1)
    assert {file: file.read_bytes() for file in made} == made
    for page, ending in (("results.md", ".gif"), ("results_strips.md", "_strip.jpg")):
        assert all(f"{code.name}/paths_strips/path_001{ending}" in (results / page).read_text() for code in codes)


def test_leap_and_size_of_the_shown_images(walk):
    results = walk("ProgGAN", "--shift-leap=2", "--img-size=20", "--frames")
    for code in (path for path in results.iterdir() if path.is_dir()):
        images = sorted((code / "paths_images" / "path_000").iterdir())
        assert [file.name for file in images] == ["000000.jpg", "000001.jpg", "000002.jpg"]
        assert {pixels(file).shape for file in [*images, code / "original_image.jpg"]} == {(20, 20, 3)}
        shown = read_tensors(code / "paths_latent_codes.pt")
        assert shown.shape == (2, 3, 32)
        # Two steps of a curve are at most as long as two straight ones.
        assert ((shown.diff(dim=1).norm(dim=-1) - 2 * EPS).abs() < 0.1 * EPS).all()


@pytest.mark.parametrize("shape", [(2, 10, 32), (2, 32)])
def test_w_space_walks_from_codes_of_inverted_photographs(shape, trained, data, tiny_stylegan2, run_warm, workplace):
    codes = torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))
    file = workplace / f"photographs{len(shape)}.pt"
    torch.save(codes, file)
    arguments = [f"--gan={data / 'stylegan2_tiny.pth'}", f"--from-codes={file}", "--no-cuda"]
    done(run_warm("sample_gan.py", *arguments, cwd=workplace))
    pool = workplace / "experiments" / "latent_codes" / "stylegan2_tiny" / f"stylegan2_tiny-{file.stem}"
    expected = codes if codes.ndim == 3 else codes[:, None].repeat(1, 10, 1)
    for code in expected.split(1):
        folder = pool / hashlib.sha1(code.numpy().tobytes()).hexdigest()
        assert torch.equal(read_tensors(folder / "latent_code_w+.pt"), code)
        with torch.no_grad():
            assert abs(pixels(folder / "image_w.jpg") - to_uint8(tiny_stylegan2(code))[0]).mean() < 3

    for experiment in ("W", "W+", "S"):
        exp = trained(experiment)
        arguments = [f"--exp={exp}", f"--pool={pool.name}", "--shift-steps=1", "--eps=0.1", "--w-space", "--no-cuda"]
        done(run_warm("traverse_latent_space.py", *arguments, cwd=workplace))
        for code in expected.split(1):
            name = hashlib.sha1(code.numpy().tobytes()).hexdigest()
            paths = read_tensors(exp / "results" / pool.name / "2_0.1_0.2" / name / "paths_latent_codes.pt")
            start = latent_space(tiny_stylegan2, "S").codes_of_w_plus(code) if experiment == "S" else code
            torch.testing.assert_close(paths[0, 1:2], start)


def test_first_commands_of_a_newcomer_need_no_other_flags(run_command, tmp_path):
    """Each command as users start it, imports and all; only shorter."""
    done(run_command("train.py", "--gan=stylegan2_portraits64", "--corpus=attributes", "--max-iter=0", cwd=tmp_path))
    done(run_command("traverse_latent_space.py", "--exp=latest", "--shift-steps=2", cwd=tmp_path))
    (experiment,) = (tmp_path / "experiments" / "complete").iterdir()
    assert experiment.name == "ContraCLIP_stylegan2_portraits64-W-K9-lines-eps1.1_1.8-paired-attributes"
    settings = json.loads((experiment / "args.json").read_text())
    assert settings["truncation"] == 0.7
    (walk,) = (experiment / "results" / "stylegan2_portraits64-truncation0.7-8").glob("4_*")
    eps = float(walk.name.split("_")[1])
    assert eps == pytest.approx(settings["walk_length"] / 2, rel=0.05)
    assert len(list(walk.glob("*/paths_strips/*_film.jpg"))) == 8 * 9
    assert len(list(walk.glob("*/*/*"))) == 8 * 9  # and nothing besides
    assert pixels(next(walk.glob("*/original_image.jpg"))).std() > 5  # it shows something


def test_walk_of_some_paths_has_a_folder_of_its_own(trained, pool_of, workplace, run_warm, walk):
    whole = walk("W")
    exp, pool = trained("W"), pool_of("stylegan2_tiny")
    flags = [f"--exp={exp}", f"--pool={pool.name}", f"--shift-steps={STEPS}", f"--eps={EPS}", "--no-cuda"]
    said = done(run_warm("traverse_latent_space.py", *flags, "--paths=old", cwd=workplace))
    some = whole.with_name(f"{whole.name}-paths1")
    assert str(some.relative_to(workplace)) in said and "an old face" in (some / "results.md").read_text()
    assert "a sad face" not in (some / "results.md").read_text()
    for code in (path for path in some.iterdir() if path.is_dir()):
        assert files_in(code / "paths_strips") == {"path_000_film.jpg"}
        film = (code / "paths_strips" / "path_000_film.jpg").read_bytes()
        assert film == (whole / code.name / "paths_strips" / "path_001_film.jpg").read_bytes()
    refused = run_warm("traverse_latent_space.py", *flags, "--paths=0,zebra", cwd=workplace)
    assert refused.returncode == 2 and "'zebra'" in refused.stderr


def test_single_edits_are_the_ends_of_a_walk_without_it(trained, pool_of, workplace, run_warm):
    exp, pool = trained("Z"), pool_of("stylegan2_tiny")
    flags = [f"--exp={exp}", f"--pool={pool.name}", "--no-cuda", "--paths=0"]
    said = done(run_warm("traverse_latent_space.py", *flags, "--shift=-2", cwd=workplace))
    directory = exp / "results" / pool.name / "shift_-2-paths0"
    assert str((directory / "sheet.jpg").relative_to(workplace)) in said
    done(run_warm("traverse_latent_space.py", *flags, "--shift-steps=16", "--eps=0.125", cwd=workplace))
    walked = exp / "results" / pool.name / "32_0.125_4.0-paths0"
    titled = pixels(directory / "sheet.jpg")[:40]  # above a row for each code
    assert pixels(directory / "sheet.jpg").shape[0] % 128 == 40 and titled[:, :128].min() < 100 > titled[:, 128:].min()
    for code in (path for path in directory.iterdir() if path.is_dir()):
        assert {file.name for file in code.iterdir()} == {"original_image.jpg", "path_000.jpg"}
        end = pictures.film_frames(walked / code.name / "paths_strips" / "path_000_film.jpg", 33)[0]
        assert np.abs(pixels(code / "path_000.jpg") - end).max() <= 2


def test_what_a_user_may_not_have_meant_is_said(trained, pool_of, workplace, run_warm):
    exp, pool = trained("Z"), pool_of("stylegan2_tiny")  # trained without truncation, sampled with it
    flags = [f"--exp={exp}", f"--pool={pool.name}", "--no-cuda", "--paths=0"]
    near = run_warm("traverse_latent_space.py", *flags, "--shift=0.1", cwd=workplace)
    assert "truncation 0.7, and the paths are walked with 1" in near.stderr and "ball" not in near.stderr
    far = run_warm("traverse_latent_space.py", *flags, "--shift=1000", cwd=workplace)
    assert "the paths go 1e+03 from each code" in far.stderr


def test_latest_is_the_experiment_that_ended_last(trained, workplace, run_warm, pool_of):
    flags = ["--exp=latest", "--shift-steps=1", f"--eps={EPS}", "--no-cuda"]
    elsewhere = run_warm("traverse_latent_space.py", *flags, cwd=workplace / "my corpora")
    assert elsewhere.returncode == 2 and "no experiment has ended" in elsewhere.stderr
    for name in EXPERIMENTS:
        trained(name)
    last = max(workplace.glob("experiments/complete/*/stats.json"), key=lambda file: file.stat().st_mtime_ns).parent
    pool = pool_of(next(gan for _, directory, _, gan in EXPERIMENTS.values() if directory == last.name))
    said = done(run_warm("traverse_latent_space.py", *flags, f"--pool={pool.name}", cwd=workplace))
    assert f"{last.name}/results/{pool.name}" in said


def test_embedded_proggan_with_the_authors_loss_from_training_to_walk(run_warm, tmp_path):
    gan = "pggan_portraits64"
    flags = ["--corpus=attributes", "--loss=cossim", "--batch-size=2", "--max-iter=2", "--no-cuda"]
    done(run_warm("train.py", f"--gan={gan}", *flags, cwd=tmp_path))
    done(run_warm("sample_gan.py", f"--gan={gan}", "--num-samples=1", "--no-cuda", cwd=tmp_path))
    (experiment,) = (tmp_path / "experiments" / "complete").iterdir()
    assert experiment.name.startswith(f"ContraCLIP_{gan}-Z-K")
    flags = [f"--exp={experiment}", f"--pool={gan}-1", "--shift-steps=2", "--strip", "--no-cuda"]
    done(run_warm("traverse_latent_space.py", *flags, cwd=tmp_path))
    results = experiment / "results" / f"{gan}-1" / "4_0.2_0.8"
    dipoles = json.loads((experiment / "models" / "semantic_dipoles.json").read_text())
    assert len(list(results.glob("*/paths_strips/*_film.jpg"))) == len(dipoles)
    assert pixels(next(results.glob("*/original_image.jpg"))).std() > 5  # it shows something
