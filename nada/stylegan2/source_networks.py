"""Read the source domain's pre-trained networks for a run."""

from nada.run.errors import UserError
from nada.run.job import Job
from nada.stylegan2.source_model import SourceModel, load_source


def source_networks(job: Job) -> SourceModel:
    """The source's G, G_ema and D on the job's device.

    If the model was converted, the run's record names the original checkpoint. Raises UserError if
    the spec names no source model, or one of another resolution.
    """
    spec = job.spec
    if spec.source is None:
        raise UserError(
            f"{job.name}: the run spec names no source model; METHOD of "
            f"baselines/{spec.method}.py must declare generator 'source'."
        )
    source = load_source(spec.source.weights, job.device)
    found = source.G_ema.config["resolution"]
    if found != spec.resolution:
        raise UserError(
            f"{job.name}: the source model {spec.source.weights} makes {found}x{found} images, but "
            f"the run's resolution is {spec.resolution}; give the source that 'resolution' in world.yaml."
        )
    if source.converted_from is not None:
        job.inputs["source"]["converted_from"] = source.converted_from
    return source
