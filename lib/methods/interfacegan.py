"""InterFaceGAN (Shen et al. 2020): a path for each number of a judge, across the hyperplane between its extremes.

    codes of random z -> images -> a judge's numbers
    n_k    normal of a linear SVM between the codes with the largest and with the smallest values of number k
    path   n_k, or what is left of it without the span of the conditions' normals (conditional manipulation)

Whose numbers: those that the sentences of --corpus speak of, or --numbers.
"""

from dataclasses import dataclass

from lib.arguments import number, positive_int
from lib.methods.dipole_paths import usual_codes
from lib.methods.method import Method
from lib.settings import COUNT, FACT, Range, TrainingSettings, setting
from models.errors import UserError

EXTREMES = Range(0, 0.5, open_low=True)
OTHERS = "others"  # in place of conditions: the numbers of all other paths
SAMPLES, SHARE = 10_000, 0.1


@dataclass(frozen=True, kw_only=True)
class InterFaceGANSettings(TrainingSettings):
    judge: str = setting("", named=True)
    corpus: str | None = setting(None, named=True)
    numbers: list | None = setting(None)  # noqa: RUF009
    condition: list | None = setting(None, named=True)  # noqa: RUF009
    boundary_samples: int = setting(SAMPLES, COUNT)
    boundary_extremes: float = setting(SHARE, EXTREMES)
    judge_fingerprint: str | None = setting(None, use=FACT)
    accuracies: list | None = setting(None, use=FACT)  # noqa: RUF009

    @property
    def clip_model(self):
        """The CLIP that the paths come from, so that another one judges them; None where it is no CLIP."""
        kind, _, name = self.judge.partition(":")
        return name if kind == "clip" else None


