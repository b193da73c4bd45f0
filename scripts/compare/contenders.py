"""The methods that are compared, with their published hyperparameters and the settings that are tried for them.

A contender is one entry of CONTENDERS. `Z` in place of W makes it run where a generator has Z alone; contenders without
it run where there are W, W+ and S only. The numbers of iterations are bounds: training stops at its budget of processor
time (`training`).
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Contender:
    """title: in the table. method: of train.py. space: of its paths; in_z: whether it also runs in Z alone. published:
    {flag: value} of its publication. tried: {flag: value} of each setting that is tried besides, over `published`; an
    empty one is the published setting itself. cost: the flags that decide how long an iteration takes.

    reads_corpus: whether it is asked in sentences; where not, its paths are matched to the judge's numbers.
    reads_numbers: whether it is asked by the judge's numbers where the world names them, and not in sentences.
    per_code: of a method that edits given codes alone, how many of them. closed_form: whether it has no iterations, and
    takes the time that it takes. keeps: whether runs of one seed take over what an earlier one has measured. one_seed:
    whether nothing in it is random. missing: networks that a clone lacks, so that their losses are left out. z_flags:
    {flag: value} that it has besides where there is Z alone; z_tried: what is tried there, if it is not `tried`.
    """

    title: str
    method: str
    space: str = "W"
    in_z: bool = True
    published: dict = field(default_factory=dict)
    tried: tuple = ()
    cost: tuple = ("batch-size",)
    reads_corpus: bool = True
    reads_numbers: bool = False
    per_code: int | None = None
    closed_form: bool = False
    keeps: bool = False
    one_seed: bool = False
    missing: str = ""
    z_flags: dict = field(default_factory=dict)
    z_tried: tuple | None = None

    def settings(self, in_z=False):
        """{name: flags}: "published", and "1", "2", .. of those that are tried."""
        published = self.published | (self.z_flags if in_z else {})
        tried = self.z_tried if in_z and self.z_tried is not None else self.tried
        return {"published": published} | {str(n): published | one for n, one in enumerate(tried, 1)}


PAPER_SETS = {"loss": "contrastive", "temperature": 0.07, "num-latent-support-dipoles": 64, "lss-beta": 0.5,
              "css-beta": 0.5, "min-shift-magnitude": 0.1, "max-shift-magnitude": 0.2, "lr": 1e-4, "batch-size": 9,
              "max-iter": 20_000}  # fmt: skip
WARPED = {"num-support-sets": 200, "num-support-dipoles": 512, "learn-gammas": True, "reconstructor-type": "ResNet",
          "min-shift-magnitude": 0.1, "max-shift-magnitude": 0.2, "batch-size": 12, "max-iter": 150_000}  # fmt: skip
FEWER_SETS = {"num-support-sets": 32, "num-support-dipoles": 32, "lr": 1e-3, "reconstructor-lr": 1e-3}
CLR = {"num-directions": 100, "direction-model": "nonlinear", "batch-size": 8, "alpha": 1.0, "feature-layer": "layer0",
       "projector-statistics": "apart", "similarity": "absolute", "max-iter": 10_000}  # fmt: skip
GLOBAL_CLR = {"num-directions": 32, "direction-model": "global", "similarity": "anchored", "alpha-range": (-3.0, 3.0),
              "alpha": None}  # fmt: skip
CLR_TRIED = (
    {"projector-statistics": "together", "similarity": "anchored"},
    GLOBAL_CLR,
    GLOBAL_CLR | {"feature-layer": "layer4"},
    GLOBAL_CLR | {"feature-layer": "layer4", "lr": 1e-2},
)

CONTENDERS = {
    "contraclip": Contender(
        "ContraCLIP (default here)", "contraclip",
        published={"max-iter": 70},
    ),
    "text": Contender("Text start alone", "text", closed_form=True),
    "contraclip-paper": Contender(
        "ContraCLIP (as published)", "contraclip",
        published=PAPER_SETS,
        tried=(
            {"lr": 1e-2},
            {"lr": 1e-2, "min-shift-magnitude": 0.5, "max-shift-magnitude": 1.0},
            {"lr": 1e-2, "temperature": 0.5, "min-shift-magnitude": 0.5, "max-shift-magnitude": 1.0},
            {"lr": 1e-2, "path": "lines", "num-latent-support-dipoles": None, "lss-beta": None,
             "min-shift-magnitude": 0.5, "max-shift-magnitude": 1.0},
            {"lr": 1e-2, "batch-size": 18, "min-shift-magnitude": 0.5, "max-shift-magnitude": 1.0},
        ),
    ),
    "warpedganspace": Contender(
        "WarpedGANSpace", "warpedganspace", reads_corpus=False,
        published=WARPED,
        tried=(
            {"lr": 1e-3, "reconstructor-lr": 1e-3},
            FEWER_SETS,
            FEWER_SETS | {"min-shift-magnitude": 0.5, "max-shift-magnitude": 1.0},
            FEWER_SETS | {"min-shift-magnitude": 0.5, "max-shift-magnitude": 1.0, "reconstructor-type": "LeNet"},
            FEWER_SETS | {"min-shift-magnitude": 1.0, "max-shift-magnitude": 2.0, "reconstructor-type": "LeNet",
                          "batch-size": 32},
        ),
        cost=("batch-size", "num-support-sets", "num-support-dipoles", "reconstructor-type"),
    ),
    "latentclr": Contender(
        "LatentCLR", "latentclr", reads_corpus=False,
        published=CLR,
        tried=(*CLR_TRIED, GLOBAL_CLR | {"feature-layer": "output3", "lr": 1e-2}),
        z_tried=(*CLR_TRIED, GLOBAL_CLR | {"feature-layer": "layer2", "lr": 1e-2}),  # no layer of images there
        cost=("batch-size", "num-directions", "direction-model", "feature-layer"),
    ),
    "styleclip-mapper": Contender(
        "StyleCLIP mapper", "styleclip-mapper", space="W+", in_z=False, missing="ArcFace",
        published={"max-iter": 50_000},
        tried=(
            {"latent-l2-lambda": 0.1},
            {"latent-l2-lambda": 0.02},
            {"latent-l2-lambda": 0.1, "batch-size": 9},
            {"latent-l2-lambda": 0.1, "batch-size": 9, "lr": 2.0},
            {"latent-l2-lambda": 0.02, "batch-size": 18, "lr": 2.0},
        ),
    ),
    "cf-clip": Contender(
        "CF-CLIP", "cf-clip", space="W+", in_z=False, missing="ArcFace",
        published={"max-iter": 50_000},
        tried=(
            {"latent-l2-lambda": 0.1},
            {"latent-l2-lambda": 0.02},
            {"latent-l2-lambda": 0.1, "nce-views": 2, "batch-size": 9},
            {"latent-l2-lambda": 0.1, "nce-views": 2, "batch-size": 9, "lr": 2.0},
            {"latent-l2-lambda": 0.1, "temperature": 0.5, "nce-views": 2, "batch-size": 9},
        ),
        cost=("batch-size", "nce-views"),
    ),
    "styleclip-global": Contender(
        "StyleCLIP global directions", "styleclip-global", space="S", in_z=False, closed_form=True, keeps=True,
        published={"channel-images": 16},
        tried=(
            {"channel-beta": 0.1},
            {"channel-beta": 0.07},
            {"channel-beta": 0.05},
            {"channel-beta": 0.03},
            {"channel-beta": "auto"},
        ),
    ),
    "styleclip-optimization": Contender(
        "StyleCLIP optimisation", "styleclip-optimization", space="W+", in_z=False, per_code=16, one_seed=True,
        published={"max-iter": 300},
        tried=(
            {"latent-l2-lambda": 0.002},
            {"latent-l2-lambda": 0.0005},
            {"lr": 0.03},
            {"lr": 0.3, "latent-l2-lambda": 0.002},
            {"lr": 0.03, "latent-l2-lambda": 0.002},
        ),
    ),
    "ganspace": Contender(
        "GANSpace", "ganspace", reads_corpus=False, closed_form=True, z_flags={"ganspace-layer": "layer0"},
        published={"num-directions": 32},
        tried=(
            {"feed-layers": (0, 1)},
            {"feed-layers": (0, 1, 2, 3)},
            {"feed-layers": (2, 3, 4, 5)},
            {"feed-layers": (4, 5, 6, 7)},
            {"ganspace-layer": "layer2"},
        ),
        z_tried=tuple({"ganspace-layer": f"layer{n}"} for n in (1, 2, 3, 4)),
    ),
    "sefa": Contender(
        "SeFa", "sefa", reads_corpus=False, closed_form=True, one_seed=True,
        published={"num-directions": 32},
        tried=(
            {"sefa-layers": (0, 1)},
            {"sefa-layers": (0, 1, 2, 3)},
            {"sefa-layers": (2, 3, 4, 5)},
            {"sefa-layers": (4, 5, 6, 7)},
            {"sefa-layers": (6, 7, 8, 9)},
        ),
        z_tried=(),  # z enters these generators at one layer
    ),
    "interfacegan": Contender(
        "InterFaceGAN (supervised)", "interfacegan", reads_numbers=True, closed_form=True, keeps=True,
        published={"boundary-extremes": 0.02},
        tried=(
            {"condition": ("others",)},
            {"boundary-extremes": 0.1},
            {"boundary-extremes": 0.1, "condition": ("others",)},
            {"boundary-extremes": 0.3},
            {"boundary-extremes": 0.3, "condition": ("others",)},
        ),
    ),
}  # fmt: skip
