"""The user study of Fig. 12: people choose the better of two images (Gal et al. 2021, §5.3).

    python -m eval.study.comparison sheet --spec SPEC.json --out FOLDER [--pairs 20] [--seed 0]
    python -m eval.study.comparison score --folder FOLDER

`sheet` writes FOLDER/page.html, which shows every pair on random sides and saves the answers as a CSV
(number, choice: left or right), and FOLDER/key.csv. Put each person's file into FOLDER/answers/. `score`
writes FOLDER/result.csv: the share of comparisons that each model wins against the group's preferred one.
`preference.answers` in config.yaml uses it in the Pareto plot instead of the automatic judge. No judge of
classes is needed: the question names the target by its class, style or text.
"""

import argparse
import base64
import html
import io
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from eval.analysis.statistics import CONFIDENCE
from eval.observation import Observation, load_observation
from nada.run.atomic import atomic_path
from nada.run.errors import UserError, command
from nada.run.outputs import check_outputs
from nada.run.spec.base import CONDITION_KEYS
from nada.run.spec.group_spec import GroupSpec, read_group_spec
from nada.run.streams import stream_seed

SIDES = ("left", "right")
ANSWER = ("number", "choice")
RESULT = (*CONDITION_KEYS, "people", "answers", "won", "low", "high")
RESAMPLES = 9999


def pairs(group: GroupSpec, each: int, seed: int) -> tuple[list[tuple], pd.DataFrame]:
    """([(left, right, question)] of uint8 images in shown order, key) with `each` pairs per rival.

    key: number, the rival's CONDITION_KEYS, seed, latent, side of the rival. Both images of a pair have
    one latent code; the seeds alternate. UserError: no preferred model, or too few images.
    """
    if group.preference is None:
        raise UserError(f"group {group.name}: 'preference' names no model to compare with.")
    seen = {}
    for row in group.rows:
        seen[row.condition] = load_observation(row.observation)
    draw = np.random.default_rng(stream_seed("comparison", seed))
    shown, rows = [], []
    for condition, theirs in seen.items():
        ours = seen.get((condition[0], *group.preference.condition))
        if ours is None or theirs is ours:
            continue
        runs = sorted({run["seed"] for run in theirs.meta["runs"]}
                      & {run["seed"] for run in ours.meta["runs"]})  # fmt: skip
        for number, latent in enumerate(_latents(draw, theirs, runs, each)):
            run, side = runs[number % len(runs)], int(draw.integers(2))
            images = [o[f"seed{run}/images"][latent] for o in (ours, theirs)]
            left, right = images[::-1] if side == 0 else images
            shown.append((left, right, f"Which is the better {target_name(group, condition[0])}?"))
            rows.append((*condition, run, int(latent), SIDES[side]))
    if not rows:
        raise UserError(f"group {group.name}: no other model shares a task with the preferred one.")
    order = draw.permutation(len(rows))
    key = pd.DataFrame([rows[i] for i in order], columns=[*CONDITION_KEYS, "seed", "latent", "side"])
    key.insert(0, "number", np.arange(1, len(key) + 1))
    return [shown[i] for i in order], key


def target_name(group: GroupSpec, task: str) -> str:
    """What the question calls a task's target: its class or style, else its text, else a picture.

    The text is that of the group's runs on the task, by their records; a run without texts has none.
    """
    target = group.tasks[task].target
    if target is not None:
        return target.name
    runs = [run for row in group.rows if row.task == task for run in row.runs]
    records = (Path(run.curves).with_name("run.json") for run in runs)
    return next((text for text in map(_target_text, records) if text), "picture")


def _target_text(record: Path) -> str | None:
    """The target's text in a run's record. UserError: no such record, or another file."""
    try:
        return json.loads(record.read_text(encoding="utf-8"))["spec"].get("text", {}).get("target")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{record}: no run record ({error}); make the run again.") from None


def _latents(draw, observation: Observation, runs: list[int], each: int):
    kept = min((len(observation[f"seed{run}/images"]) for run in runs), default=0)
    if kept < each:
        raise UserError(
            f"{observation.path}: {kept} kept images, {each} pairs are asked for; ask for fewer, or"
            " raise evaluation.gallery_images."
        )
    return draw.permutation(kept)[:each]


PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 17px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 46rem; text-align: center; }}
img {{ width: 18rem; image-rendering: pixelated; }}
button {{ border: 3px solid transparent; background: none; padding: .4rem; cursor: pointer; }}
button:hover, button:focus {{ border-color: #0072B2; }}
progress {{ width: 100%; }}
</style></head><body>
<p id="question"></p>
<p id="choice"><button id="left"><img alt="left"></button> <button id="right"><img alt="right"></button></p>
<progress id="progress" value="0"></progress>
<p id="help">Click the better picture, or press ← or →. Answers stay in this browser until the last one.</p>
<script>
const pairs = {pairs};
const store = "comparison " + {identity};
const answers = JSON.parse(localStorage.getItem(store) || "[]");
const find = id => document.getElementById(id);
function show() {{
  find("progress").max = pairs.length; find("progress").value = answers.length;
  if (answers.length === pairs.length) {{
    const text = "number,choice\\n" + answers.map((a, i) => (i + 1) + "," + a).join("\\n") + "\\n";
    const link = "data:text/csv;charset=utf-8," + encodeURIComponent(text);
    find("choice").remove(); find("help").remove();
    find("question").innerHTML = 'Thank you. <a download="answers.csv" href="' + link + '">Save the answers</a>';
    return;
  }}
  const [left, right, question] = pairs[answers.length];
  find("question").textContent = (answers.length + 1) + " of " + pairs.length + ". " + question;
  find("left").firstChild.src = left; find("right").firstChild.src = right;
}}
function choose(side) {{
  if (answers.length === pairs.length) return;
  answers.push(side); localStorage.setItem(store, JSON.stringify(answers)); show();
}}
find("left").onclick = () => choose("left"); find("right").onclick = () => choose("right");
document.onkeydown = e => {{ if (e.key === "ArrowLeft") choose("left"); if (e.key === "ArrowRight") choose("right"); }};
show();
</script></body></html>
"""


def page(shown: list[tuple], title: str, identity: str) -> str:
    """One self-contained HTML page with all pairs, without any name of a model."""
    listed = [[_png(left), _png(right), question] for left, right, question in shown]
    return PAGE.format(
        title=html.escape(title), pairs=json.dumps(listed), identity=json.dumps(identity)
    )


def _png(image: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def read_answers(folder: Path, numbers) -> pd.DataFrame:
    """The answers of all people: number, choice, person. UserError: no file, or a faulty one."""
    files = sorted((folder / "answers").glob("*.csv"))
    if not files:
        raise UserError(f"{folder}/answers: no person's answers (*.csv) are there yet.")
    found = []
    for path in files:
        try:
            answers = pd.read_csv(path)
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not a person's answers ({error}).") from None
        if list(answers.columns) != list(ANSWER):
            raise UserError(f"{path}: the columns {', '.join(ANSWER)} are wanted.")
        wrong = answers[~answers.choice.isin(SIDES) | ~answers.number.isin(numbers)]
        if len(wrong) or answers.number.duplicated().any():
            raise UserError(
                f"{path}: each pair of key.csv is answered once, with left or right; line"
                f" {int(wrong.index[0]) + 2 if len(wrong) else 'of a double answer'} is not."
            )
        found.append(answers.assign(person=path.stem))
    return pd.concat(found, ignore_index=True)


def score(key: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """RESULT, one row per rival: share of comparisons won, with a 95 % interval.

    The interval is a bootstrap over people, since answers of one person are dependent; for one person,
    Wilson's.
    """
    from scipy import stats

    merged = answers.merge(key, on="number", validate="many_to_one")
    merged["won"] = merged.choice == merged.side
    rows = []
    for condition, part in merged.groupby(list(CONDITION_KEYS), sort=False):
        people = part.groupby("person").won.agg(["sum", "size"]).to_numpy(dtype=float)
        if len(people) > 1:
            interval = stats.bootstrap(
                (people[:, 0], people[:, 1]), lambda won, of, axis: won.sum(axis) / of.sum(axis),
                paired=True, vectorized=True, n_resamples=RESAMPLES, confidence_level=CONFIDENCE,
                method="percentile", rng=np.random.default_rng(0),
            ).confidence_interval  # fmt: skip
        else:
            of_one = stats.binomtest(int(part.won.sum()), len(part))
            interval = of_one.proportion_ci(CONFIDENCE, method="wilson")
        bounds = float(interval.low), float(interval.high)
        rows.append((*condition, len(people), len(part), float(part.won.mean()), *bounds))
    return pd.DataFrame(rows, columns=list(RESULT))


def read_result(path) -> pd.DataFrame:
    """The result.csv of a study. UserError: no such file, or another one."""
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such result; python -m eval.study.comparison score makes it."
        ) from None
    if list(table.columns) != list(RESULT):
        raise UserError(f"{path}: not the result of a comparison; columns {', '.join(RESULT)}.")
    return table


def no_answers_yet(answers: Path) -> None:
    """UserError if there are answers: they would not fit another sheet."""
    if answers.is_file() or (answers.is_dir() and any(answers.iterdir())):
        raise UserError(f"{answers} has answers to the sheet that is there; choose another folder.")


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@command
def main(argv=None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m eval.study.comparison", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    sheet = commands.add_parser("sheet", help="make the page")
    sheet.add_argument("--spec", required=True, help="the group spec (JSON)")
    sheet.add_argument("--pairs", type=int, default=20, help="pairs per model (default: 20)")
    sheet.add_argument("--seed", type=int, default=0, help="seed of latent codes, sides and order (default: 0)")
    sheet.add_argument("--out", type=Path, required=True, help="folder of the study")
    result = commands.add_parser("score", help="count the answers")
    result.add_argument("--folder", type=Path, required=True, help="folder of the study")
    arguments = parser.parse_args(argv)
    if arguments.what == "sheet":
        no_answers_yet(arguments.out / "answers")
        check_outputs(f"{arguments.out}/", ("page.html", "key.csv"), [arguments.spec])
        group = read_group_spec(arguments.spec)
        shown, key = pairs(group, arguments.pairs, arguments.seed)
        (arguments.out / "answers").mkdir(parents=True, exist_ok=True)
        identity = f"{group.world} {group.name} {arguments.pairs} {arguments.seed}"
        _write(arguments.out / "page.html", page(shown, "Which is better?", identity))
        _write(arguments.out / "key.csv", key.to_csv(index=False, lineterminator="\n"))
        print(f"wrote {arguments.out}/page.html: {len(key)} pairs")
        return
    path = arguments.folder / "key.csv"
    if not path.is_file():
        raise UserError(f"{path} is missing; make the sheet first.")
    key = pd.read_csv(path)
    table = score(key, read_answers(arguments.folder, set(key.number)))
    text = table.to_csv(index=False, lineterminator="\n", float_format="%.6f")
    _write(arguments.folder / "result.csv", text)
    print(table.to_string(index=False))


if __name__ == "__main__":
    sys.exit(main())
