"""evaluate.py as a process: what it evaluates and compares, what it refuses, and that processes share the work."""

import importlib.util
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from beside import TIMEOUT, Beside

import evaluate
from lib.evaluation import experiments
from lib.evaluation.experiments import Options
from lib.files import read_json, write_json
from models.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
TORCHRUN = importlib.util.find_spec("torch.distributed.run").origin
NAME = "ContraCLIP_stylegan2_tiny-W-K2-D4-eps0.25_0.45-nonlinear_beta-0.5-cossim-faces"
EXP = Path("experiments", "complete", NAME)
POOL = "stylegan2_tiny-3"
WALK = EXP / "results" / POOL / "6_2.0_12.0"
EVALUATION = WALK / "evaluation"


@pytest.fixture(scope="module")
def another_clip_file(tmp_path_factory):
    """A CLIP that trained nothing: of other random weights than `tiny_clip_file`."""
    from models.clip_encoder import clip

    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = clip.model.CLIP(32, 64, 2, 64, 16, 77, 49408, 64, 1, 1)
    file = tmp_path_factory.mktemp("clip") / "another_clip.pt"
    torch.save(model.half().state_dict(), file)
    return file


@pytest.fixture(scope="module")
def trained(data, tiny_clip_file, run_warm, tmp_path_factory):
    """A working directory with a trained experiment of two paths in W, and pools of three codes and of one."""
    cwd = tmp_path_factory.mktemp("trained")
    corpus, gan = cwd / "faces.txt", data / "stylegan2_tiny.pth"
    corpus.write_text("a happy face. | a sad face.\na young face. | an old face.\n")
    made = [
        run_warm("train.py", f"--gan={gan}", f"--clip-model={tiny_clip_file}", f"--corpus={corpus}", "--loss=cossim",
                 "--max-iter=2", "--stylegan-space=W", "--num-latent-support-dipoles=4", "--batch-size=2", "--no-cuda",
                 cwd=cwd),
        run_warm("sample_gan.py", f"--gan={gan}", "--num-samples=3", "--no-cuda", cwd=cwd),
        run_warm("sample_gan.py", f"--gan={gan}", "--num-samples=1", "--no-cuda", cwd=cwd),
        run_warm("sample_gan.py", f"--gan={data / 'pggan_tiny.pth'}", "--num-samples=2", "--no-cuda", cwd=cwd),
    ]  # fmt: skip
    assert [process.returncode for process in made] == [0] * 4, [process.stderr for process in made]
    return cwd


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of the working directory that a test may write into."""
    shutil.copytree(trained, tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def arguments(another_clip_file):
    return [f"--judge=clip:{another_clip_file}", "--shift-steps=3", "--eps=2.0", "--samples=100", "--no-cuda"]


@pytest.fixture(scope="module")
def evaluated(trained, another_clip_file, run_warm, tmp_path_factory):
    """A copy of the working directory in which the experiment is evaluated, and what the command said."""
    cwd = tmp_path_factory.mktemp("evaluated") / "work"
    shutil.copytree(trained, cwd)
    process = run_warm("evaluate.py", f"--exp={EXP}", f"--pool={POOL}", f"--judge=clip:{another_clip_file}",
                       "--shift-steps=3", "--eps=2.0", "--samples=100", "--no-cuda", cwd=cwd)  # fmt: skip
    assert process.returncode == 0, process.stderr
    return cwd, process.stdout


def listing(directory):
    return {str(file.relative_to(directory)): file.stat().st_mtime_ns for file in directory.rglob("*")}


def summary_of(cwd, directory=EVALUATION):
    return json.loads((cwd / directory / "summary.json").read_text())


def test_an_experiment_is_evaluated(evaluated):
    cwd, said = evaluated
    summary = summary_of(cwd)
    assert summary["experiment"] == NAME and summary["codes"] == 3
    assert summary["walk"] == {"w_space": False, "shift_steps": 3, "eps": 2.0, "shift_leap": 1}
    assert [entry["own"] for entry in summary["paths"]] == list(summary["numbers"])
    assert [entry["own_chosen_by"] for entry in summary["paths"]] == ["judge", "judge"]
    lines = said.splitlines()
    assert lines[0].split()[:2] == ["path", "own"] and lines[1].startswith("sad face → happy face")
    assert lines[-1] == f"evaluation: {EVALUATION / 'index.html'}"
    with np.load(cwd / EVALUATION / "numbers.npz") as arrays:
        assert np.isfinite(arrays["numbers"]).all() and arrays["numbers"].shape == (3, 2, 7, 2)


def test_the_same_command_makes_the_same_and_reads_nothing_again(evaluated, arguments, run_warm, tmp_path):
    cwd = tmp_path / "work"
    shutil.copytree(evaluated[0], cwd)
    kept = list((cwd / WALK / ".judged").rglob("*.npz"))
    before = {file: file.stat().st_mtime_ns for file in kept}
    process = run_warm("evaluate.py", f"--exp={EXP}", f"--pool={POOL}", *arguments, cwd=cwd)
    assert process.returncode == 0, process.stderr
    assert {file: file.stat().st_mtime_ns for file in kept} == before and len(kept) == 6
    for name in ("summary.json", "table.md", "index.html", "heat_map.png", "curves.png"):
        assert (cwd / EVALUATION / name).read_bytes() == (evaluated[0] / EVALUATION / name).read_bytes()


def test_the_walk_that_is_there_is_evaluated(copy, arguments, run_warm):
    walked = run_warm("traverse_latent_space.py", f"--exp={EXP}", f"--pool={POOL}", "--shift-steps=4", "--shift-leap=2",
                      "--eps=1.5", "--strip", "--strip-height=32", "--no-cuda", "--workers=0", cwd=copy)  # fmt: skip
    assert walked.returncode == 0, walked.stderr
    judge, *_, samples, no_cuda = arguments
    process = run_warm("evaluate.py", f"--exp={EXP}", f"--pool={POOL}", judge, samples, no_cuda, cwd=copy)
    assert process.returncode == 0, process.stderr
    walk = EXP / "results" / POOL / "8_1.5_12.0"
    assert summary_of(copy, walk / "evaluation")["radii_read"] == [0, 3, 6]
    assert (copy / walk / "evaluation" / "index.html").read_text().count("_strip.jpg") == 2 * 3


def test_some_paths_are_evaluated_as_among_all(evaluated, arguments, run_warm, tmp_path):
    cwd = tmp_path / "work"
    shutil.copytree(evaluated[0], cwd)
    sentences = [*arguments, "--sentences=faces.txt"]  # of all paths: else a CLIP is asked those of the chosen ones
    process = run_warm("evaluate.py", f"--exp={EXP}", f"--pool={POOL}", *sentences, "--paths=old", cwd=cwd)
    assert process.returncode == 0, process.stderr
    whole, some = summary_of(cwd), summary_of(cwd, WALK.with_name(f"{WALK.name}-paths1") / "evaluation")
    (alone,), among = some["paths"], whole["paths"][1]
    assert alone["label"] == among["label"] and some["walk"]["paths"] == [1]
    for name in ("own_effect", "leak", "reach", "stray"):
        found, expected = (entry["figures"][name]["value"] for entry in (alone, among))
        assert found is expected is None or found == pytest.approx(expected, rel=1e-3)  # None: infinite
    assert alone["figures"]["own_effect"]["value"] is not None
    asked = ["evaluate.py", f"--exp={EXP}", f"--pool={POOL}", *sentences, "--paths=1", "--own"]
    refused = run_warm(*asked, "0:x", cwd=cwd)
    assert refused.returncode == 2 and "--own 0:x: give a path of 1, a colon" in refused.stderr
    process = run_warm(*asked, f"1:-{among['own']}", cwd=cwd)
    assert process.returncode == 0, process.stderr
    (entry,) = summary_of(cwd, WALK.with_name(f"{WALK.name}-paths1") / "evaluation")["paths"]
    assert (entry["own"], entry["sign"], entry["own_chosen_by"]) == (among["own"], -1, "user")


def test_a_number_of_the_corpus_can_be_named(copy, arguments, run_warm):
    process = run_warm("evaluate.py", f"--exp={EXP}", f"--pool={POOL}", *arguments, "--sentences=expressions3",
                       "--own", "1:-no such thing", cwd=copy)  # fmt: skip
    assert process.returncode == 2 and "the judge has no number 'no such thing'; it has" in process.stderr
    name = process.stderr.split("it has ")[1].split(",")[0]
    process = run_warm("evaluate.py", f"--exp={EXP}", f"--pool={POOL}", *arguments, "--sentences=expressions3",
                       "--own", f"0:{name}", f"1:-{name}", cwd=copy)  # fmt: skip
    assert process.returncode == 0, process.stderr
    entries = summary_of(copy)["paths"]
    assert [(entry["own"], entry["sign"]) for entry in entries] == [(name, 1), (name, -1)]


def test_experiments_are_compared(evaluated, copy, run_warm):
    shutil.copytree(evaluated[0] / EXP, copy / "other")
    process = run_warm("evaluate.py", evaluated[0] / EXP, "other", "--out=both", cwd=copy)
    assert process.returncode == 0, process.stderr
    assert {file.name for file in (copy / "both").iterdir()} == {"comparison.md", "comparison.png"}
    assert (copy / "both" / "comparison.md").read_text().count("\n| ContraCLIP") == 2
    assert process.stdout.splitlines()[-1] == "comparison: both/comparison.md"
    assert "own effect depends on it" in process.stdout and "different" not in process.stdout
    file = copy / "other" / EVALUATION.relative_to(EXP) / "summary.json"
    summary = read_json(file)
    summary["paths"].pop()
    write_json(summary | {"codes": 100}, file)
    process = run_warm("evaluate.py", evaluated[0] / EXP, "other", cwd=copy)
    assert "have different paths" in process.stdout and "on different codes" in process.stdout


def test_compared_experiments_are_evaluated_first_where_a_pool_is_named(copy, arguments, run_warm):
    shutil.copytree(copy / EXP, copy / "other")
    process = run_warm("evaluate.py", EXP, "other", f"--pool={POOL}", *arguments, cwd=copy)
    assert process.returncode == 0, process.stderr
    assert (copy / EVALUATION / "summary.json").is_file()
    assert (copy / "experiments" / "comparison" / "comparison.png").is_file()


def test_what_cannot_be_compared_is_refused(evaluated, copy, run_warm):
    def refusal(*arguments):
        process = run_warm("evaluate.py", *arguments, cwd=copy)
        assert process.returncode == 2 and process.stderr.count("\n") == 1, process.stderr
        return process.stderr

    shutil.copytree(evaluated[0] / EXP, copy / "one")
    shutil.copytree(evaluated[0] / EXP, copy / "two")
    file = copy / "two" / EVALUATION.relative_to(EXP) / "summary.json"
    changed = json.loads(file.read_text())
    changed["judge"] |= {"name": "faces", "fingerprint": "faces"}
    file.write_text(json.dumps(changed))
    assert "different judges" in refusal("one", "two")
    assert "has no evaluation by the judge faces" in refusal("one", "two", "--judge=faces")
    assert "has no evaluation: name a --pool" in refusal("one", EXP)
    shutil.copytree(copy / "one" / "results" / POOL / "6_2.0_12.0", copy / "one" / "results" / POOL / "4_2.0_8.0")
    assert "several evaluations" in refusal("one", "two")
    file.write_text("[]")
    assert "two has no evaluation" in refusal("two", "one")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--pool=stylegan2_tiny-1"], "the pool stylegan2_tiny-1 has one code"),
        (["--pool=pggan_tiny-2"], "the pool 'pggan_tiny-2' is of 'pggan_tiny', and these paths are of stylegan2_tiny"),
        (["--pool=nowhere-2"], "no pool 'nowhere-2'"),
        (["--pool=experiments/latent_codes/pggan_tiny/pggan_tiny-2"], "was made with another file"),
        (["--shift-steps=1"], "the paths have 1 image in either direction"),
        (["--judge=faces"], "the judge faces has no weights: run `python download.py --only"),
        (["--judge=onnx:nothing.onnx"], "nothing.onnx"),
        (["--judge=oracle"], "'oracle' is not a judge"),
        (["--judge=portraits", "--own", "2:smile"], "give a path from 0 to 1"),
        (["--judge=portraits", "--own", "0:smiles"], "no number 'smiles'"),
        (["--exp=nowhere"], "nowhere is not a directory"),
        (["--gan=nothing.pth"], "nothing.pth"),
        (["--out=elsewhere"], "--out goes with experiments that are compared"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, message, trained, run_warm):
    before = listing(trained)
    command = ["evaluate.py", f"--exp={EXP}", f"--pool={POOL}", "--samples=100", "--no-cuda", *arguments]
    process = run_warm(*command, cwd=trained)
    assert process.returncode == 2, process.stderr
    assert process.stderr.startswith("evaluate.py: error: ") and process.stderr.count("\n") == 1
    assert message in process.stderr
    assert listing(trained) == before


def test_the_clip_that_trained_the_paths_is_refused_unless_it_is_asked_for(copy, tiny_clip_file, arguments, run_warm):
    command = ["evaluate.py", f"--exp={EXP}", f"--pool={POOL}", *arguments[1:], f"--judge=clip:{tiny_clip_file}"]
    before = listing(copy)
    process = run_warm(*command, cwd=copy)
    assert process.returncode == 2 and "--same-clip" in process.stderr
    assert listing(copy) == before
    process = run_warm(*command, "--same-clip", cwd=copy)
    assert process.returncode == 0, process.stderr
    assert "the CLIP that trained these paths" in process.stdout
    assert "the CLIP that trained these paths" in (copy / EVALUATION / "table.md").read_text()


def test_an_experiment_that_is_not_complete_is_refused(copy, arguments, run_warm):
    (copy / EXP / "models" / "latent_support_sets.pt").unlink()
    before = listing(copy)
    process = run_warm("evaluate.py", f"--exp={EXP}", f"--pool={POOL}", *arguments, cwd=copy)
    assert process.returncode == 2 and "has not ended" in process.stderr
    assert listing(copy) == before


def test_a_default_judge_that_is_not_here_names_others(trained, monkeypatch):
    def absent(name, **request):
        raise UserError(f"the weights of {name} could not be downloaded")

    monkeypatch.chdir(trained)
    monkeypatch.setattr(experiments, "load_judge", absent)
    flags = [f"--exp={EXP}", f"--pool={POOL}", "--shift-steps=3", "--eps=2.0", "--no-cuda"]
    with pytest.raises(UserError, match=r"clip:ViT-B/16 could not be downloaded; or choose .*--judge=faces .*onnx:"):
        evaluate.main(flags)
    with pytest.raises(UserError, match=r"clip:mine could not be downloaded$"):
        evaluate.main([*flags, "--judge=clip:mine"])


def test_commands_say_what_they_load(copy, arguments, run_warm):
    at_once = {"CONTRACLIP_SILENCE": "0"}
    walk = run_warm("traverse_latent_space.py", f"--exp={EXP}", f"--pool={POOL}", "--shift-steps=3", "--eps=2.0",
                    "--no-cuda", cwd=copy, env=at_once)  # fmt: skip
    evaluation = run_warm("evaluate.py", f"--exp={EXP}", f"--pool={POOL}", *arguments, cwd=copy, env=at_once)
    for process in (walk, evaluation):
        assert process.returncode == 0 and "loading the generator and the paths ..\n" in process.stderr
    assert "loading the judge ..\n" in evaluation.stderr


def test_images_that_are_not_finite_leave_nothing(copy, arguments, run_warm):
    before = listing(copy).keys()
    process = run_warm("evaluate.py", f"--exp={EXP}", f"--pool={POOL}", *arguments, "--eps=1e38", cwd=copy)
    assert process.returncode == 2, process.stderr
    assert "not finite (NaN): shorten the paths" in process.stderr and "Traceback" not in process.stderr
    assert all(name.startswith("experiments/cache") for name in listing(copy).keys() - before)


def test_two_processes_come_to_what_one_comes_to(evaluated, copy, arguments, warm):
    command = [sys.executable, TORCHRUN, "--standalone", "--nproc-per-node=2", str(REPOSITORY / "evaluate.py"),
               f"--exp={EXP}", f"--pool={POOL}", *arguments]  # fmt: skip
    with Beside(copy, command, warm.start) as run:
        assert run.end() == 0, run.said
    assert run.said.count("evaluation: ") == 1
    for name in ("summary.json", "table.md"):
        assert (copy / EVALUATION / name).read_bytes() == (evaluated[0] / EVALUATION / name).read_bytes()


def test_a_stopped_evaluation_goes_on(evaluated, copy, arguments, warm, run_warm):
    command = [sys.executable, str(REPOSITORY / "evaluate.py"), f"--exp={EXP}", f"--pool={POOL}", *arguments]
    along = copy / WALK / ".judged"
    with Beside(copy, command, warm.start) as run:
        deadline = time.monotonic() + TIMEOUT
        while not list(along.glob("*/along/*.npz")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert run.end(2) == 130, run.said
    assert not (copy / EVALUATION).exists()
    first = next(along.glob("*/along/*.npz")).stat().st_mtime_ns
    assert run_warm("evaluate.py", f"--exp={EXP}", f"--pool={POOL}", *arguments, cwd=copy).returncode == 0
    assert min(file.stat().st_mtime_ns for file in along.glob("*/along/*.npz")) == first
    assert summary_of(copy) == summary_of(evaluated[0])


def test_each_option_is_a_flag():
    flags = {action.dest for action in evaluate.parser()._actions}
    assert set(vars(Options(pool=""))) <= flags


def test_help_needs_no_torch():
    code = ("import sys, evaluate\ntry:\n    evaluate.main(['-h'])\nexcept SystemExit:\n"
            "    sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)")  # fmt: skip
    process = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert "--same-clip" in process.stdout and "examples" in process.stdout
