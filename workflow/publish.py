"""Publish a finished run: in a tracked folder, results/published/<world>/, or as one archive.

workflow/publication.py says what is published. The folder is tracked, so it is never an output of a rule;
the archive is the target `publish`. Unpacked in results/published/ it is the same folder.

    python -m workflow.publish --results results/full
    python -m workflow.publish --results results/rehearsal --groups at_256
    python -m workflow.publish --results results/full --dry-run      # only list the changes
    python -m workflow.publish --results results/full --archive results/full/publication.zip

With --groups only the files of those groups are copied, for a run whose other groups are unfinished or
were made differently. A publication is replaced only by one of the same world, preset and device that
has all of its seeds and groups; `--replace` allows any other.
"""

import argparse
import filecmp
import json
import os
import shutil
import sys
from pathlib import Path

from nada.run.errors import UserError, command
from nada.run.outputs import check_output
from workflow.publication import (
    ABOUT,
    About,
    about_published,
    about_results,
    build,
    is_archive,
    kept_files,
    write_archive,
)

SHOWN = 6  # file names listed for each kind of change


def changes(out: Path, fresh: Path) -> str:
    """Text that says what a new publication changes: contents, rows of scores, files."""

    def names(folder):
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    def fact(folder, key):
        file = folder / ABOUT
        return json.loads(file.read_text(encoding="utf-8"))[key] if file.is_file() else "nothing"

    def rows(folder):
        file = folder / "scores.csv"
        return len(file.read_text(encoding="utf-8").splitlines()) - 1 if file.is_file() else 0

    def shown(value):
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    old, new = names(out), names(fresh)
    text = [f"{key:8}{shown(fact(out, key))} -> {shown(fact(fresh, key))}" for key in About.__annotations__]
    text.append(f"{'scores':8}{rows(out)} rows -> {rows(fresh)} rows")
    both = sorted(old & new)
    changed = [name for name in both if not filecmp.cmp(out / name, fresh / name, shallow=False)]
    kinds = (("added", sorted(new - old)), ("removed", sorted(old - new)), ("changed", changed))
    for kind, files in kinds:
        more = f", and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
        listed = f": {', '.join(files[:SHOWN])}{more}" if files else ""
        text.append(f"{len(files)} files {kind}{listed}")
    return "\n".join([*text, f"{len(both) - len(changed)} files unchanged"])


def swap(out: Path, fresh: Path) -> None:
    """Replace `out` by `fresh` by renaming; `out` is restored if that fails."""
    old = hidden_folder(out, "old")
    if out.exists():
        out.rename(old)
    try:
        fresh.rename(out)
    except BaseException:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def hidden_folder(out: Path, what: str) -> Path:
    """Path of a hidden folder next to `out`."""
    return out.with_name(f".{out.name}.{what}")


def recover(out: Path) -> None:
    """Undo a swap that was interrupted between its two renames."""
    old = hidden_folder(out, "old")
    if old.exists() and not out.exists():
        old.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def publish(
    results: Path, out: Path, groups: list[str] | None = None, replace=False, dry_run=False, say=print
) -> None:
    """Publish `results` in `out`, replacing an earlier publication.

    groups: publish only these. replace: allow another world, preset or device, and fewer seeds or groups.
    dry_run: only report the changes. Raises UserError if the run is not finished or may not replace the
    earlier publication. After any failure `out` is unchanged.
    """
    out, inside = Path(os.path.normpath(out)), results.resolve()
    if out.resolve() in (inside, *inside.parents) or inside in out.resolve().parents:
        raise UserError(f"{out} and {results}: neither folder may contain the other; name another folder with --out.")
    recover(out)
    kept_files(results, groups)
    old, new = about_published(out), about_results(results, groups)
    fresh = hidden_folder(out, "new")
    try:
        build(results, out, fresh, new, groups)
        say(f"{results} -> {out}\n{changes(out, fresh)}")
        refused = new.lacks(old) if old else []
        if refused and not replace:
            raise UserError(
                f"{out} holds another publication: {'; '.join(refused)}; nothing was "
                "changed. Name another folder with --out, or add --replace to replace it."
            )
        if not dry_run:
            swap(out, fresh)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def pack(results: Path, archive: Path, groups: list[str] | None = None) -> None:
    """Write the publication of `results` as one zip, under the name of its world.

    Raises UserError if the run is not finished, or if `archive` is a file of another kind.
    """
    check_output(archive, is_archive)
    kept_files(results, groups)
    about = about_results(results, groups)
    fresh = hidden_folder(archive, "new")
    try:
        build(results, None, fresh, about, groups)
        write_archive(fresh, archive, about.world)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@command
def main(argv=None) -> None:
    parser = argparse.ArgumentParser(prog="python -m workflow.publish", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results/mini"), help="a finished run")
    parser.add_argument(
        "--out", type=Path, help="published folder; default: results/published/<world of the run>"
    )
    parser.add_argument("--archive", type=Path, help="write one zip here, and change no published folder")
    parser.add_argument("--groups", nargs="+", help="publish only these groups")
    parser.add_argument("--replace", action="store_true", help="allow another preset, or fewer seeds")
    parser.add_argument("--dry-run", action="store_true", help="only list the changes")
    arguments = parser.parse_args(argv)
    results, groups = arguments.results, arguments.groups
    if arguments.archive:
        pack(results, arguments.archive, groups)
        print(f"wrote {arguments.archive}: {arguments.archive.stat().st_size / 2**20:.1f} MiB")
        return
    kept_files(results, groups)
    out = arguments.out or Path("results/published", about_results(results, groups).world)
    publish(results, out, groups, arguments.replace, arguments.dry_run)
    print("nothing was changed (--dry-run)" if arguments.dry_run else f"published {results} -> {out}")


if __name__ == "__main__":
    sys.exit(main())
