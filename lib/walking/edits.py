"""Single edits: the image of a code at one shift along each path, without the walk between.

    <exp>/results/<pool>/shift_<shift>[-paths<numbers>]/
        sheet.jpg                       a row for each code: its own image, then one for each path, titles above
        <sha1 of the code>/original_image.jpg, path_000.jpg ..
"""

import torch
from tqdm import tqdm

from lib import distributed
from lib.paths.tracing import trace
from lib.pools import read_code
from lib.settings import suffix_of
from lib.walking.pictures import save_jpeg, save_sheet
from lib.walking.synthesis import Synthesiser, default_batch_size

STEPS = 16  # in which a path that bends is followed to its shift


@torch.no_grad()
def write_edits(plan, titles, batch_size=None):
    """Write the edits of a `Plan` with a shift, this process' share of the codes, and then a sheet of all.

    titles: of its paths, above the columns of the sheet. Returns the sheet's file.
    """
    space, shift, sources = plan.experiment.space, plan.shift, plan.sources
    directory = plan.results / f"shift_{shift:g}{suffix_of(plan.settings.paths)}"
    synthesise = Synthesiser(space.synthesise, batch_size or default_batch_size(space.generator))
    names = ["original_image.jpg", *(f"path_{number:03}.jpg" for number in plan.numbers)]
    own, silent = distributed.share(sources), not distributed.is_first()
    for source in tqdm(own, desc="editing", unit="code", dynamic_ncols=True, disable=silent):
        start = read_code(source, space, plan.settings.w_space)
        ends = trace(space, plan.paths, start, STEPS, abs(shift) / STEPS)[0, :, -1 if shift > 0 else 0]
        for name, frame in zip(names, synthesise(torch.cat([start, ends]))):
            save_jpeg(frame, directory / source.name / name)
    distributed.wait()
    if not silent:
        files = [directory / source.name / name for source in sources for name in names]
        words = ["start", *(f"{number}: {title}" for number, title in zip(plan.numbers, titles))]
        save_sheet(files, directory / "sheet.jpg", columns=len(names), titles=words)
    return directory / "sheet.jpg"
