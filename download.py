"""Download generators, detectors and released experiments, whole and checked."""

import argparse
import sys

from lib.arguments import number, positive_float
from lib.command_line import Formatter, run
from lib.settings import Range

EXAMPLE = """
examples:
  python download.py                                  generators and detectors, about 2.5 GiB
  python download.py --only stylegan2_ffhq1024        one generator
  python download.py --list                           what there is, and what of it is here
  python download.py --to /media/disk                 everything onto a disk, and on another machine:
  python download.py --mirror /media/disk             from there

What is here and sound is not fetched again. Interrupted, the same command goes on where it stopped.
Exit code 1: something that was asked for did not come.
"""


def parser():
    p = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=Formatter, allow_abbrev=False)
    p.add_argument("-m", "--contraclip-models", action="store_true", help="the authors' trained experiments too")
    p.add_argument("--list", action="store_true", help="say what there is, where from, and what of it is here; no more")
    p.add_argument("--only", nargs="+", metavar="NAME", help="archives or generators, as --list names them")
    p.add_argument("--mirror", metavar="URL_OR_DIR",
                   help="try this first: it has the archives, or the files as they lie in the layout")
    p.add_argument("--force", action="store_true", help="fetch what is here too, and replace it")
    p.add_argument("--to", metavar="DIR",
                   help="lay everything out there instead (default: models/ here, experiments/ where you are)")
    p.add_argument("--timeout", type=positive_float, default=30.0, metavar="SECONDS",
                   help="how long a server may be silent")
    p.add_argument("--pause", type=number(float, Range(low=0)), default=2.0, metavar="SECONDS",
                   help="before a second try; three times that before the third")
    p.add_argument("--assets", metavar="FILE", help="another list of what there is than lib/downloading/assets.json")
    return p


def main(arguments):
    args = parser().parse_args(arguments)

    from lib.downloading.assets import ASSETS, choose, read_assets
    from lib.downloading.downloader import Downloader, listing, summary
    from lib.downloading.fetching import Fetcher

    downloader = Downloader(args.to, args.mirror, args.force, Fetcher(args.timeout, args.pause))
    assets = read_assets(args.assets or ASSETS)
    chosen = choose(assets, args.only or (), optional=args.contraclip_models or (args.list and not args.only))
    if args.list:
        print(*listing(downloader, chosen), sep="\n")
        return
    try:
        failed = {asset.name: downloader.bring(asset, files) for asset, files in chosen}
    except KeyboardInterrupt:
        print("\nwhat has arrived is kept: the same command goes on from there", file=sys.stderr)
        raise
    print(*summary(downloader, chosen, failed), sep="\n")
    if any(failed.values()):
        sys.exit(1)


if __name__ == "__main__":
    run(main)
