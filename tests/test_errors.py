"""What users get wrong, through the real commands: one line that says what, exit code 2, nothing new on disk."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from lib import command_line
from lib.trained import find_experiment
from models.clip_encoder import clip
from models.errors import UserError, unknown

REPOSITORY = Path(__file__).resolve().parent.parent
NAME = "ContraCLIP_stylegan2_tiny-Z-K2-D4-eps0.25_0.45-nonlinear_beta-0.5-cossim-faces"
PUBLISHED_COMMAND = (
    "--gan=stylegan2_ffhq1024 --truncation=0.7 --stylegan-space=W --corpus=expressions3 "
    "--num-latent-support-dipoles=128 --loss=contrastive --temperature=0.5 --beta=0.75 --min-shift-magnitude=0.1 "
    "--max-shift-magnitude=0.2 --batch-size=3 --max-iter=120000 --log-freq=10--ckp-freq=100"
)

PROGRESS = ("training: ", "sampling: ", "traversing: ")


def contents(directory):
    """Everything below a directory, and when files were written."""
    return {path: path.stat().st_mtime_ns if path.is_file() else None for path in directory.rglob("*")}


def refused_line(process, script):
    """The one line of a command that refused; a progress bar may stand before it."""
    lines = [line for line in process.stderr.splitlines() if line and not line.startswith(PROGRESS)]
    assert process.returncode == 2, process.stderr
    assert len(lines) == 1, process.stderr
    assert lines[0].startswith(f"{script}: error: ")
    return lines[0]


@pytest.fixture
def refused(run_warm, tmp_path):
    """refused(script, *args) -> the line that it was refused with; checks that nothing changed on disk."""
    cwd = tmp_path / "cwd"
    cwd.mkdir(exist_ok=True)

    def run(script, *args, cwd=cwd):
        before = contents(cwd)
        line = refused_line(run_warm(script, *args, cwd=cwd), script)
        assert contents(cwd) == before
        return line

    return run


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    file = tmp_path_factory.mktemp("corpus") / "faces.txt"
    file.write_text("a happy face | a sad face\na young face | an old face\n")
    return file


@pytest.fixture(scope="module")
def train_arguments(data, tiny_clip_file, corpus):
    """train_arguments(flag=value, ...) -> the flags of a short run, with these instead."""

    def build(**changed):
        flags = {
            "gan": data / "stylegan2_tiny.pth", "clip_model": tiny_clip_file, "corpus": corpus, "batch_size": 2,
            "max_iter": 2, "num_latent_support_dipoles": 4, "loss": "cossim",
        } | changed  # fmt: skip
        return ["--no-cuda", *(f"--{flag.replace('_', '-')}={value}" for flag, value in flags.items())]

    return build


@pytest.fixture(scope="module")
def finished(run_warm, train_arguments, data, tmp_path_factory):
    """A working directory with a trained experiment and a pool."""
    cwd = tmp_path_factory.mktemp("finished")
    sampling = [f"--gan={data / 'stylegan2_tiny.pth'}", "--num-samples=1", "--no-cuda"]
    for script, arguments in (("train.py", train_arguments()), ("sample_gan.py", sampling)):
        process = run_warm(script, *arguments, cwd=cwd)
        assert process.returncode == 0, process.stderr
    return cwd


@pytest.fixture
def workplace(finished, tmp_path):
    """A copy of `finished` that a test may break."""
    return shutil.copytree(finished, tmp_path / "workplace")


@pytest.fixture
def walk_refused(refused, workplace):
    """walk_refused(*flags) -> the line that traverse_latent_space.py was refused with in the workplace."""

    def run(*flags, exp=f"experiments/complete/{NAME}", pool="stylegan2_tiny-1"):
        arguments = [f"--exp={exp}", f"--pool={pool}", "--no-cuda", "--shift-steps=1", *flags]
        return refused("traverse_latent_space.py", *arguments, cwd=workplace)

    return run


# --- what the parser refuses, before torch is imported

NUMBERS = {
    "train.py": "--stylegan-layer --truncation --css-beta --lss-beta --num-latent-support-dipoles --lr --seed "
    "--min-shift-magnitude --max-shift-magnitude --max-iter --batch-size --temperature --log-freq --ckp-freq",
    "sample_gan.py": "--truncation --num-samples --seed",
    "traverse_latent_space.py": "--shift-steps --eps --shift-leap --batch-size --img-size --img-quality --gif-height "
    "--gif-fps --strip-number --strip-height",
}
REQUIRED = {
    "train.py": ["--gan=g", "--corpus=c"],
    "sample_gan.py": ["--gan=g"],
    "traverse_latent_space.py": ["--exp=e"],
}
MAY_BE_ZERO = {"--stylegan-layer", "--seed", "--max-iter"}
OUT_OF_RANGE = [
    ("train.py", "--beta=0.24"), ("train.py", "--beta=1"), ("train.py", "--css-beta=1.5"), ("train.py", "--lss-beta=1"),
    ("train.py", "--truncation=1.1"), ("train.py", "--max-iter=1.5"), ("train.py", "--seed=99999999999999999999"),
    ("train.py", "--lr=1e38"), ("train.py", "--reconstructor-lr=1e38"), ("train.py", "--nce-views=1000000"),
    ("train.py", "--direction-depth=100000"), ("train.py", "--projector-width=1000000"),
    ("train.py", "--loss=mse"), ("train.py", "--stylegan-space=S+"), ("train.py", "--no-such-flag"),
    ("sample_gan.py", "--truncation=2"), ("sample_gan.py", "--stylegan-space=W+"),
    ("traverse_latent_space.py", "--img-quality=101"), ("traverse_latent_space.py", "--gif-fps=51"),
    ("traverse_latent_space.py", "--img-size=70000"), ("traverse_latent_space.py", "--gif-height=70000"),
]  # fmt: skip
REFUSED = OUT_OF_RANGE + [
    (script, f"{flag}={value}")
    for script, flags in NUMBERS.items()
    for flag in flags.split()
    for value in ("-1", "0", "nan", "inf", "many", "")
    if not (value == "0" and flag in MAY_BE_ZERO)
]


@pytest.mark.parametrize("script, argument", REFUSED)
def test_parser_refuses_a_value_at_once(script, argument, run_command, tmp_path):
    process = run_command(script, *REQUIRED[script], argument, cwd=tmp_path)
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert line.startswith(f"{script}: error: ")
    assert argument.split("=")[0] in line and "Traceback" not in process.stderr
    assert not list(tmp_path.iterdir())
    assert process.cpu_seconds < 1


@pytest.mark.parametrize("script", REQUIRED)
def test_parser_names_the_flags_that_are_required(script, run_command, tmp_path):
    process = run_command(script, cwd=tmp_path)
    assert process.returncode == 2
    line = process.stderr.splitlines()[-1]
    assert all(flag.split("=")[0] in line for flag in REQUIRED[script])


@pytest.mark.parametrize("arguments, advice", [
    (["--batchsize", "3"], "there is no flag --batchsize: did you mean --batch-size?"),
    (["--qqqqqq"], "there is no flag --qqqqqq: -h lists all flags"),
    (["photo"], "'photo' belongs to no flag: quote a value that has spaces"),
])
def test_parser_suggests_what_was_meant(arguments, advice, run_command, tmp_path):
    process = run_command("train.py", *REQUIRED["train.py"], *arguments, cwd=tmp_path)
    assert (process.returncode, process.stderr) == (2, f"train.py: error: {advice}\n")


@pytest.mark.parametrize("name, message", [
    ("faces.pkl", "there is no file 'faces.pkl': give a thing by its path or its name"),
    ("tests/faces", "there is no file 'tests/faces': give a thing by its path or its name"),
    ("ViT-Z/99", "'ViT-Z/99' is not a thing: give a file, or one of stylegan2, ViT-B/32"),
    ("ViT-B/31", "'ViT-B/31' is not a thing: did you mean ViT-B/32?"),
    ("quite", "'quite' is not a thing: give a file, or one of stylegan2, ViT-B/32"),
])
def test_an_unknown_name_gets_advice(name, message, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert str(unknown(name, "a thing", ["stylegan2", "ViT-B/32"])) == message


def test_a_long_list_of_names_is_left_to_the_help():
    names = [f"number{i}" for i in range(99)]
    assert str(unknown("quite", "a thing", names)).endswith("one of the names that -h lists")


def test_a_package_that_is_missing_is_named(monkeypatch, capsys):
    def main(arguments):
        raise ModuleNotFoundError("No module named 'tqdm'", name="tqdm")

    monkeypatch.setattr("sys.argv", ["train.py"])
    with pytest.raises(SystemExit) as exit:
        command_line.run(main)
    assert exit.value.code == 2
    said = capsys.readouterr().err
    assert said == "train.py: error: the package tqdm is not installed here: see Install in README.md\n"


@pytest.mark.parametrize(
    "script, arguments, named",
    [
        ("train.py", "--min-shift-magnitude=0.5 --max-shift-magnitude=0.4", "--min-shift-magnitude 0.5"),
        ("train.py", "--css-beta=0.7", "--css-beta"),
        ("train.py", "--loss=paired --temperature=0.1", "--temperature"),
        ("train.py", "--loss=paired --linear", "--linear"),
        ("train.py", "--num-latent-support-dipoles=8", "--path=sets"),
        ("train.py", "--stylegan-layer=3", "--stylegan-space=W+"),
        ("train.py", "--stylegan-layer=3 --stylegan-space=W", "--stylegan-space=W+"),
        ("train.py", "--exp-id=a/b", "'a/b'"),
        ("train.py", "--gan=pggan_celebahq1024 --stylegan-space=W", "ProgGAN"),
        ("train.py", "--gan=pggan_celebahq1024 --truncation=0.7", "ProgGAN"),
        ("sample_gan.py", "--gan=pggan_celebahq1024 --truncation=0.7", "ProgGAN"),
        ("sample_gan.py", "--gan=stylegan2_ffhq1024 --from-codes=codes.pt --truncation=0.7", "--from-codes"),
        ("sample_gan.py", "--gan=stylegan2_ffhq1024 --biggan-target-classes 3", "--biggan-target-classes"),
        ("train.py", "--gan=pggan_celebahq1024 --biggan-target-classes 3", "--biggan-target-classes"),
        ("sample_gan.py", "--from-codes=codes.pt --num-samples=4", "--from-codes"),
        ("traverse_latent_space.py", "--shift-leap=5 --shift-steps=4", "--shift-leap 5"),
        ("traverse_latent_space.py", "--strip --strip-number=100 --shift-steps=90 --strip-height=1000", "strip"),
    ],
)
def test_flags_that_cannot_be_followed_are_refused_at_once(script, arguments, named, run_command, tmp_path):
    process = run_command(script, *REQUIRED[script], *arguments.split(), cwd=tmp_path)
    assert named in refused_line(process, script)
    assert not list(tmp_path.iterdir())
    assert process.cpu_seconds < 1


def test_linear_and_styleclip_exclude_each_other(run_command, tmp_path):
    process = run_command("train.py", *REQUIRED["train.py"], "--linear", "--styleclip", cwd=tmp_path)
    assert process.returncode == 2
    assert "--styleclip" in process.stderr.splitlines()[-1] and "--linear" in process.stderr.splitlines()[-1]


# --- devices


@pytest.mark.parametrize("script", ["train.py", "sample_gan.py", "traverse_latent_space.py"])
def test_kernels_without_a_cuda_device_are_refused(script, refused, train_arguments, workplace, data):
    arguments = {
        "train.py": train_arguments(exp_id="another"),
        "sample_gan.py": [f"--gan={data / 'stylegan2_tiny.pth'}"],
        "traverse_latent_space.py": [f"--exp=experiments/complete/{NAME}", "--pool=stylegan2_tiny-1"],
    }[script]
    assert "--no-cuda" in refused(script, *arguments, "--no-cuda", "--ops=cuda", cwd=workplace)
    if not torch.cuda.is_available():
        assert "there is no CUDA device" in refused(script, *arguments, "--cuda", "--ops=cuda", cwd=workplace)


def test_choice_of_operations_is_none_of_a_run_s_settings(run_warm, train_arguments, workplace, data):
    """What was made with one is gone on with by another."""
    sampling = [f"--gan={data / 'stylegan2_tiny.pth'}", "--num-samples=1", "--no-cuda"]
    walking = [f"--exp=experiments/complete/{NAME}", "--pool=stylegan2_tiny-1", "--shift-steps=1", "--no-cuda"]
    for script, arguments in (
        ("train.py", train_arguments()), ("sample_gan.py", sampling),
        ("traverse_latent_space.py", [*walking, "--ops=auto"]), ("traverse_latent_space.py", walking),
    ):  # fmt: skip
        process = run_warm(script, *arguments, *["--ops=reference"] * ("--ops=auto" not in arguments), cwd=workplace)
        assert process.returncode == 0, process.stderr


# --- generators


def test_published_command_without_the_weights_says_how_to_fetch_them(refused):
    assert "python download.py" in refused("train.py", *PUBLISHED_COMMAND.split())


@pytest.mark.parametrize("script", ["train.py", "sample_gan.py"])
def test_unknown_generator_is_refused_with_where_the_names_are(script, refused, train_arguments):
    arguments = train_arguments(gan="stylegan3") if script == "train.py" else ["--gan=stylegan3"]
    line = refused(script, *arguments)
    assert "'stylegan3'" in line and "-h lists" in line


@pytest.mark.parametrize("content", [b"hello, I am a text\n", b"", b"\x80\x04."], ids=["text", "empty", "bytes"])
def test_file_that_is_no_checkpoint_is_refused(content, refused, tmp_path):
    (tmp_path / "gan.pth").write_bytes(content)
    assert "gan.pth" in refused("sample_gan.py", f"--gan={tmp_path / 'gan.pth'}")


def test_truncated_checkpoint_is_refused(data, refused, tmp_path):
    whole = (data / "stylegan2_tiny.pth").read_bytes()
    (tmp_path / "gan.pth").write_bytes(whole[: len(whole) // 2])
    assert "gan.pth" in refused("sample_gan.py", f"--gan={tmp_path / 'gan.pth'}")


@pytest.mark.parametrize(
    "content",
    [
        {"weights": torch.zeros(2)}, {}, [1, 2], torch.zeros(3), {"generator": None}, {"generator": torch.zeros(2)},
        {"generator": {}}, {"generator": {"depth": 3}}, {"generator": {1: torch.zeros(2)}},
    ],
    ids=["other key", "no key", "list", "tensor", "none", "tensor below", "no tensor below", "number below",
         "number as key"],
)  # fmt: skip
def test_checkpoint_of_something_else_is_refused(content, refused, tmp_path):
    torch.save(content, tmp_path / "gan.pth")
    assert "gan.pth" in refused("sample_gan.py", f"--gan={tmp_path / 'gan.pth'}")


@pytest.mark.parametrize("gan, key", [("stylegan2_tiny", "synthesis.layer3.noise"), ("pggan_tiny", "layer5.weight")])
@pytest.mark.parametrize("replacement", [None, torch.zeros(7, 5, 3)], ids=["missing", "another shape"])
def test_key_that_does_not_fit_is_named(gan, key, replacement, data, refused, tmp_path):
    ((kind, state),) = torch.load(data / f"{gan}.pth", weights_only=True).items()
    state = {name: tensor for name, tensor in state.items() if name != key}
    torch.save({kind: state | ({} if replacement is None else {key: replacement})}, tmp_path / "gan.pth")
    assert key in refused("sample_gan.py", f"--gan={tmp_path / 'gan.pth'}")


@pytest.mark.parametrize("script", ["train.py", "sample_gan.py"])
def test_generator_with_weights_that_are_not_finite_is_refused(script, data, refused, train_arguments, tmp_path):
    ((kind, state),) = torch.load(data / "stylegan2_tiny.pth", weights_only=True).items()
    key = "synthesis.layer3.weight"
    torch.save({kind: state | {key: torch.full_like(state[key], torch.nan)}}, tmp_path / "gan.pth")
    gan = tmp_path / "gan.pth"
    assert "gan.pth" in refused(script, *(train_arguments(gan=gan) if script == "train.py" else [f"--gan={gan}"]))


def test_layer_beyond_the_last_is_refused(refused, train_arguments):
    line = refused("train.py", *train_arguments(stylegan_space="W+", stylegan_layer=10))
    assert "10" in line and "0 to 9" in line


@pytest.mark.parametrize("flags", [{"stylegan_space": "W"}, {"truncation": 0.7}], ids=["space", "truncation"])
def test_proggan_file_has_the_space_z_only_and_no_truncation(flags, data, refused, train_arguments):
    assert "ProgGAN" in refused("train.py", *train_arguments(gan=data / "pggan_tiny.pth", **flags))
    sampling = [f"--gan={data / 'pggan_tiny.pth'}", *(f"--{key.replace('_', '-')}={flags[key]}" for key in flags)]
    assert "ProgGAN" in refused("sample_gan.py", *sampling)


# --- corpora and CLIP


def test_unknown_corpus_is_refused_with_the_names_that_exist(refused, train_arguments):
    line = refused("train.py", *train_arguments(corpus="smiles"))
    assert "'smiles'" in line and "expressions3" in line


@pytest.mark.parametrize(
    "text, named",
    [
        ("a | b\nonly one pole\n", "line 2"),
        ("a | b\nc | d\ne |  \n", "line 3"),
        ("# note\n\na | a\n", "line 3"),
        ("a | b | c\n", "line 1"),
        ('[["a", "b"],\n ["c", "d"]\n', "line"),
        ('[["a", "b"],\n\n ["c"]]\n', "line 3"),
        ('[["a", "b"],\n ["c", 4]]\n', "line 2"),
        ('{"a": "b"}\n', "line 1"),
        ("\n# nothing else\n", "no dipole"),
        ("[]", "no dipole"),
    ],
)
def test_broken_corpus_is_refused_by_its_line(text, named, refused, train_arguments, tmp_path):
    (tmp_path / "broken.corpus").write_text(text)
    line = refused("train.py", *train_arguments(corpus=tmp_path / "broken.corpus"))
    assert "broken.corpus" in line and named in line


def test_sentence_that_clip_cannot_read_whole_is_quoted_shortened(refused, train_arguments, tmp_path):
    long = "a picture of " + "very " * 80 + "long face"
    (tmp_path / "long.txt").write_text(f"a face | a hat\na short face | {long}\n")
    assert long[:60] in refused("train.py", *train_arguments(corpus=tmp_path / "long.txt"))


def test_unknown_clip_is_refused_with_the_names_that_exist(refused, train_arguments):
    line = refused("train.py", *train_arguments(clip_model="ViT-Z/99"))
    assert "'ViT-Z/99'" in line and "ViT-B/32" in line


@pytest.mark.parametrize("content", [b"hello", b"", None], ids=["text", "empty", "other tensors"])
def test_file_that_is_no_clip_is_refused(content, refused, train_arguments, tmp_path):
    if content is None:
        torch.save({"weights": torch.zeros(2)}, tmp_path / "clip.pt")
    else:
        (tmp_path / "clip.pt").write_bytes(content)
    assert "clip.pt" in refused("train.py", *train_arguments(clip_model=tmp_path / "clip.pt"))


def test_released_weights_that_cannot_be_had_are_refused_with_what_gets_them(refused, train_arguments):
    pytest.importorskip("open_clip")
    line = refused("train.py", *train_arguments(clip_model="open_clip:ViT-B-16-SigLIP/webli"))
    assert "open_clip_model.safetensors" in line and "hf download timm/ViT-B-16-SigLIP" in line


def test_run_that_began_with_a_clip_of_another_size_is_refused(workplace, refused, train_arguments, tmp_path):
    experiments = workplace / "experiments"
    shutil.move(experiments / "complete" / NAME, experiments / "wip" / NAME)
    other = tmp_path / "other.pt"
    with torch.random.fork_rng():
        torch.manual_seed(0)  # it tells the sentences apart, so that nothing is said of that
        torch.save(clip.model.CLIP(24, 64, 2, 64, 16, 77, 49408, 64, 1, 1).state_dict(), other)
    file = experiments / "wip" / NAME / "args.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"clip_model": str(other)}))
    line = refused("train.py", *train_arguments(clip_model=other), cwd=workplace)
    assert "clip_embed_dim is 24, was 32" in line


def test_missing_clip_file_is_refused(refused, train_arguments, tmp_path):
    assert "gone.pt" in refused("train.py", *train_arguments(clip_model=tmp_path / "gone.pt"))


# --- the disk


def test_name_too_long_for_the_disk_is_refused(refused, train_arguments):
    assert "too long" in refused("train.py", *train_arguments(exp_id="x" * 300)).lower()


@pytest.mark.parametrize("name", ["args.json", "models/checkpoint.pt", "models/latent_support_sets_init.pt"])
@pytest.mark.parametrize("content", [b"half of i", "[]"], ids=["broken", "of another kind"])
def test_run_whose_files_are_broken_is_refused_by_the_file(name, content, finished, refused, train_arguments, tmp_path):
    wip = tmp_path / "cwd" / "experiments" / "wip"
    shutil.copytree(finished / "experiments" / "complete" / NAME, wip / NAME)
    (wip / NAME / ".lock").touch()
    file = wip / NAME / name
    if content == "[]" and file.suffix == ".pt":
        torch.save([], file)
    else:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert file.name in refused("train.py", *train_arguments())


def test_pool_made_with_other_arguments_is_left_alone(refused, workplace, data):
    arguments = [f"--gan={data / 'stylegan2_tiny.pth'}", "--num-samples=1", "--no-cuda", "--seed=3", "--truncation=0.5"]
    line = refused("sample_gan.py", *arguments, cwd=workplace)
    assert "seed is 3, was 0" in line and "truncation is 0.5, was 1.0" in line and line.endswith("give another --name")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_directory_that_cannot_be_written_is_refused(refused, train_arguments, data, tmp_path):
    cwd = tmp_path / "cwd"
    cwd.chmod(0o555)
    try:
        assert "experiments" in refused("train.py", *train_arguments())
        assert "experiments" in refused("sample_gan.py", f"--gan={data / 'stylegan2_tiny.pth'}")
    finally:
        cwd.chmod(0o755)


def test_file_in_the_place_of_the_experiments_is_refused(refused, train_arguments, data, tmp_path):
    (tmp_path / "cwd" / "experiments").write_text("a file")
    assert "experiments" in refused("train.py", *train_arguments())
    assert "experiments" in refused("sample_gan.py", f"--gan={data / 'stylegan2_tiny.pth'}")


# --- walking


def test_walk_without_an_experiment_is_refused(walk_refused, workplace):
    assert "experiments/none" in walk_refused(exp="experiments/none")
    (workplace / "experiments" / "complete" / NAME / "models" / "latent_support_sets.pt").unlink()
    assert "latent_support_sets.pt" in walk_refused()


@pytest.mark.parametrize(
    "name, content",
    [
        ("args.json", '{"gan": '), ("args.json", "[]"), ("args.json", "{}"), ("args.json", None),
        ("models/semantic_dipoles.json", "not JSON"), ("models/semantic_dipoles.json", "{}"),
        ("models/semantic_dipoles.json", '[["a", "b"], 3]'), ("models/semantic_dipoles.json", None),
    ],
)  # fmt: skip
def test_walk_of_a_broken_experiment_is_refused_by_the_file(name, content, walk_refused, workplace):
    file = workplace / "experiments" / "complete" / NAME / name
    file.unlink()
    if content is not None:
        file.write_text(content)
    assert file.name in walk_refused()


PATHS = {"SUPPORT_SETS": torch.ones(2, 2 * 4 * 32), "LOGGAMMA": torch.zeros(2, 1)}


@pytest.mark.parametrize(
    "content",
    [
        b"half of i", [1], {"SUPPORT_SETS": PATHS["SUPPORT_SETS"]}, PATHS | {"SUPPORT_SETS": torch.ones(2, 2 * 4 * 31)},
        PATHS | {"SUPPORT_SETS": torch.ones(64)}, PATHS | {"SUPPORT_SETS": 3}, PATHS | {"LOGGAMMA": torch.zeros(3, 1)},
        {"SUPPORT_SETS": torch.ones(3, 256), "LOGGAMMA": torch.zeros(3, 1)},
        PATHS | {"SUPPORT_SETS": torch.full((2, 256), torch.nan)},
    ],
    ids=["corrupt", "list", "no gamma", "another dimension", "vector", "number", "another gamma", "more paths",
         "not finite"],
)  # fmt: skip
def test_walk_of_weights_that_do_not_fit_is_refused_by_the_file(content, walk_refused, workplace):
    file = workplace / "experiments" / "complete" / NAME / "models" / "latent_support_sets.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    assert file.name in walk_refused()


def test_corpus_that_was_edited_since_is_refused_by_its_new_sentence(refused, workplace, train_arguments, corpus):
    before = corpus.read_text()
    try:
        corpus.write_text(before.replace("a sad face", "an angry face"))
        line = refused("train.py", *train_arguments(), cwd=workplace)
    finally:
        corpus.write_text(before)
    assert "'an angry face'" in line and "--exp-id" in line


def test_walk_without_a_pool_is_refused(walk_refused, workplace):
    assert "no-such-pool" in walk_refused(pool="no-such-pool")
    assert "is not a pool" in walk_refused(pool="experiments")
    (workplace / "experiments" / "latent_codes" / "stylegan2_tiny" / "empty").mkdir()
    assert "empty" in walk_refused(pool="empty")
    (workplace / "experiments" / "latent_codes" / "other_gan" / "other-4").mkdir(parents=True)
    line = walk_refused(pool="other-4")
    assert "'other-4' is of 'other_gan', and these paths are of stylegan2_tiny" in line


def test_a_directory_of_experiments_is_no_experiment(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "args.json").write_text("{}")
    with pytest.raises(UserError, match=f"holds experiments.* such as {tmp_path / 'one'}, or say latest$"):
        find_experiment(tmp_path)
    assert find_experiment(tmp_path / "one") == tmp_path / "one"


@pytest.mark.parametrize("content", [torch.zeros(1, 48), [1], torch.full((1, 32), torch.nan), None],
                         ids=["another generator's", "list", "not finite", "missing"])  # fmt: skip
def test_walk_from_a_code_that_does_not_fit_is_refused_by_the_file(content, walk_refused, workplace):
    (file,) = (workplace / "experiments" / "latent_codes").rglob("latent_code_z.pt")
    file.unlink()
    if content is not None:
        torch.save(content, file)
    assert "latent_code_z.pt" in walk_refused()


@pytest.mark.parametrize(
    "content, named",
    [
        (torch.zeros(2, 9, 32), r"(2, 9, 32), expected one tensor (n, 10, 32) or (n, 32)"),
        (torch.zeros(2, 33), "(2, 33)"),
        (torch.zeros(32), "(32,)"),
        (torch.zeros(0, 32), "(0, 32)"),
        (torch.full((2, 32), torch.inf), "finite"),
        (torch.zeros(2, 32, dtype=torch.long), "finite"),
        ({"codes": torch.zeros(2, 32)}, "dict"),
        (None, "missing"),
    ],
)
def test_codes_from_elsewhere_that_do_not_fit_are_refused_by_the_file(content, named, refused, data, tmp_path):
    file = tmp_path / "codes.pt"
    if content is not None:
        torch.save(content, file)
    line = refused("sample_gan.py", f"--gan={data / 'stylegan2_tiny.pth'}", f"--from-codes={file}", "--no-cuda")
    assert named in line and "codes.pt" in line


def test_codes_from_elsewhere_are_no_proggans(refused, data):
    arguments = [f"--gan={data / 'pggan_tiny.pth'}", "--from-codes=codes.pt", "--no-cuda"]
    assert "ProgGAN" in refused("sample_gan.py", *arguments)


def test_pool_without_z_asks_for_w_space(refused, run_warm, workplace, train_arguments):
    (file,) = (workplace / "experiments" / "latent_codes").rglob("latent_code_z.pt")
    file.unlink()
    arguments = train_arguments(stylegan_space="W", exp_id="w")
    assert run_warm("train.py", *arguments, cwd=workplace).returncode == 0
    (exp,) = (workplace / "experiments" / "complete").glob("*-w")
    line = refused("traverse_latent_space.py", f"--exp={exp}", "--pool=stylegan2_tiny-1", "--no-cuda", cwd=workplace)
    assert "--w-space" in line


def test_walk_in_z_from_codes_without_z_is_refused(walk_refused):
    assert "--w-space" in walk_refused("--w-space")
