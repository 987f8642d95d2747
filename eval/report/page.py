"""The page: the data of every section, and the template that lays them out."""

import json
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from eval import claims as claims_page
from eval.analysis import differences
from eval.pages.rendering import STYLES, asset, environment
from eval.report import facts, figures, findings, galleries, run_details, score_tables
from eval.report.contents import Contents
from eval.study import shares
from eval.table_formats import html_frame
from nada.run.atomic import atomic_path

FOLDER = Path(__file__).parent
#: Files of this folder: the page, its parts, styles and script.
TEMPLATES = ("report.html", "parts.html", "report.css", "report.js")
#: Snakemake's report, beside the page.
PROVENANCE = "provenance.html"


def rendered(contents: Contents) -> str:
    """The page as text."""
    spec = contents.spec
    verdicts = read_claims(spec.claims)
    strips = galleries.Strips()
    grids = galleries.grids(contents, strips)
    real = galleries.real_pictures(contents, strips)
    sections = contents.sections
    cost, cost_notes = facts.cost_table(contents)
    page = environment(FOLDER).get_template("report.html")
    return page.render(
        about=facts.about(contents),
        findings=findings.findings(contents, verdicts),
        lead=contents.lead,
        sections=sections,
        tables={group.name: score_tables.score_table(contents, group) for group in contents.groups},
        published={g.name: score_tables.published_table(contents, g) for g in contents.groups if g.paper},
        grids=grids,
        real=real,
        pareto=figures.all_shown(contents, "pareto"),
        preferences=preference_tables(contents),
        sweeps={g.name: figures.all_shown(contents, "sweep", "bias", groups=[g]) for g in contents.groups},
        neighbours=figures.all_shown(contents, "gallery", "neighbours"),
        curves=figures.all_shown(contents, "training_curves", "losses", "chosen_layers"),
        others=figures.all_shown(contents, *other_kinds(contents)),
        claims=claims_table(verdicts, contents),
        differences={g.name: difference_table(contents, g) for g in contents.groups},
        costs=html_frame(cost, cost_notes),
        stages=facts.stage_times(contents),
        licences=facts.licences(contents),
        assets=spec.assets,
        environment=facts.environment(contents),
        strips=sorted(strips.found.values(), key=lambda strip: strip.number),
        details=script_json(run_details.details(contents, strips)),
        styles=asset(STYLES),
        own_styles=asset("report.css", FOLDER),
        script=asset("report.js", FOLDER),
        provenance=PROVENANCE,
        world=spec.world,
    )


#: Figures that a section of their own shows; others follow the training curves.
PLACED = ("pareto", "sweep", "bias", "gallery", "neighbours", "training_curves", "losses", "chosen_layers")


def other_kinds(contents: Contents) -> list[str]:
    """Kinds of figures without a section, such as one that somebody added."""
    return [kind for kind in dict.fromkeys(f.kind for f in contents.spec.figures) if kind not in PLACED]


def read_claims(path: str | None) -> pd.DataFrame | None:
    """The verdicts (claims.csv), or None."""
    if path is None:
        return None
    return pd.read_csv(path, keep_default_na=False, na_values={"mean": "", "half_width": "", "p": ""})


def claims_table(verdicts: pd.DataFrame | None, contents: Contents):
    """The table of claims, or None."""
    if verdicts is None:
        return None
    psi = contents.groups[0].truncation_psi
    frame = claims_page.shown(verdicts)
    if verdicts.reason.any():
        frame.insert(2, "reason", verdicts.reason)
    prose = [frame.columns.get_loc(name) for name in ("claim", "reason", "where") if name in frame]
    return html_frame(frame, claims_page.notes_on(verdicts, psi, reasons=False), texts=4, prose=prose)


def difference_table(contents: Contents, group):
    """The paired differences of a group, or None."""
    table = contents.tables[group.name]
    if not table.differences:
        return None
    frame = differences.frame(table.differences, table.columns)
    return html_frame(frame, [differences.note(table.differences)], texts=3)


def preference_tables(contents: Contents) -> list[tuple]:
    """(group, table of what people prefer among its models) of each group that people were asked about."""
    groups = {group.name: group for group in contents.groups}
    tables = []
    for asked in contents.spec.preferences:
        table, said = shares.told(asked.answers)
        tables.append((groups[asked.group], html_frame(shares.readable(table), said)))
    return tables


def script_json(content) -> Markup:
    """JSON that may stand in a script element."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def write(contents: Contents, path) -> int:
    """Write the page; returns its size in bytes."""
    text = rendered(contents)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return len(text.encode())
