"""--loss=paired: what it asks, what it trains, and how a run of it goes on, ends and is walked."""

import json

import pytest
import torch
import torch.nn.functional as F
from method_runs import stopped_at

import train
from lib.latent_space import latent_space
from lib.methods import text_start
from lib.methods.contraclip import ContraCLIP, ContraCLIPSettings
from lib.methods.paired import AveragedLines, PairedContraCLIP, Trained
from lib.paths.lines import Lines
from lib.paths.support_sets import LatentSupportSets
from lib.trained import open_experiment
from lib.training.step import step
from models.clip_encoder import load_clip
from models.errors import UserError
from models.untrusted.tensor_files import load_tensors

METRIC = torch.linalg.cholesky(torch.diag(torch.linspace(0.5, 3, 32)) + 0.1)


@pytest.fixture
def method(tiny_stylegan2, tiny_clip_file):
    """The method on three random lines in W, at random targets."""
    settings = ContraCLIPSettings(gan="", loss="paired", path="lines", batch_size=6, max_iter=10, lr=0.05,
                                  min_shift_magnitude=1.0, max_shift_magnitude=2.0)  # fmt: skip
    found = PairedContraCLIP(settings, latent_space(tiny_stylegan2, "W"), ["a", "b", "c"])
    found.clip_encoder = load_clip(tiny_clip_file)
    drawn = torch.Generator().manual_seed(0)
    lines = AveragedLines(torch.randn(3, 32, generator=drawn), torch.eye(32))
    targets = F.normalize(torch.randn(3, 32, generator=drawn), dim=1)
    found.trained = Trained(lines, targets, METRIC, torch.tensor([1.0, 2.0, 3.0]))
    return found


def test_loss_compares_each_path_s_mean_move_with_their_size_in_the_metric(method):
    features = torch.randn(12, 32, generator=torch.Generator().manual_seed(1))
    indices = torch.tensor([0, 2, 2, 2, 0, 0])
    unit = features / features.norm(dim=1, keepdim=True)
    moves, metric = unit[:6] - unit[6:], METRIC @ METRIC.T
    ratios = []
    for k in (0, 2):
        target, own = method.trained.targets[k], moves[indices == k]
        size = torch.stack([move @ metric @ move for move in own]).mean().sqrt()
        ratios.append((own @ target).mean() / size / (target @ torch.linalg.inv(metric) @ target).sqrt())
    torch.testing.assert_close(method.loss([features], None, (None, indices, None)), 1 - torch.stack(ratios).mean())


def test_loss_is_zero_where_features_move_along_the_text_as_the_metric_has_it(method):
    """And in no other direction: the smallest value is that of M^-1 t."""
    best = torch.linalg.inv(METRIC @ METRIC.T) @ method.trained.targets[1]
    centre = torch.randn(32, generator=torch.Generator().manual_seed(2))
    centre = F.normalize(centre - (centre @ best) / (best @ best) * best, dim=0)
    ends = torch.stack([centre + 0.1 * best, centre - 0.1 * best])  # of equal length
    batch = None, torch.tensor([1]), None
    assert method.loss([ends], None, batch).abs() < 1e-5
    assert method.loss([ends.flip(0)], None, batch) > 1.99
    another = torch.tensor([[0.1], [-0.1]]) * torch.linspace(-1, 1, 32)
    assert method.loss([ends + another], None, batch) > 1e-3


def test_ends_are_the_natural_shifts_to_either_side_in_one_batch(method):
    batch = method.draw(0)
    z, indices, shifts = batch
    assert ((shifts >= 1) & (shifts <= 2)).all() and indices.bincount().tolist() == [2, 2, 2]
    (ends,) = method.ends(batch)
    codes = method.space.codes_of(z)
    offsets = shifts[:, None] * torch.tensor([1.0, 2.0, 3.0])[indices, None] * method.paths.directions()[indices]
    torch.testing.assert_close(ends[:6], codes + offsets[:, None])
    torch.testing.assert_close(ends[6:], codes - offsets[:, None])


