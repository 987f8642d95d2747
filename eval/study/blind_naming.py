"""A blind naming study: do people who do not know the task see the target in adapted images?

    python -m eval.study.blind_naming sheet --observation OBS.npz --real REFERENCES.npz --out FOLDER
    python -m eval.study.blind_naming score --folder FOLDER --target NAME [--also NAME …]

`sheet` writes FOLDER/sheet.png, with eight adapted, eight real and eight source images in random order,
numbered and without labels, FOLDER/key.csv, and FOLDER/pictures.npz, the images themselves. People who know
neither key nor task give each picture one name: FOLDER/answers_1.csv, answers_2.csv, … (number, name), one file
a person. `score` writes FOLDER/result.csv: how many images of each group each person named as the target.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from eval.observation import load_observation
from nada.images.arrays import save_images
from nada.images.lazy import open_images
from nada.run.atomic import atomic_path
from nada.run.errors import UserError, command
from nada.run.outputs import check_outputs
from nada.run.streams import stream_seed

EACH = 8  # images of each group
COLUMNS = 6
GROUPS = ("adapted", "real", "source")


def pick(observation_path: Path, real_path: Path, seed: int) -> tuple[np.ndarray, pd.DataFrame]:
    """(images uint8 [24,H,W,3] in shown order, key: number, group, index).

    Adapted and source images come from the gallery of the observation's first seed, at different latent
    codes. `seed` draws images and order. UserError: too few images.
    """
    observation = load_observation(observation_path)
    run = observation.meta["runs"][0]["seed"]
    adapted, source = observation[f"seed{run}/gallery"], observation[f"seed{run}/source_gallery"]
    pools = {"adapted": adapted, "real": open_images(real_path), "source": source}
    draw = np.random.default_rng(stream_seed("blind naming", seed))
    latents = draw.permutation(len(adapted))
    indices = {
        "adapted": latents[:EACH],
        "source": latents[EACH : 2 * EACH],
        "real": draw.permutation(len(pools["real"]))[:EACH],
    }
    if min(map(len, indices.values())) < EACH:
        raise UserError(
            f"{observation_path}: {len(adapted)} gallery images, {2 * EACH} are needed; raise "
            "evaluation.gallery_images."
        )
    rows = [(group, int(i)) for group in GROUPS for i in indices[group]]
    rows = [rows[i] for i in draw.permutation(len(rows))]
    images = np.concatenate([pools[group][i : i + 1] for group, i in rows])
    key = pd.DataFrame(rows, columns=["group", "index"])
    key.insert(0, "number", np.arange(1, len(rows) + 1))
    return images, key


def draw_sheet(images: np.ndarray, path: Path) -> None:
    """Write images [N,H,W,3] as a numbered sheet of COLUMNS columns, enlarged without smoothing."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = -(-len(images) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(1.5 * COLUMNS, 1.7 * rows), dpi=100)
    for number, axis in enumerate(axes.flat, start=1):
        axis.axis("off")
        if number <= len(images):
            axis.imshow(images[number - 1], interpolation="nearest")
            axis.set_title(str(number), fontsize=11)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
    plt.close(figure)


def plain(names: pd.Series) -> pd.Series:
    """Names without case and outer blanks."""
    return names.str.strip().str.lower()


def score(key: pd.DataFrame, answers: pd.DataFrame, target: str, also: Sequence[str] = ()) -> pd.DataFrame:
    """Number of images of each group, and of those named `target` or one of its other names `also`.

    Case and outer blanks do not count. UserError: a picture has no name.
    """
    merged = key.merge(answers, on="number", how="left")
    if missing := merged.loc[merged["name"].isna(), "number"].tolist():
        raise UserError(f"answers: no name for picture {missing[0]}; name every picture.")
    merged["named"] = plain(merged["name"]).isin([name.lower() for name in (target, *also)])
    counts = merged.groupby("group", sort=False)["named"].agg(["size", "sum"]).loc[list(GROUPS)]
    counts = counts.set_axis(["pictures", "named_target"], axis=1).astype(int)
    return counts.assign(target=target).reset_index()


def answer_files(folder: Path) -> list[Path]:
    """The files of answers in a study's folder, one a person."""
    return sorted(folder.glob("answers*.csv"))


def _no_answers_yet(folder: Path) -> None:
    """UserError if there is a file of answers: they would not fit another sheet."""
    for answers in answer_files(folder):
        raise UserError(f"{answers} has answers to the sheet that is there; choose another folder.")


def _table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{path} is missing; first make the sheet, then name its pictures.")
    return pd.read_csv(path, dtype={"name": str})


@command
def main(argv=None) -> None:
    """Command line of this module."""
    about = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m eval.study.blind_naming", description=about)
    commands = parser.add_subparsers(dest="what", required=True)
    sheet = commands.add_parser("sheet", help="draw the sheet")
    sheet.add_argument("--observation", type=Path, required=True, help="the observation of the adapted runs (.npz)")
    sheet.add_argument("--real", type=Path, required=True, help="the target's images (.npz)")
    sheet.add_argument("--seed", type=int, default=0, help="seed of the choice and order of images")
    sheet.add_argument("--out", type=Path, required=True, help="folder of the study")
    result = commands.add_parser("score", help="count the answers")
    result.add_argument("--folder", type=Path, required=True, help="folder of the study")
    result.add_argument("--target", required=True, help="the name of the target, e.g. cat")
    result.add_argument("--also", nargs="*", default=[], help="other names of the target, e.g. kitten")
    arguments = parser.parse_args(argv)
    if arguments.what == "sheet":
        _no_answers_yet(arguments.out)
        reads = [arguments.observation, arguments.real]
        check_outputs(f"{arguments.out}/", ("sheet.png", "key.csv", "pictures.npz"), reads)
        images, key = pick(arguments.observation, arguments.real, arguments.seed)
        arguments.out.mkdir(parents=True, exist_ok=True)
        draw_sheet(images, arguments.out / "sheet.png")
        save_images(arguments.out / "pictures.npz", images)
        key.to_csv(arguments.out / "key.csv", index=False)
        print(f"{len(images)} pictures -> {arguments.out / 'sheet.png'}")
        return
    key = _table(arguments.folder / "key.csv")
    files = answer_files(arguments.folder) or [arguments.folder / "answers_1.csv"]
    counts = pd.concat(
        score(key, _table(path), arguments.target, arguments.also).assign(answers=path.stem) for path in files
    )
    counts.to_csv(arguments.folder / "result.csv", index=False)
    print(counts.to_string(index=False))


if __name__ == "__main__":
    sys.exit(main())
