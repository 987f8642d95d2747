"""The preference study with people (Gal et al. 2021, §5.3); docs/preference-study.md says how to run one.

    python -m eval.study serve FOLDER                    show the pairs, and store people's answers
    python -m eval.study page FOLDER --out PAGE          the same without a server: a folder to hand out
    python -m eval.study import FOLDER ANSWERS.json …    add the files that people saved there
    python -m eval.study export FOLDER --out ANSWERS.csv all answers in one table, for config.yaml
    python -m eval.study power                           how many people are needed

`snakemake study` prepares FOLDER, and `python -m eval.study.shares` counts the exported answers.
"""

import argparse
import sys
from pathlib import Path

from eval.study import power
from nada.run.errors import UserError, command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    about, _, usage = __doc__.partition("\n")
    parsed = argparse.ArgumentParser(
        prog="python -m eval.study", description=f"{about}\n{usage}", formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parsed.add_subparsers(dest="what", required=True)
    serve = commands.add_parser("serve", help="show the pairs and store people's answers")
    serve.add_argument("folder", type=Path, help="the prepared study, such as results/mini/study")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    serve.add_argument("--port", type=int, default=8000, help="port to listen on (default: 8000; 0: any free one)")
    serve.add_argument("--name", action="append", default=[], metavar="HOSTNAME",
                       help="public name of the server behind a proxy; others are refused then")  # fmt: skip
    page = commands.add_parser("page", help="write a folder that works without a server")
    page.add_argument("folder", type=Path, help="the prepared study")
    page.add_argument("--out", type=Path, required=True, help="folder to write, new or empty")
    imported = commands.add_parser("import", help="add files of answers from such a page")
    imported.add_argument("folder", type=Path, help="the prepared study")
    imported.add_argument("files", type=Path, nargs="+", help="files that people saved (JSON)")
    exported = commands.add_parser("export", help="write all answers as one table")
    exported.add_argument("folder", type=Path, help="the prepared study")
    exported.add_argument("--out", type=Path, required=True, help="file to write (CSV)")
    asked = commands.add_parser("power", help="how many people are needed")
    asked.add_argument("--share", type=float, default=0.6, help="the true share to find (default: 0.6)")
    asked.add_argument("--answers", type=float, default=2, help="answers of one person per model (default: 2)")
    asked.add_argument("--models", type=int, default=1, help="models that are compared (default: 1)")
    asked.add_argument("--raters", type=int, default=power.PAPER_RATERS,
                       help=f"people (default: {power.PAPER_RATERS}, as in the paper)")  # fmt: skip
    asked.add_argument("--spread", type=float, default=power.SPREAD,
                       help=f"standard deviation of preferences between people (default: {power.SPREAD})")  # fmt: skip
    return parsed


def print_power(arguments) -> None:
    """What a number of people finds, and how many a share needs."""
    values = arguments.share, arguments.answers, arguments.models, arguments.spread
    share, answers, models, spread = values
    if models < 1 or arguments.raters < 2:
        raise UserError("power: --models must be 1 or more, and --raters 2 or more.")
    try:
        chance = power.power(arguments.raters, *values)
        if share == 0.5:
            raise ValueError("a share of 0.5 is no difference, so no number of people finds it")
        needed = power.raters_needed(*values)
        smallest = power.smallest_share(arguments.raters, answers, models, spread)
    except ValueError as error:
        raise UserError(f"power: {error}; --share and --spread lie between 0 and 1, --answers is 1 or more.") from None
    each = f"{answers:g} answers each per model, {models} compared"
    print(f"{arguments.raters} people, {each}: a share of {share:g} is found with a chance of {chance:.0%}")
    print(f"{needed} people find it with a chance of {power.POWER:.0%}")
    found = "no share below 1" if smallest == 1 else f"shares of {smallest:.2f} and more"
    print(f"{arguments.raters} people find {found} with that chance")


@command
def main(argv=None) -> None:
    """Command line of this module."""
    arguments = parser().parse_args(argv)
    if arguments.what == "power":
        return print_power(arguments)
    from eval.study import offline, server
    from eval.study.answers import COLUMNS, AnswerStore
    from eval.study.folder import load_study
    from nada.run.atomic import atomic_path
    from nada.run.outputs import begins_with, check_output

    study = load_study(arguments.folder)
    if arguments.what == "serve":
        names = [*arguments.name, *server.LOOPBACK] if arguments.name or arguments.host in server.LOOPBACK else ["*"]
        server.serve(study, arguments.host, arguments.port, names)
    elif arguments.what == "page":
        offline.export_page(study, arguments.out)
        print(f"wrote {arguments.out}: {study.booklet_count} booklets; open {arguments.out / 'index.html'}")
    elif arguments.what == "import":
        people, new = offline.import_answers(AnswerStore(study), arguments.files)
        print(f"{new} new answers of {people} people -> {arguments.folder}")
    else:
        check_output(arguments.out, begins_with(",".join(COLUMNS)))
        store = AnswerStore(study)
        table = store.export()
        if table.empty:
            raise UserError(f"{store.path}: nobody has answered yet.")
        with atomic_path(arguments.out) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")
        print(f"{len(table)} answers of {table.rater.nunique()} people -> {arguments.out}")


if __name__ == "__main__":
    sys.exit(main())