@pytest.mark.parametrize("micro_batch_size", [None, 1, 5])
def test_gradient_reaches_the_lines_alone_in_parts_as_in_whole(micro_batch_size, method):
    step(method, method.draw(0))
    whole = method.paths.THETA.grad.clone()
    method.paths.THETA.grad = None
    step(method, method.draw(0), micro_batch_size=micro_batch_size)
    assert (method.paths.THETA.grad - whole).norm() < 1e-3 * whole.norm()
    assert whole.abs().sum(dim=1).min() > 0
    frozen = [*method.space.generator.parameters(), *method.clip_encoder.parameters()]
    assert all(parameter.grad is None for parameter in frozen)


def test_lines_begin_along_the_given_directions():
    drawn = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(20, 5, generator=drawn)).Q.T
    directions = F.normalize(torch.randn(3, 5, generator=drawn) @ basis, dim=1)
    lines = AveragedLines.along(directions, basis)
    torch.testing.assert_close(lines.directions(), directions)
    torch.testing.assert_close(lines(torch.zeros(4, 20), torch.tensor([2, 0, 1, 2])), directions[[2, 0, 1, 2]])


def test_lines_end_as_the_mean_of_the_last_half(method):
    seen = []
    for iteration in range(10):
        method.paths.THETA.data += torch.randn(3, 32, generator=torch.Generator().manual_seed(iteration))
        method.updated(iteration)
        seen.append(method.paths.directions().detach())
    torch.testing.assert_close(method.result()["DIRECTIONS"], F.normalize(torch.stack(seen[5:]).sum(0), dim=1))


def test_learning_rate_falls_linearly(method):
    assert [method.learning_rate(i) for i in (0, 5, 9)] == pytest.approx([0.05, 0.025, 0.005])


# --- runs


