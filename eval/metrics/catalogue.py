"""Every metric of the benchmark by name, and the values of one observation; no torch is imported for it.

The metrics are declared beside their functions: fid, precision_recall, diversity, target,
memorisation, realism, correspondence.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eval.metrics import correspondence, fid, memorisation, precision_recall, realism, target
from eval.metrics import intra_cluster_lpips as diversity
from eval.metrics.metric import Metric
from eval.observation import Observation
from nada.run.errors import UserError

#: Images (the smaller side) per FID feature; below 2 the bias of FID dominates it.
FID_IMAGES_PER_FEATURE = Metric("fid_images_per_feature", "images per feature", "", None, 1)
#: Clusters that hold a pair, out of the k asked (column n).
CLUSTERS_USED = Metric("clusters_used", "clusters used", "", None, 0)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        *fid.METRICS,
        FID_IMAGES_PER_FEATURE,
        *precision_recall.METRICS,
        precision_recall.REFERENCE_COPIES,
        *diversity.METRICS,
        CLUSTERS_USED,
        *target.METRICS,
        *memorisation.METRICS,
        *realism.METRICS,
        *correspondence.METRICS,
        *(correspondence.group_metric(group) for group in ("pose", "background", "fur")),
    )
}


#: Metrics that compare generated images with a task's reference images.
COMPARED = frozenset(m.name for m in (*fid.METRICS, *precision_recall.METRICS, *realism.METRICS))
#: Metrics that read what a judge of classes says.
JUDGED = frozenset(
    m.name
    for m in (
        *target.METRICS,
        diversity.ACCEPTED_LPIPS,
        correspondence.FACTOR_BIAS,
        correspondence.FACTOR_CORRELATION,
    )
)


def needs_judge(name: str) -> bool:
    """Whether a metric, by name, needs a judge of classes; a group of factors does."""
    return name in JUDGED or name.startswith(f"{correspondence.FACTOR_CORRELATION.name}_")


def metric(name: str) -> Metric:
    """A metric by name; groups of factors that a user's judge adds are known by their prefix."""
    prefix = f"{correspondence.FACTOR_CORRELATION.name}_"
    if name not in METRICS and name.startswith(prefix):
        return correspondence.group_metric(name.removeprefix(prefix))
    if name not in METRICS:
        raise UserError(f"no metric is called {name!r}; known: {', '.join(METRICS)}.")
    return METRICS[name]


@dataclass(frozen=True)
class Value:
    """One number: metric, value, and n, the images (or clusters, factors) that it is made of."""

    metric: Metric
    value: float
    n: int


def fid_values(features, reference: fid.FeatureSet, what: str) -> Iterator[Value]:
    """FID and KID of features [N,d] against a reference set's; `what` names the first."""
    generated, real = fid.gaussian_statistic(features, what), reference.statistic
    fewest = min(generated.count, real.count)
    yield Value(fid.FID, fid.fid(generated, real), generated.count)
    yield Value(fid.KID, fid.kid(features, reference.features), generated.count)
    yield Value(FID_IMAGES_PER_FEATURE, fewest / features.shape[1], fewest)


def kid_values(features, reference) -> Iterator[Value]:
    """KID alone: unbiased, so that it can be read on the few images of a snapshot; FID cannot."""
    yield Value(fid.KID, fid.kid(features, reference), len(features))


def other_fid_values(
    observation: Observation, prefix: str, references: dict[str, fid.FeatureSet], what: str
) -> Iterator[Value]:
    """FID on the features of clean-fid's other modes, where the observation took them.

    references: array's name -> features of the reference images.
    """
    for name, metric in fid.OTHER_MODES.items():
        if name in references:
            generated = fid.gaussian_statistic(observation[f"{prefix}/{name}"], what)
            yield Value(metric, fid.fid(generated, references[name].statistic), generated.count)


def judged(observation: Observation) -> bool:
    """Whether a judge looked on: the paper's own world has none."""
    return "class_names" in observation.meta


def precision_recall_values(features, reference) -> Iterator[Value]:
    """Precision and recall of features [N,d] against reference features [M,d]."""
    precision, recall = precision_recall.precision_recall(reference, features)
    yield Value(precision_recall.PRECISION, precision, len(features))
    yield Value(precision_recall.RECALL, recall, len(features))


