"""ReportSpec: what one results folder's report shows, in which order; the job of the report reads it."""

from nada.run.spec.base import Count, Device, Name, Spec, read


class FigureSpec(Spec):
    """A figure of a group. caption: one paragraph or more. prefix: its path without an ending."""

    group: Name
    kind: Name
    caption: str = ""
    prefix: Name


class AssetSpec(Spec):
    """A model or data set that is not the project's: its name, licence, address and purpose."""

    title: Name
    licence: Name
    source: str = ""
    purpose: str = ""


class PreferenceSpec(Spec):
    """What people answered about a group's models. answers: the exported file of the preference study."""

    group: Name
    answers: Name


class ReportSpec(Spec):
    """groups: group specs, in the order of config.yaml. scores: the joined scores. claims: the verdicts.

    results: the results folder; links of the page are relative to it. like: the worlds that this one is
    `like`, the nearest first; absent if there are none.
    """

    world: Name
    like: tuple[Name, ...] | None = None
    preset: Name
    device: Device
    resolution: Count
    seeds: tuple[int, ...]
    results: Name
    groups: tuple[Name, ...]
    figures: tuple[FigureSpec, ...] = ()
    scores: Name
    claims: Name | None = None
    preferences: tuple[PreferenceSpec, ...] = ()
    assets: tuple[AssetSpec, ...] = ()


def read_report_spec(path) -> ReportSpec:
    """Read a report spec. UserError: see `nada.run.spec.base.read`."""
    return read(ReportSpec, path, "report spec")