@pytest.fixture
def workplace(tmp_path, monkeypatch, data):
    """A working directory with a corpus; the text start measures few codes there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(text_start, "FEATURE_CODES", 40)
    monkeypatch.setattr(text_start, "RESPONSE_CODES", 4)
    (tmp_path / "faces.txt").write_text("a happy face | a sad face\na young face | an old face\n")
    return tmp_path


@pytest.fixture
def trained(workplace, data, tiny_clip_file):
    """trained(flags..) -> the directory of the run."""

    def run(*flags):
        before = set((workplace / "experiments" / "complete").glob("*"))
        train.main([f"--gan={data / 'stylegan2_tiny.pth'}", f"--clip-model={tiny_clip_file}", "--corpus=faces.txt",
                    "--stylegan-space=W", "--max-iter=4", "--ckp-freq=2", "--no-cuda", *flags])  # fmt: skip
        (new,) = set((workplace / "experiments" / "complete").glob("*")) - before
        return new

    return run


def test_paired_lines_from_the_text_are_the_default(trained):
    directory = trained()
    assert directory.name == "ContraCLIP_stylegan2_tiny-W-K2-lines-eps1.1_1.8-paired-faces"
    settings = json.loads((directory / "args.json").read_text())
    assert (settings["loss"], settings["path"], settings["lss_start"]) == ("paired", "lines", "text")
    assert settings["batch_size"] == 8 and settings["jung_radius"] > 0
    paths = open_experiment(directory).paths
    assert isinstance(paths, Lines) and paths.DIRECTIONS.shape == (2, 32)
    start = load_tensors(directory / "models" / "paths_init.pt")
    assert not torch.allclose(F.normalize(start["paths.THETA"] @ start["paths.BASIS"], dim=1), paths.DIRECTIONS)


def test_no_iteration_keeps_the_closed_form(trained):
    directory = trained("--max-iter=0")
    start = load_tensors(directory / "models" / "paths_init.pt")
    expected = F.normalize(start["paths.THETA"] @ start["paths.BASIS"], dim=1)
    torch.testing.assert_close(open_experiment(directory).paths.DIRECTIONS.data, expected)


@pytest.mark.parametrize(
    "flags, name, kind",
    [
        (["--path=sets", "--num-latent-support-dipoles=4"], "D4-eps1.1_1.8-paired", LatentSupportSets),
        (["--lss-start=random"], "lines-random-eps1.1_1.8-paired", Lines),
        (["--loss=cossim", "--path=lines"], "lines-eps0.25_0.45-nonlinear_beta-0.5-cossim", Lines),
        (["--loss=contrastive", "--lss-start=text", "--num-latent-support-dipoles=4", "--batch-size=4"],
         "D4-text-eps0.25_0.45-nonlinear_beta-0.5-contrastive_1.0", LatentSupportSets),
    ],
)  # fmt: skip
def test_paths_and_starts_go_with_any_loss(flags, name, kind, trained):
    directory = trained(*flags)
    assert directory.name == f"ContraCLIP_stylegan2_tiny-W-K2-{name}-faces"
    assert isinstance(open_experiment(directory).paths, kind)


@pytest.mark.parametrize("path", ["lines", "sets"])
def test_a_stopped_run_ends_as_one_that_was_not(path, trained):
    flags = [f"--path={path}", "--max-iter=8"]
    whole = trained(*flags, "--exp-id=whole")
    with stopped_at(6, PairedContraCLIP):
        trained(*flags)
    resumed = trained(*flags)
    file = ContraCLIP.weights_file(ContraCLIPSettings(gan="", path=path))
    states = [load_tensors(directory / "models" / file) for directory in (whole, resumed)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_corpus_is_looked_at_without_training(run_warm, data, tiny_clip_file, tmp_path):
    (tmp_path / "faces.txt").write_text("a happy face | a sad face\na young face | an old face\n")
    flags = [f"--gan={data / 'stylegan2_tiny.pth'}", "--no-cuda", f"--clip-model={tiny_clip_file}"]
    process = run_warm("train.py", *flags, "--corpus=faces.txt", "--check-corpus", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    header, *rows = process.stdout.splitlines()
    assert header.split() == ["path", "poles", "nearest", "shift", "aim"]
    assert rows[0].endswith("a happy face  |  a sad face") and rows[1].split()[0] == "1"
    (tmp_path / "odd.txt").write_text("a photo of a young zebra. | a photo of an old person.\n")
    process = run_warm("train.py", *flags[:2], "--clip-model=clip_portraits64", "--corpus=odd.txt", "--check-corpus",
                       cwd=tmp_path)  # fmt: skip
    assert "an old person.  (unknown: zebra: it follows" in process.stdout, process.stderr
    assert not (tmp_path / "experiments" / "wip").exists() and not (tmp_path / "experiments" / "complete").exists()
    refused = run_warm("train.py", *flags[:2], "--method=sefa", "--check-corpus", cwd=tmp_path)
    assert refused.returncode == 2 and "--check-corpus goes with" in refused.stderr


START_DAMAGES = [("targets", (3, 31)), ("targets", (2, 32)), ("metric", (32, 31)), ("shifts", (3, 1)),
                 ("paths.THETA", (3, 31)), ("paths.BASIS", (32, 3200)), ("paths.BASIS", (0, 32)),
                 ("paths.TOTAL", (4, 32)), ("paths.MORE", (1,)), ("MORE", (1,))]  # fmt: skip


@pytest.mark.parametrize("name, shape", START_DAMAGES)
def test_start_of_other_shapes_is_refused_by_its_file(name, shape, method):
    state = method.trained.state_dict()
    method.restore(state, "start.pt")
    assert all(torch.equal(one, state[key]) for key, one in method.trained.state_dict().items())
    with pytest.raises(UserError, match=r"start\.pt is not a start of this run"):
        method.restore(state | {name: torch.ones(shape)}, "start.pt")


@pytest.mark.parametrize("damage", [
    {"mean": torch.zeros(31)}, {"features": torch.zeros(2, 3)}, {"basis": torch.zeros(2, 31)}, {"differences": None},
    {"differences": torch.full((2, 4, 5), torch.nan)}, {"more": 3},
])  # fmt: skip
def test_damaged_response_in_the_cache_is_measured_again(damage, tmp_path):
    whole = {"mean": torch.zeros(32), "features": torch.zeros(7, 5), "basis": torch.zeros(4, 32),
             "differences": torch.zeros(2, 4, 5)}  # fmt: skip
    torch.save(whole, tmp_path / "response.pt")
    assert text_start._read(tmp_path / "response.pt", 32).features.shape == (7, 5)
    torch.save(whole | damage, tmp_path / "response.pt")
    assert text_start._read(tmp_path / "response.pt", 32) is None
