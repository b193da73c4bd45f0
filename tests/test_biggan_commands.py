"""BigGANs in the commands: classes in pools, training and walks, and what is refused."""

import hashlib
import json

import pytest
import torch

from lib.latent_space import latent_space
from lib.trained import open_experiment
from models.load_generator import load_generator
from models.untrusted.tensor_files import load_tensors

SETTINGS = "eps0.25_0.45-nonlinear_beta-0.5-cossim-expressions3"
FILES = {"deep": "biggan_deep_tiny.bin", "shallow": "biggan_pytorch_tiny.pth"}


def done(process):
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.fixture(scope="module", params=FILES)
def used(request, data, tiny_clip_file, run_warm, tmp_path_factory):
    """(working directory, file) in which a pool, paths and walks of classes 2 and 5 were made."""
    cwd, file = tmp_path_factory.mktemp("used"), data / FILES[request.param]
    for script, arguments in commands(file, tiny_clip_file).items():
        done(run_warm(script, *arguments, cwd=cwd))
    return cwd, file


def commands(file, clip):
    """{script: its arguments}"""
    generator, classes = f"--gan={file}", ["--biggan-target-classes", "5", "2"]
    experiment = f"experiments/complete/ContraCLIP_{file.stem}-classes2+5-Z-K3-D4-{SETTINGS}"
    return {
        "sample_gan.py": [generator, "-v", "--num-samples=4", "--truncation=0.5", "--no-cuda", *classes],
        "train.py": [generator, "--corpus=expressions3", f"--clip-model={clip}", "--truncation=0.5", "--no-cuda",
                     "--loss=cossim", "--batch-size=2", "--max-iter=2", "--num-latent-support-dipoles=4", *classes],
        "traverse_latent_space.py": [f"--exp={experiment}", f"--pool={file.stem}-classes2+5-4", "--shift-steps=2",
                                     "--no-cuda"],
    }  # fmt: skip


def folders(directory):
    return sorted(path for path in directory.iterdir() if path.is_dir())


def test_pool_keeps_codes_with_their_class(used):
    cwd, file = used
    pool = cwd / "experiments" / "latent_codes" / file.stem / f"{file.stem}-classes2+5-4"
    assert json.loads((pool / "args.json").read_text())["biggan_target_classes"] == [2, 5]
    generator = load_generator(file)
    space = latent_space(generator, "Z", None, 0.5, [2, 5])
    expected = space.codes_of(torch.randn(4, generator.z_dim, generator=torch.Generator().manual_seed(0)))
    found = [load_tensors(folder / "latent_code_z.pt") for folder in folders(pool)]
    assert {folder.name for folder in folders(pool)} == {
        hashlib.sha1(code.numpy().tobytes()).hexdigest() for code in expected.split(1)
    }
    assert all(generator.classes(code).item() in (2, 5) for code in found)


def test_walked_codes_stay_in_their_class_and_move_in_z(used):
    cwd, file = used
    (experiment,) = folders(cwd / "experiments" / "complete")
    opened = open_experiment(experiment, file)
    assert opened.settings.biggan_target_classes == opened.space.classes == [2, 5]
    generator = opened.generator
    (results,) = folders(experiment / "results" / f"{file.stem}-classes2+5-4")
    assert len(folders(results)) == 4
    for folder in folders(results):
        paths = load_tensors(folder / "paths_latent_codes.pt")
        assert paths.shape == (3, 5, generator.z_dim + generator.embed_dim)
        start = load_tensors(results.parents[3].parent / "latent_codes" / file.stem / f"{file.stem}-classes2+5-4"
                             / folder.name / "latent_code_z.pt")
        assert torch.equal(paths[:, 2], start.expand(3, -1))
        assert (paths[..., generator.z_dim :] == start[0, generator.z_dim :]).all()
        steps = paths[..., : generator.z_dim].diff(dim=1).norm(dim=-1)
        torch.testing.assert_close(steps, torch.full_like(steps, 0.2))
    assert opened.space.positions(start).shape == (1, generator.z_dim) and opened.space.truncation == 0.5


def test_same_classes_in_another_order_are_the_same_run(used, tiny_clip_file, run_warm):
    cwd, file = used
    arguments = [*commands(file, tiny_clip_file)["train.py"][:-2], "2", "5"]
    assert "is complete" in done(run_warm("train.py", *arguments, cwd=cwd))


