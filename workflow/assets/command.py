"""List, fetch and verify the weights and data sets of a world.

    python -m workflow.assets list
    python -m workflow.assets fetch [NAME ...] [--accept LICENCE ...] [--offline]
    python -m workflow.assets verify [NAME ...]
    python -m workflow.assets licences --out licences.md

worlds/<world>/assets.yaml lists the assets. A file whose authors publish a hash must match it. A hash
that comes from a third party's copy must match too, unless `--trust NAME` is given, because some of
these files are code when they are loaded. Where no hash is known, that of the first file is pinned in
pins.json, and later files must match it. Assets whose licence asks for consent are fetched only with
`--accept LICENCE`. A file placed by hand is verified and used.
"""

import argparse
import os
import re
import sys
from pathlib import Path

from nada.run.atomic import atomic_path
from nada.run.errors import EXIT_USER_ERROR, UserError, command
from nada.run.outputs import begins_with, check_output
from workflow.assets.asset_registry import load_registry, refuse_unknown
from workflow.assets.download import Downloader
from workflow.assets.fetch import CONSENT, Fetch
from workflow.assets.overview import licences_page, licences_title, state_of, table
from workflow.assets.verify import read_pins


@command
def main(argv=None):
    arguments = _parser().parse_args(argv)
    registry = load_registry(arguments.world)
    return arguments.run(registry, arguments)


def _list(registry, arguments):
    print(table(registry, arguments.into))


def _fetch(registry, arguments):
    assets = registry.chosen(arguments.names or registry.default)
    accepted = re.findall(r"[^,\s]+", " ".join(arguments.accept))
    beforehand = re.findall(r"[^,\s]+", os.environ.get(CONSENT, ""))
    refuse_unknown("licence", accepted, registry.licences)
    refuse_unknown(f"licence (${CONSENT})", beforehand, registry.licences)
    refuse_unknown("asset", arguments.trust, registry.assets)
    for name in arguments.trust:
        if registry.assets[name].confidence == "published":
            raise UserError(
                f"--trust {name} is refused: its authors publish the hash, so a file with another hash "
                "is wrong; fetch it again."
            )
    downloader = None if arguments.offline else Downloader()
    accepted += beforehand
    fetch = Fetch(registry, arguments.into, accepted, arguments.trust, downloader)
    return _report(fetch.run(assets))


def _verify(registry, arguments):
    pins, failures = read_pins(arguments.into), []
    for asset in registry.chosen(arguments.names) or registry.assets.values():
        state, sentence = state_of(asset, arguments.into, pins)
        print(f"{asset.name}: {state}", flush=True)
        if state == "damaged" or (arguments.names and sentence):
            failures.append(sentence)
    return _report(failures)


def _licences(registry, arguments):
    check_output(arguments.out, begins_with(licences_title(registry)))
    with atomic_path(arguments.out) as temporary:
        temporary.write_text(licences_page(registry), encoding="utf-8")
    print(f"licences of {len(registry.assets)} assets -> {arguments.out}")


def _report(failures: list[str]) -> int:
    for failure in failures:
        print(f"error: {' '.join(failure.split())}", file=sys.stderr, flush=True)
    return EXIT_USER_ERROR if failures else 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m workflow.assets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="list | fetch | verify | licences")

    def add(name, run, text):
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        sub.add_argument(
            "--world", default="paper", help="world whose assets are meant (default: paper)"
        )
        if name != "licences":
            sub.add_argument(
                "--into",
                type=Path,
                default=Path("assets"),
                help="folder of the assets (default: assets)",
            )
        if name in ("fetch", "verify"):
            sub.add_argument(
                "names", nargs="*", metavar="NAME", help="assets, or tasks that use them"
            )
        return sub

    add("list", _list, "list every asset: state, size, licence, purpose")
    fetch = add(
        "fetch", _fetch, "fetch, verify and unpack missing assets; give names before options"
    )
    fetch.add_argument(
        "--accept", nargs="+", action="extend", default=[], metavar="LICENCE", help=f"licences that you accept; also ${CONSENT}"
    )  # fmt: skip
    fetch.add_argument(
        "--trust", nargs="+", action="extend", default=[], metavar="NAME", help="accept and pin a file that differs from a third party's hash"
    )  # fmt: skip
    fetch.add_argument(
        "--offline", action="store_true", help="verify and use existing files; open no connection"
    )
    add("verify", _verify, "hash existing files again; named assets must exist")
    licences = add("licences", _licences, "write a page with the licences of all assets")
    licences.add_argument("--out", type=Path, required=True, help="page to write, e.g. licences.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
