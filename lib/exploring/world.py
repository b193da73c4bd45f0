"""What all visitors of an explorer share, and none of them changes: the generator, paths, judge and CLIP."""

import secrets
import threading
from collections import OrderedDict

from lib.exploring.judging import Judging
from lib.exploring.looks import Look, Start
from lib.exploring.rendering import Renderer
from lib.exploring.sliders import sliders_of
from lib.exploring.turns import Turns
from lib.exploring.uploads import Inverter
from lib.exploring.visitor import Visitor
from lib.exploring.work import Workshop
from lib.methods.dipole_paths import usual_codes
from lib.methods.own_sentences import OwnSentences
from lib.settings import SEED, SHARE, TrainingSettings
from lib.trained import open_experiment, open_text
from lib.walking.sampling import space_of_pool
from models.clip_encoder import would_be_downloaded
from models.errors import UserError, quoted
from models.files import sha256
from models.load_generator import generator_file, generator_name, load_generator

MOST_VISITORS = 256  # known at a time; the one that came least recently is forgotten


class World:
    """Of one generator. experiments: `lib.trained.Trained`s of it, any number. settings: those of the first one, or
    what stands for them. judging: a `Judging`, or None. judge_missing: why there is none, for the visitor."""

    def __init__(self, generator, settings, experiments, judging=None, judge_missing=""):
        self.generator, self.settings, self.judging, self.judge_missing = generator, settings, judging, judge_missing
        self.gan, self.gan_sha256 = generator_name(settings.gan), settings.gan_sha256
        self.resolution, self.truncates = generator.resolution, generator.family.truncates
        self.truncation = settings.truncation
        made = [one for experiment in experiments for one in sliders_of(experiment)]
        self.sliders = tuple(slider for slider, _ in made)
        self.routes = {slider.id: route for slider, route in made}
        if len(self.routes) < len(self.sliders):
            raise UserError("an experiment is given twice: name each one once")
        self.inverter = Inverter(self.space())
        self.renderer = Renderer(generator, settings.biggan_target_classes)
        asked = next((one for one in experiments if getattr(one.settings, "clip_model", None)), None)
        self.sentences = OwnSentences(generator, *((asked.settings, asked.labels) if asked else (settings, ())))
        if judging:
            judging.recall(self.space())
        self.turns, self.saying, self.workshop = Turns(), Workshop(), Workshop()
        self.writing = threading.Lock()  # what is kept is written by one visitor at a time
        self._visitors, self._lock = OrderedDict(), threading.Lock()
        if not self.sentences_missing:
            self.saying.begin("", "loading the CLIP", lambda work: _warmed(self.sentences))

    def space(self, truncation=None):
        """The space of the codes that pools store: W or W+, or Z. truncation: None: the usual one."""
        truncation = self.truncation if truncation is None else truncation
        return space_of_pool(self.generator, "Z", truncation, self.settings.biggan_target_classes)

    @property
    def preview(self):
        """Pixels of previews; None where full pictures are quick, or the generator has no smaller ones."""
        return self.renderer.preview

    @property
    def judge_name(self):
        return self.judging.name if self.judging else None

    @property
    def sentences_missing(self):
        """Why no sentences can be typed; "" where they can."""
        name = self.sentences.settings.clip_model
        if would_be_downloaded(name):
            return (f"the weights of the CLIP {name} are not here: fetch them once with python -c \"import clip; "
                    f"clip.load('{name}')\", or open an experiment with another CLIP")
        return ""

    def look(self, seed=0, truncation=None):
        """The look of a random code. Raises UserError where the seed or the truncation is none."""
        truncation = self.truncation if truncation is None or not self.truncates else truncation
        if type(seed) is not int or seed not in SEED:
            raise UserError(f"{quoted(seed)} is not a seed: give a whole number, {SEED}")
        if type(truncation) not in (int, float) or truncation not in SHARE:
            raise UserError(f"{quoted(truncation)} is not a truncation: give a number, {SHARE}")
        return Look(self.gan_sha256, Start.of_seed(seed, truncation))

    def visitor(self, key=None):
        """The `Visitor` of a key; a new one, with a key of its own, where there is none of that."""
        with self._lock:
            found = self._visitors.get(key)
            if found is None:
                found = Visitor(self, secrets.token_urlsafe(16))
                self._visitors[found.key] = found
            self._visitors.move_to_end(found.key)
            forgotten = self._visitors.popitem(last=False)[1] if len(self._visitors) > MOST_VISITORS else None
        if forgotten:
            forgotten.close()
        return found

    def close(self):
        """End the threads."""
        for one in (self.saying, self.workshop, self.turns):
            one.close()


def _warmed(sentences):
    if sentences.is_ready():
        sentences.prepare()


def open_world(experiments=(), gan=None, corpus=None, judge=None, device="cpu"):
    """The `World` of some experiments of one generator, or of a generator and the text start of a corpus.

    experiments: directories as --exp takes them. gan: the generator where they do not name it; without them, the
    generator. corpus: with gan alone, whose sentences get paths in closed form. judge: a name; None: the generator's
    own judge, where it has one.

    Raises UserError where an experiment, the generator, the corpus or the judge cannot be opened, and where the
    experiments are of several generators.
    """
    if not experiments and gan is None:
        raise UserError("nothing to explore: give --exp, or --gan")
    if experiments and corpus is not None:
        raise UserError("--corpus goes with --gan: an experiment has its own")
    opened = []
    for directory in experiments:
        opened.append(open_experiment(directory, gan, device, like=opened[0] if opened else None))
    if corpus is not None:
        opened = [open_text(gan, corpus, device)]
    _check_same_generator(opened)
    generator = opened[0].generator if opened else load_generator(gan, device)
    settings = opened[0].settings if opened else _usual_settings(gan, generator.family)
    labels = dict.fromkeys(label for one in opened for label in one.labels)
    return World(generator, settings, opened, *_judging(judge, settings, labels, generator, device))


def _check_same_generator(opened):
    for one in opened[1:]:
        if one.settings.gan_sha256 != opened[0].settings.gan_sha256:
            raise UserError(f"{one.directory} is of the generator {one.settings.gan}, and {opened[0].directory} of "
                            f"{opened[0].settings.gan}: an explorer has one generator")


def _usual_settings(gan, family):
    """What stands for an experiment's settings where there is none."""
    return TrainingSettings(gan=str(gan), gan_sha256=sha256(generator_file(gan)), **usual_codes(family))


def _judging(name, settings, labels, generator, device):
    """(a `Judging` or None, why it is None). Raises UserError where a judge that is named cannot be loaded."""
    gan_sha256 = getattr(generator, "sha256", settings.gan_sha256)  # of the user's own code, the weights decide too
    try:
        judging = Judging.load(name, settings, labels, device, gan_sha256)
    except UserError as error:
        if name is not None:
            raise
        return None, str(error)
    return judging, "" if judging else "this generator has no judge of its own: name one with --judge"
