"""What can be downloaded, from where, and what of it is here, in lines to print."""

from lib.downloading.assets import is_address
from lib.downloading.claiming import WORK
from lib.downloading.partial import expected_size, part_of
from lib.downloading.sources import sources_in_order

# {state of a file that could not be downloaded: how the summary puts it}
FAILED = {"missing": "missing", "broken": "not valid", "unchecked": "not valid", "here": "not downloaded again"}


def summary(destination, chosen, failed):
    """Lines that say how many of the requested files are here. failed: {asset's name: [file, ...]}."""
    for asset, files in chosen:
        states = {file: destination.state(asset, file) for file in failed[asset.name]}
        here = sum(states.get(file, "here") == "here" for file in files)
        line = f"{asset.name}: {here} of {len(files)} here, in {destination.directory(asset)}"
        for reason in dict.fromkeys(FAILED.values()):
            names = [asset.label(file) for file, state in states.items() if FAILED[state] == reason]
            if names:
                line += f"; {reason}: {', '.join(names)}"
        yield line


def listing(destination, mirror, chosen):
    """Lines with the sources of each asset in their order, their sizes where known, and the state of each file."""
    for asset, files in chosen:
        directory, ordered = destination.directory(asset), [*sources_in_order(asset, mirror)]
        yield f"{asset.name}, in {directory}"
        yield from (f"    from {archive}{_extent(directory, archive)}" for archive, _ in ordered if archive is not None)
        for file in files:
            size = _megabytes(directory / file)
            yield f"  {asset.label(file):<38} {destination.state(asset, file):<10} {size}".rstrip()
            for source in (source for _, sources in ordered for source in sources.get(file, ())):
                converted = f", converted from {source.format}" if source.format != "genforce" else ""
                yield f"    or from {source.location}{converted}{_extent(directory, source.location)}"


def _extent(directory, location):
    """What is known of a source's size, and of how much of it has been downloaded."""
    if not is_address(location):
        return f", {_megabytes(location)}" if location.is_file() else "" if location.exists() else ", not there"
    part = part_of(directory / WORK, location)
    whole = expected_size(part)
    if not part.is_file():
        return ""
    return f", {_megabytes(part)}{f' of {whole / 1e6:.1f} MB' if whole else ''} downloaded so far"


def _megabytes(path):
    return f"{path.stat().st_size / 1e6:.1f} MB" if path.is_file() else ""
