"""ContraCLIP trained on both ends of its paths: `--loss=paired`.

The authors' losses compare one end of a path with its start. This one sees how the unit CLIP features u of both ends
differ, x = u(w + r d_k(w)) - u(w - r d_k(w)), and asks x to point where the text asks, t_k of `text_start`:

    loss = 1 - mean_k  mean_b(t_k . x) / sqrt(mean_b |x|_M^2) / |t_k|_{M^-1}
    M = (S + RIDGE * mean eigenvalue * I)^-1

with mean_b over the codes b that have path k in the batch. S is the covariance of u over the generator's images: in the
norm of M what the images seldom show weighs more, and a path pays for changes besides t_k in proportion to how unusual
they are. At best, x along M^-1 t_k with one length for all codes, the loss is 0.

Lines are trained in the coordinates of the text start's basis, and end as the mean of their directions over the last
half of the iterations.
"""

import torch
import torch.nn.functional as F
from torch import nn

from lib.draws import generator_for
from lib.methods import shifts
from lib.methods.dipole_paths import DipolePaths
from lib.methods.method import tensors_of
from lib.paths.lines import Lines
from lib.paths.support_sets import LatentSupportSets
from models.errors import UserError

RIDGE = 3.0
WALK_CODES, MULTIPLES, NEARLY = 4, (1.5, 2, 2.5, 3, 4, 5, 6), 0.9
FURTHEST = 0.3  # of the Jung radius; further out, many images of the embedded generators fall apart
AVERAGED = 0.5  # share of the iterations, the last ones, over which lines are averaged


class AveragedLines(nn.Module):
    """Lines d = unit(THETA BASIS): THETA (K, p) is trained, BASIS (p, d) fixed. TOTAL (K, d): the sum of the directions
    that are averaged."""

    def __init__(self, theta, basis):
        super().__init__()
        self.THETA = nn.Parameter(theta)
        self.register_buffer("BASIS", basis)
        self.register_buffer("TOTAL", torch.zeros(len(theta), basis.shape[1]))

    @classmethod
    def along(cls, directions, basis):
        """Lines along what directions (K, d) have in the span of the basis (p, d), orthonormal rows."""
        return cls(F.normalize(directions @ basis.T, dim=1), basis)

    @property
    def num_paths(self):
        return len(self.THETA)

    def directions(self):
        return F.normalize(self.THETA @ self.BASIS, dim=1)

    def forward(self, x, indices):
        """Positions x (B, d), path indices (B,) -> unit directions (B, d)."""
        return self.directions()[indices.to(x.device)]

    @torch.no_grad()
    def average(self):
        self.TOTAL += self.directions()

    def result(self):
        """The state of `Lines`: the mean of the averaged directions, or the present ones where none was averaged."""
        return {"DIRECTIONS": F.normalize(self.TOTAL if self.TOTAL.any() else self.directions().detach(), dim=1)}


class Trained(nn.Module):
    """The paths with what the loss holds fixed.

    targets t (K, E); metric: a factor of M, M = metric metric^T (E, E); shifts (K,): in units of which codes are moved,
    the natural ones, or the Jung radius where the settings have shares of it.
    """

    def __init__(self, paths, targets, metric, shifts):
        super().__init__()
        self.paths = paths
        for name, tensor in (("targets", targets), ("metric", metric), ("shifts", shifts)):
            self.register_buffer(name, tensor)


