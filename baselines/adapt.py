"""Train one run: python -m baselines.adapt --spec RUN/spec.json --out RUN --state STATE."""

import argparse
import sys
from pathlib import Path

from baselines import registry
from nada.run.errors import UserError, command
from nada.run.outputs import check_outputs


@command
def main(argv=None) -> None:
    """Read the run spec, train its method, write the run's folder."""
    parser = argparse.ArgumentParser(prog="python -m baselines.adapt", description=__doc__)
    parser.add_argument("--spec", required=True, help="the run spec, spec.json")
    parser.add_argument(
        "--out", required=True, help="the run's folder, written whole or not at all"
    )
    parser.add_argument("--state", required=True, help="folder of training states, for resume")
    parser.add_argument("--parent", help="folder of the parent run, if the run has one")
    parser.add_argument("--code", default="", help="digest of the code, part of the run's identity")
    arguments = parser.parse_args(argv)

    import torch  # only after the arguments are checked: the import takes seconds

    from nada.run.artifact import MODEL, SNAPSHOTS, AdaptedModel
    from nada.run.job import Job
    from nada.run.record import COST, CURVES, RUN
    from nada.run.spec.run_spec import read_run_spec

    out = Path(arguments.out)
    if out.resolve() != Path(arguments.spec).resolve().parent:  # the spec's folder is the run's own
        check_outputs(f"{out}/", (MODEL, SNAPSHOTS, CURVES, RUN, COST))
    spec = read_run_spec(arguments.spec)
    method = registry.load(spec.method)
    if spec.device == "cpu":
        torch.set_num_threads(1)  # bytes must not depend on the number of cores
    job = Job(spec, arguments.out, arguments.state, arguments.parent, arguments.code)
    job.seed_everything()  # in case a method does not call it
    with job.resumable():
        model = method.adapt(job)
        if not isinstance(model, AdaptedModel):
            raise UserError(
                f"{job.name}: adapt(job) of baselines/{spec.method}.py returned "
                f"{type(model).__name__}; it must return an AdaptedModel, as fine_tune does."
            )
        job.finish(model)


if __name__ == "__main__":
    sys.exit(main())
