"""Every metric by name. Each file of this folder that declares METRICS takes part.

| file | metrics |
|---|---|
| fid | `fid`, `fid_legacy_pytorch`, `fid_images_per_feature` |
| kid | `kid` |
| precision_recall | `precision`, `recall`, `reference_copies` |
| intra_cluster_lpips | `intra_cluster_lpips`, `cluster_lpips_std`, `clusters_used` |
| mean_lpips | `mean_lpips`, `accepted_lpips` |
| target_rate | `target_rate`, `none_rate` |
| correspondence | `source_lpips`, `retrieval_top1`, `factor_bias`, `factor_correlation[_<group>]` |
| memorisation | `nearest_training_lpips`, `memorised` |
| zero_shot | `zero_shot_share` |
| realism | `realism`, `preference`: `eval.score` computes them, since they compare two models |

No torch.
"""

import importlib
import pkgutil
import traceback
from collections.abc import Iterator
from pathlib import Path

import eval.metrics
from eval.metrics.correspondence import FACTOR_CORRELATION, group_metric
from eval.metrics.metric import Metric, Value
from eval.metrics.sample import Sample
from nada.run.errors import UserError

#: Modules of this folder that hold no metric.
OTHERS = ("catalogue", "metric", "sample")
# The code digest knows this call: it covers every module of the folder (workflow/plan/code_digest.py).
FILES = [
    importlib.import_module(f"eval.metrics.{module.name}")
    for module in pkgutil.iter_modules(eval.metrics.__path__)
    if module.name not in OTHERS
]
METRICS: dict[str, Metric] = {metric.name: metric for file in FILES for metric in file.METRICS}

_GROUP_PREFIX = f"{FACTOR_CORRELATION.name}_"


def metric(name: str) -> Metric:
    """The metric of a name. UserError for an unknown one.

    The correlation of any group of factors is known, since the judge of a world defines the groups.
    """
    if name in METRICS:
        return METRICS[name]
    if name.startswith(_GROUP_PREFIX):
        return group_metric(name.removeprefix(_GROUP_PREFIX))
    raise UserError(f"no metric is called {name!r}; known: {', '.join(sorted(METRICS))}.")


def needs(name: str) -> str:
    """`Metric.needs` of a metric by name: one of `eval.metrics.metric.NEEDS`; "" for an unknown name."""
    known = name in METRICS or name.startswith(_GROUP_PREFIX)
    return metric(name).needs if known else ""


def values(sample: Sample) -> Iterator[Value]:
    """Every value that the files compute for one set of images, by file in alphabetical order.

    UserError: a file's `values` raised an exception, or yields something else than a Value.
    """
    for file in FILES:
        if hasattr(file, "values"):
            yield from values_of(file, sample)


def values_of(file, sample: Sample) -> list[Value]:
    """The values that one file computes; an exception becomes a UserError with metric, line and run."""
    try:
        found = list(file.values(sample))
        if others := [value for value in found if not isinstance(value, Value)]:
            raise TypeError(f"values() yields {others[0]!r}, not a Value")
        return found
    except (UserError, MemoryError, OSError):  # `command` says what these mean
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == file.__file__]
        path = Path(file.__file__)
        where = f"eval/metrics/{path.name}" + (f":{lines[-1]}" if lines else "")
        raise UserError(
            f"metric {path.stem} ({where}) failed on {sample.name}: {type(error).__name__}: {error}"
        ) from error
