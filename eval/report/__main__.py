"""Write the report of a results folder: one page that needs no other file and no network.

    python -m eval.report --spec REPORT.json --out FILE.html
"""

import argparse
import sys

from eval.report.contents import read_contents
from eval.report.page import write
from nada.run.errors import command
from nada.run.outputs import begins_with, check_output
from nada.run.spec.report_spec import read_report_spec


@command
def main(argv=None):
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m eval.report", description=__doc__)
    parser.add_argument("--spec", required=True, help="the report spec (JSON)")
    parser.add_argument("--out", required=True, help="the page to write (HTML)")
    arguments = parser.parse_args(argv)
    check_output(arguments.out, begins_with("<!DOCTYPE html>"), [arguments.spec])
    spec = read_report_spec(arguments.spec)
    print(f"world {spec.world}: report of {len(spec.groups)} groups")
    size = write(read_contents(spec), arguments.out)
    print(f"wrote {arguments.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