class InterFaceGAN(Method):
    Settings = InterFaceGANSettings
    unused = ("lr", "batch_size", "max_iter", "precision", "compile", "tensorboard")
    spaces = ("W", "Z", "W+", "S")

    @staticmethod
    def add_arguments(parser):
        g = parser.add_argument_group("interfacegan")
        g.add_argument("--judge", help="whose numbers: portraits, faces, clip:NAME, or onnx:FILE (default: the "
                                       "generator's own, or a CLIP)")
        g.add_argument("--numbers", nargs="+", metavar="NAME",
                       help="the judge's numbers that get a path, which raises them (default: those that the sentences "
                            "of --corpus speak of)")
        g.add_argument("--condition", nargs="+", metavar="NAME",
                       help=f"numbers that paths leave alone as far as their boundaries say; {OTHERS}: those of all "
                            "other paths")
        g.add_argument("--boundary-samples", type=positive_int, metavar="N",
                       help=f"images that are judged (default: {SAMPLES})")
        g.add_argument("--boundary-extremes", type=number(float, EXTREMES), metavar="SHARE",
                       help=f"share of them, with the largest and with the smallest numbers each, that a boundary "
                            f"parts (default: {SHARE})")

    @staticmethod
    def defaults(given, family):
        from lib.judges import default_judge

        return usual_codes(family) | {"max_iter": 0, "judge": default_judge(given.get("gan"))}

    @staticmethod
    def check(settings):
        if (settings.corpus is None) == (settings.numbers is None):
            raise UserError("say what paths are for: with --corpus, whose sentences speak of the judge's numbers, or "
                            "with --numbers")
        for flag in ("numbers", "condition"):
            names = getattr(settings, flag) or []
            if len({*names}) < len(names):
                raise UserError(f"--{flag} names a number twice: leave one out")
        if settings.boundary_samples * settings.boundary_extremes < 10:
            raise UserError(f"--boundary-extremes {settings.boundary_extremes} of --boundary-samples "
                            f"{settings.boundary_samples} are fewer than 10 images: raise either")

    @staticmethod
    def experiment_name(settings, gan, corpus, num_paths):
        """InterFaceGAN_<gan>-<space>-K<paths>-<judge>, then -<corpus> and -conditional where there are any."""
        from lib.dipoles import corpus_name

        judge = "".join(c if c.isalnum() or c in "._-" else "_" for c in settings.judge.rpartition("/")[2])
        named = "" if settings.corpus is None else f"-{corpus_name(settings.corpus)}"
        conditional = "" if settings.condition is None else "-conditional"
        return f"InterFaceGAN_{gan}-{settings.space_name}-K{num_paths}-{judge}{named}{conditional}"

    @classmethod
    def find_labels(cls, settings):
        """The dipoles of the corpus, or the numbers."""
        return super().find_labels(settings) if settings.numbers is None else list(settings.numbers)

    @classmethod
    def build(cls, settings, space, labels, device):
        """Raises UserError where the judge has no such numbers, or cannot judge the generator's images."""
        import torch

        from lib.judges import load_judge

        method = cls(settings, space, labels)
        method.judge = load_judge(settings.judge, labels=tuple(labels), device=str(device), gan=settings.gan)
        method.own = _own(method.judge, settings, labels)
        unknown = [name for name in settings.condition or [] if name != OTHERS and name not in method.judge.names]
        if unknown:
            raise UserError(f"--condition {unknown[0]}: the judge {settings.judge} has no such number; it has "
                            f"{', '.join(method.judge.names)}")
        with torch.no_grad():
            method.read(space.codes_of(torch.zeros(1, space.generator.z_dim, device=space.device)))
        return method

    def facts(self):
        return {"judge_fingerprint": self.judge.fingerprint}

    def read(self, codes):
        """Codes -> the judge's numbers (B, N)."""
        return self.judge(self.space.synthesise(codes))

    def begin(self):
        import torch

        from lib.methods.boundaries import conditional, fit_boundary, judged
        from lib.paths.lines import Lines

        settings, names = self.settings, self.judge.names
        generator = getattr(self.space.generator, "sha256", settings.gan_sha256)  # of a user's own, with its weights
        made_by = [generator, settings.truncation, settings.biggan_target_classes,
                   settings.synthesis_resolution, self.judge.fingerprint]  # fmt: skip
        at_once = settings.micro_batch_size
        positions, numbers = judged(self.space, self.read, settings.boundary_samples, settings.seed, made_by, at_once)
        found = {}

        def boundary(index):
            if index not in found:
                share, seed = settings.boundary_extremes, settings.seed
                found[index] = fit_boundary(positions, numbers[:, index], share, seed, names[index])
            return found[index]

        lines, accuracies = [], []
        for index, sign in self.own:
            normal, accuracy = boundary(index)
            others = [boundary(other)[0] for other in self._conditions(index)]
            lines.append(sign * conditional(normal, others, names[index]))
            accuracies.append(accuracy)
            print(f"{names[index]}: {accuracy:.1%} of the extremes that were held out lie on their side")
        self.trained = Lines(torch.stack(lines))
        return {"accuracies": accuracies}

    def _conditions(self, index):
        """The numbers that the path of a number leaves alone: their indices, without its own."""
        wanted = []
        for name in self.settings.condition or []:
            wanted += [own for own, _ in self.own] if name == OTHERS else [self.judge.names.index(name)]
        return [other for other in dict.fromkeys(wanted) if other != index]


def _own(judge, settings, labels):
    """The number of each path, (index, +1 or -1). Raises UserError where the judge has none for it."""
    if settings.numbers is not None:
        unknown = [name for name in settings.numbers if name not in judge.names]
        if unknown:
            raise UserError(f"--numbers {unknown[0]}: the judge {settings.judge} has no such number; it has "
                            f"{', '.join(judge.names)}")
        return [(judge.names.index(name), +1) for name in settings.numbers]
    own = judge.own(labels)
    lacking = next((label for label, found in zip(labels, own) if found is None), None)
    if lacking is not None:
        raise UserError(f"the judge {settings.judge} has no number of which {lacking[0]!r} and {lacking[1]!r} speak: "
                        "give --numbers, or another --judge or --corpus")
    return own
