"""Where the methods are compared: generators whose images a judge can read, and the sentences that paths are asked for.

A world is one entry of WORLDS.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class World:
    """gan, corpus, judge: as the commands name them. truncation: of codes, in training and measuring. meaning: the
    dipole whose walks are pictured. has_w: whether its spaces are W, W+ and S, and not Z alone. own: {dipole: number of
    the judge that it should raise, or with a minus lower}, where the judge cannot tell from the sentences. numbers:
    where it cannot tell all of them, the numbers that the first sentences of the others raise, in their order."""

    gan: str
    corpus: str
    judge: str
    truncation: float = 1.0
    meaning: int = 0
    has_w: bool = True
    own: dict = field(default_factory=dict)
    numbers: tuple = ()

    @property
    def flags(self):
        truncation = {} if self.truncation == 1 else {"truncation": self.truncation}
        return {"gan": self.gan} | truncation


WORLDS = {
    "stylegan2_portraits64": World("stylegan2_portraits64", "attributes", "portraits", truncation=0.7, meaning=2),
    "pggan_portraits64": World("pggan_portraits64", "attributes", "portraits", meaning=2, has_w=False),
    # The judge reads no number for woman and man.
    "dcgan_faces64": World(
        "dcgan_faces64", "faces", "faces64", truncation=0.85, has_w=False,
        numbers=("smile", "mouth open", "glasses", "hat", "beard", "long hair", "light", "blue background",
                 "turned right"),
    ),
    # Photographs, for whoever has the weights and a GPU: faces.sh. The judge has no numbers for baldness, makeup,
    # closed eyes and complexion.
    "stylegan2_ffhq1024": World(
        "stylegan2_ffhq1024", "attributes", "faces", truncation=0.7, meaning=2,
        own={0: "female", 1: "age", 2: "celeba_smiling", 4: "celeba_beard", 7: "au25_lips_part"},
        numbers=("female", "age", "celeba_smiling", "celeba_beard", "au25_lips_part"),
    ),
}  # fmt: skip
