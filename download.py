"""Download generators, detectors and released experiments, and verify them."""

if __name__ == "__main__":  # before the other imports, since a signal may come during them
    from lib.startup import begin

    begin()

import sys

from lib.arguments import number
from lib.command_line import Formatter, Parser, run
from lib.settings import Range

SECONDS = Range(low=0, high=10**6, open_low=True)
EXAMPLE = """
examples:
  python download.py                                  generators and detectors, about 2.5 GiB
  python download.py --only stylegan2_ffhq1024        one generator; the BigGANs come this way alone
  python download.py --list                           what can be downloaded, and what is already here
  python download.py --to /media/disk                 everything to a disk, and on another machine:
  python download.py --mirror /media/disk             from that disk

Files that are here and intact are not downloaded again. After an interruption, the same command continues where it
stopped. Exit code 1: something that was requested could not be downloaded.
"""


def parser():
    p = Parser(description=__doc__, epilog=EXAMPLE, formatter_class=Formatter, allow_abbrev=False)
    p.add_argument("-m", "--contraclip-models", action="store_true", help="the authors' trained experiments too")
    p.add_argument("--list", action="store_true",
                   help="list what can be downloaded, from where, and what is already here; download nothing")
    p.add_argument("--only", nargs="+", metavar="NAME", help="archives or generators, as --list names them")
    p.add_argument("--mirror", metavar="URL_OR_DIR",
                   help="try this first: it has the archives, or the files in their directories, as --to leaves them")
    p.add_argument("--force", action="store_true", help="download what is here already too, and replace it")
    p.add_argument("--to", metavar="DIR",
                   help="place everything below DIR (default: the repository; for experiments, the working directory)")
    p.add_argument("--timeout", type=number(float, SECONDS), default=30.0, metavar="SECONDS",
                   help="how long a server may be silent")
    p.add_argument("--pause", type=number(float, Range(low=0, high=SECONDS.high)), default=2.0, metavar="SECONDS",
                   help="pause before the second try; the third one comes after three times that")
    p.add_argument("--assets", metavar="FILE",
                   help="a list of what can be downloaded (default: lib/downloading/assets.json)")
    return p


def main(arguments):
    args = parser().parse_args(arguments)

    from lib.downloading.assets import ASSETS, choose, read_assets
    from lib.downloading.downloader import Downloader
    from lib.downloading.fetching import Fetcher
    from lib.downloading.listing import listing, summary

    downloader = Downloader(args.to, args.mirror, args.force, Fetcher(args.timeout, args.pause))
    assets = read_assets(args.assets or ASSETS)
    chosen = choose(assets, args.only or (), args.contraclip_models, everything=args.list and not args.only)
    if args.list:
        print(*listing(downloader.destination, args.mirror, chosen), sep="\n")
        return
    try:
        failed = {asset.name: downloader.download(asset, files) for asset, files in chosen}
    except KeyboardInterrupt:
        print("\nwhat has been downloaded is kept: the same command continues from there", file=sys.stderr)
        raise
    print(*summary(downloader.destination, chosen, failed), sep="\n")
    if any(failed.values()):
        sys.exit(1)


if __name__ == "__main__":
    run(main)