class PairedContraCLIP(DipolePaths):
    def begin(self):
        radius, start = self.radius, self.text_start(self.radius)
        paths = self.initial_paths(radius, start if self.settings.lss_start == "text" else None)
        if isinstance(paths, Lines):
            paths = AveragedLines.along(paths.DIRECTIONS.data, start.response.basis)
        metric = torch.linalg.cholesky(start.response.inverse_covariance(RIDGE))
        units = start.natural_shifts()
        if self.settings.shift_unit == shifts.RADIUS:
            units = torch.full_like(units, radius)
        self.trained = Trained(paths, start.targets, metric, units)
        low, high = self.shift_range
        lengths = shifts.facts(low * units.min().item(), high * units.max().item())
        walk_length = min(self.sufficient_walk(start), FURTHEST * radius)
        return {"jung_radius": radius, **lengths, "walk_length": walk_length}

    def begin_roughly(self):
        """It measures the text start, wherever it begins."""
        from lib.methods.text_start import MOST_DIRECTIONS

        num_paths, dim, width = len(self.labels), self.space.dim, self.clip_encoder.embed_dim
        paths, targets = self.rough_paths(), torch.full((num_paths, width), width**-0.5)
        if isinstance(paths, Lines):
            paths = AveragedLines.along(paths.DIRECTIONS.data, torch.eye(dim)[:MOST_DIRECTIONS])
        self.trained = Trained(paths, targets, torch.eye(width), torch.ones(num_paths)).to(self.space.device)
        return True

    @property
    def shift_range(self):
        """In units of `Trained.shifts`."""
        return self.settings.min_shift_magnitude, self.settings.max_shift_magnitude

    @torch.no_grad()
    def sufficient_walk(self, start):
        """How far a walk goes if it is not said: the shortest of some multiples of the paths' natural shifts at which
        the images of the text start have come nearly as far along t_k, on average over paths, as they do at any."""
        z = torch.randn(WALK_CODES, self.space.generator.z_dim, generator=generator_for(self.settings.seed, 13, 0))
        codes = self.space.codes_of(z.to(self.space.device))
        targets, natural = start.targets.to(self.space.device), start.natural_shifts()
        moves = (natural[:, None] * start.directions).to(self.space.device)

        def come(multiple):
            """t_k . (u(w + r d_k) - u(w - r d_k)), averaged over codes: (K,)."""
            offsets = torch.cat([multiple * moves, -multiple * moves])
            seen = [self.see(self.space.shift(code.expand(len(offsets), *code.shape[1:]), offsets), None)
                    for code in codes.split(1)]  # fmt: skip
            ahead, behind = F.normalize(torch.stack(seen), dim=-1).mean(dim=0).chunk(2)
            return ((ahead - behind) * targets).sum(dim=1)

        found = torch.stack([come(multiple) for multiple in MULTIPLES])
        shares = (found / found.max(dim=0).values.clamp_min(1e-6)).mean(dim=1)
        enough = (shares >= NEARLY * shares.max()).nonzero()[0].item()
        return MULTIPLES[enough] * natural.median().item()

    def restore(self, state, source):
        count, dim, embed_dim = len(self.labels), self.space.dim, self.clip_encoder.embed_dim
        fixed = {"targets": (count, embed_dim), "metric": (embed_dim, embed_dim), "shifts": (count,)}
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise UserError(f"{source} is not a start of paired training: remove the run's directory to begin anew")
        paths = {key.removeprefix("paths."): value for key, value in state.items() if key not in fixed}
        if self.settings.path == "lines":
            rank = len(basis) if getattr(basis := paths.get("BASIS"), "ndim", 0) else None
            shapes = {"THETA": (count, rank), "BASIS": (rank, dim), "TOTAL": (count, dim)}
            paths = tensors_of(paths, shapes, source)
            module = AveragedLines(paths["THETA"], paths["BASIS"])
        else:
            module = LatentSupportSets.from_state(paths, dim, source)
        fixed = tensors_of({key: state[key] for key in fixed if key in state}, fixed, source)
        self.trained = Trained(module, **fixed).to(self.space.device)

    @property
    def paths(self):
        return self.trained.paths

    def result(self):
        return self.paths.result() if isinstance(self.paths, AveragedLines) else self.paths.state_dict()

    def draw(self, iteration):
        """z (B, z_dim), path indices (B,), shifts (B,) in units of `Trained.shifts`."""
        z, indices, drawn = super().draw(iteration)
        return z, indices, drawn.abs()

    def ends(self, batch):
        """Both ends of the batch's paths in one, so that one pass sees them: the positive ones, then the negative."""
        z, indices, drawn = batch
        codes = self.space.codes_of(z)
        lengths = drawn * self.trained.shifts[indices]
        offsets = lengths[:, None] * self.paths(self.space.positions(codes), indices)
        return [torch.cat([self.space.shift(codes, offsets), self.space.shift(codes, -offsets)])]

    def loss(self, seen, ends, batch):
        _, indices, _ = batch
        ahead, behind = F.normalize(seen[0], dim=1).chunk(2)
        moves, targets, metric = ahead - behind, self.trained.targets, self.trained.metric
        along, squares = (moves * targets[indices]).sum(dim=1), (moves @ metric).square().sum(dim=1)
        paths, places, counts = indices.unique(return_inverse=True, return_counts=True)
        means = [along.new_zeros(len(paths)).index_add(0, places, x) / counts for x in (along, squares)]
        longest = torch.linalg.solve_triangular(metric, targets[paths].T, upper=False).norm(dim=0)  # |t|_{M^-1}
        return 1 - (means[0] / means[1].sqrt() / longest).mean()

    def learning_rate(self, iteration):
        return self.settings.lr * (1 - iteration / self.settings.max_iter)

    def updated(self, iteration):
        if isinstance(self.paths, AveragedLines) and iteration >= (1 - AVERAGED) * self.settings.max_iter:
            self.paths.average()