def copies_values(features) -> Iterator[Value]:
    """How many real images, of features [N,d], repeat another; nothing where none does."""
    if copies := int(precision_recall.repeats(features).sum()):
        yield Value(precision_recall.REFERENCE_COPIES, copies, len(features))


def diversity_values(distances, k: int) -> Iterator[Value]:
    """Intra-cluster LPIPS, its spread and the plain mean, of LPIPS distances [n,n]."""
    result = diversity.intra_cluster_lpips(distances, k)
    yield Value(diversity.INTRA_CLUSTER_LPIPS, result.mean, len(distances))
    yield Value(diversity.CLUSTER_LPIPS_STD, result.std, len(distances))
    yield Value(CLUSTERS_USED, result.clusters_used, k)
    yield from mean_lpips_values(distances)


def accepted_values(observation: Observation, prefix: str) -> Iterator[Value]:
    """The plain mean LPIPS among images that the judge calls the target, where two or more are.

    Diversity rewards noise; what is no target at all shall not count (Gal et al. 2021 do not say).
    """
    if not judged(observation):
        return
    kind, name = observation.meta["target"]
    distances = observation[f"{prefix}/lpips"]
    logits = observation[f"{prefix}/{kind}_logits"][: len(distances)]
    called = logits.argmax(axis=1) == observation.meta[f"{kind}_names"].index(name)
    if called.sum() >= 2:
        mean = diversity.mean_pairwise(distances[np.ix_(called, called)])
        yield Value(diversity.ACCEPTED_LPIPS, mean, int(called.sum()))


def memorisation_values(observation: Observation, prefix: str) -> Iterator[Value]:
    """Distance to the training images and the share memorised; nothing for runs without any."""
    if f"{prefix}/training_lpips" not in observation.arrays:
        return
    near = memorisation.nearest(observation[f"{prefix}/training_lpips"])
    yield Value(memorisation.NEAREST_TRAINING, float(near.mean()), len(near))
    if f"{prefix}/fresh_lpips" in observation.arrays:  # else too few real images are new to the run
        fresh = memorisation.nearest(observation[f"{prefix}/fresh_lpips"])
        if memorisation.enough(fresh):
            yield Value(memorisation.MEMORISED, memorisation.memorised(near, fresh), len(near))


def mean_lpips_values(distances) -> Iterator[Value]:
    """The plain mean of LPIPS distances [n,n]."""
    yield Value(diversity.MEAN_LPIPS, diversity.mean_pairwise(distances), len(distances))


def target_values(observation: Observation, prefix: str) -> Iterator[Value]:
    """Shares called the target and "none of these" by the judge, where the world has one."""
    if not judged(observation):
        return
    kind, name = observation.meta["target"]
    logits = observation[f"{prefix}/{kind}_logits"]
    names = observation.meta[f"{kind}_names"]
    yield Value(target.TARGET_RATE, target.share_called(logits, names, name), len(logits))
    logits, names = observation[f"{prefix}/class_logits"], observation.meta["class_names"]
    yield Value(target.NONE_RATE, target.share_called(logits, names, names[-1]), len(logits))


def correspondence_values(observation: Observation, prefix: str) -> Iterator[Value]:
    """LPIPS to source, retrieval and factor correlations of adapted against frozen images.

    Nothing where the generator has no W+: its images belong to no image of the source model.
    """
    if f"{prefix}/source_lpips" not in observation.arrays:
        return
    distances = observation[f"{prefix}/source_lpips"]
    n = len(distances)
    yield Value(correspondence.SOURCE_LPIPS, correspondence.source_lpips(distances), n)
    yield Value(correspondence.RETRIEVAL, correspondence.retrieval_top1(distances), n)
    if not judged(observation):
        return
    factors = observation[f"{prefix}/source_factors"], observation[f"{prefix}/factors"][:n]
    yield Value(correspondence.FACTOR_BIAS, correspondence.factor_bias(*factors), n)
    correlations = correspondence.factor_correlations(*factors)
    yield Value(correspondence.FACTOR_CORRELATION, float(correlations.mean()), n)
    groups = correspondence.group_means(correlations, observation.meta["factor_names"])
    for group, value in groups.items():
        yield Value(correspondence.group_metric(group), value, n)
