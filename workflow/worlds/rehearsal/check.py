"""Compare the project's loaders, on the rehearsal's files, with independent forward passes.

    python -m workflow.worlds.rehearsal.check --assets FOLDER [--only NAME ...]

Prints one line for each comparison: asset, what was compared, the largest difference (in standard
deviations over the samples), its bound, and the verdict. Exit code 1 if a bound is exceeded.
"""

import argparse
import time
from pathlib import Path

from nada.run.errors import UserError, command
from workflow.worlds.rehearsal.make import place, read_manifest, recipe_of


def made(folder: Path, only=()) -> dict[str, dict]:
    """{asset: entry} of the folder's manifest, or of `only`; UserError if one is missing."""
    entries = read_manifest(folder).values()
    found = {entry["asset"]: entry for entry in entries if "asset" in entry}
    missing = [name for name in only if name not in found]
    if missing or not found:
        name = missing[0] if missing else "NAME"
        raise UserError(
            f"{folder} has no {name if missing else 'file'} of the rehearsal; type: "
            f"python -m workflow.worlds.rehearsal.make fetch {name} --into {folder}"
        )
    return {name: entry for name, entry in found.items() if not only or name in only}


def check(name: str, entry: dict, folder: Path) -> bool:
    """Compare one asset and print a line for each finding; returns whether all are within bounds."""
    from workflow.worlds.rehearsal.comparisons import findings
    from workflow.worlds.rehearsal.recipes import digest_of

    path, recipe = place(name, folder), recipe_of(name, entry["size"])
    if not path.exists() or digest_of(path) != entry["sha256"]:
        raise UserError(
            f"{path} is missing or not as it was made; type: python -m "
            f"workflow.worlds.rehearsal.make fetch {name} --into {folder}"
        )
    good, began = True, time.monotonic()
    for finding in findings(name, recipe, path):
        verdict, now = "ok" if finding.ok else "DIFFERS", time.monotonic()
        print(
            f"{name}: {finding.what}: difference {finding.difference:.1e}, bound {finding.bound:g}: "
            f"{verdict} ({now - began:.1f} s)",
            flush=True,
        )
        good, began = good and finding.ok, now
    return good


@command
def main(argv=None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workflow.worlds.rehearsal.check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--assets", type=Path, default=Path("assets/rehearsal"), help="folder of the made files")
    add("--only", nargs="+", default=[], metavar="NAME", help="assets; default: all in the folder")
    arguments = parser.parse_args(argv)
    for name in arguments.only:
        place(name, arguments.assets)
    entries = made(arguments.assets, arguments.only)
    bad = [name for name, entry in entries.items() if not check(name, entry, arguments.assets)]
    print(f"{len(entries) - len(bad)} of {len(entries)} assets within bounds", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