def test_paths_of_the_default_loss_move_z(data, tiny_clip_file, run_warm, tmp_path):
    """They are trained on both of their ends, from where the text starts them."""
    file = data / FILES["shallow"]
    train = [f"--gan={file}", "--corpus=expressions3", f"--clip-model={tiny_clip_file}", "--max-iter=1",
             "--batch-size=6", "--no-cuda"]
    done(run_warm("train.py", *train, cwd=tmp_path))
    (experiment,) = folders(tmp_path / "experiments" / "complete")
    opened = open_experiment(experiment, file)
    codes = opened.space.codes_of(torch.randn(3, opened.generator.z_dim))
    directions = opened.paths(opened.space.positions(codes), torch.arange(3))
    assert directions.shape == (3, opened.generator.z_dim)


def test_pool_of_codes_from_elsewhere(data, run_warm, tmp_path):
    file, generator = data / FILES["deep"], load_generator(data / FILES["deep"])
    z = torch.randn(3, generator.z_dim)
    torch.save(z, tmp_path / "z.pt")
    torch.save(generator.codes(z, torch.tensor([1, 4, 9])), tmp_path / "codes.pt")
    sample = [f"--gan={file}", "--no-cuda", "--truncation=0.4"]
    done(run_warm("sample_gan.py", *sample, "--from-codes=z.pt", "--biggan-target-classes", "4", cwd=tmp_path))
    done(run_warm("sample_gan.py", *sample, "--from-codes=codes.pt", cwd=tmp_path))
    pools = tmp_path / "experiments" / "latent_codes" / "biggan_deep_tiny"
    for name, classes in (("class4-z", [4, 4, 4]), ("codes", [1, 4, 9])):
        codes = [load_tensors(folder / "latent_code_z.pt") for folder in folders(pools / f"biggan_deep_tiny-{name}")]
        assert sorted(generator.classes(torch.cat(codes)).tolist()) == classes
        assert {tuple(code[0, :4].tolist()) for code in codes} == {tuple(row.tolist()) for row in z}


def test_embedded_biggan_is_measured_in_a_class_that_is_named(run_warm, tmp_path):
    gan = ["--gan=biggan_portraits64", "--no-cuda", "--truncation=0.7", "--biggan-target-classes", "Glasses on blue"]
    assert done(run_warm("sample_gan.py", *gan, "-v", "--num-samples=2", cwd=tmp_path)).count("class 7") == 2
    unsupervised = ["--method=latentclr", "--num-directions=2", "--batch-size=2", "--feature-layer=layer1"]
    done(run_warm("train.py", *gan, *unsupervised, "--max-iter=1", cwd=tmp_path))
    (experiment,) = folders(tmp_path / "experiments" / "complete")
    assert experiment.name.startswith("LatentCLR_biggan_portraits64-class7-Z")
    walk = [f"--exp={experiment}", "--pool=biggan_portraits64-class7-2", "--shift-steps=2", "--eps=1", "--no-cuda"]
    done(run_warm("traverse_latent_space.py", *walk, cwd=tmp_path))
    assert "judge portraits" in done(run_warm("evaluate.py", *walk, cwd=tmp_path))


@pytest.mark.parametrize(
    "script, arguments, named",
    [
        ("sample_gan.py", "--biggan-target-classes 10", "0 to 9"),
        ("sample_gan.py", "--biggan-target-classes cat", "numbers only"),
        ("sample_gan.py", "--stylegan-space=W", "no space W"),
        ("sample_gan.py", "--from-codes=codes.pt", "--biggan-target-classes"),
        ("sample_gan.py", "--from-codes=narrow.pt", "(n, 4)"),
        ("sample_gan.py", "--from-codes=list.pt", "a list"),
        ("sample_gan.py", "--from-codes=nan.pt", "finite"),
        ("train.py", "--corpus=expressions3 --stylegan-space=W+", "no space W+"),
        ("train.py", "--corpus=expressions3 --biggan-target-classes -3", "no class '-3'"),
        ("train.py", "--corpus=expressions3 --biggan-target-classes 3 99", "no class 99"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(script, arguments, named, data, run_warm, tmp_path):
    for name, content in {"codes": torch.randn(3, 4), "narrow": torch.randn(3, 5), "list": [1],
                          "nan": torch.full((3, 8), torch.nan)}.items():
        torch.save(content, tmp_path / f"{name}.pt")
    process = run_warm(script, f"--gan={data / FILES['deep']}", "--no-cuda", *arguments.split(), cwd=tmp_path)
    assert process.returncode == 2 and named in process.stderr.splitlines()[-1], process.stderr
    assert not (tmp_path / "experiments").exists()
