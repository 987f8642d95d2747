"""The folder of a preference study.

| file | content |
|---|---|
| `manifest.json` | format, identity, world, group, questions by task, the consent line, numbers |
| `pairs.csv` | the key: which models a pair shows (`eval/study/pairs.py`); no rater sees it |
| `booklets.csv` | the questions of each booklet, in order |
| `pictures/<number>.png` | the pictures, by numbers that tell nothing |
| `answers.sqlite` | people's answers (`eval/study/answers.py`), from the first start of the server on |
"""

import contextlib
import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from eval.study.pairs import BOOKLET_COLUMNS, PAIR_COLUMNS
from nada.run.atomic import atomic_path, canonical_json, write_json
from nada.run.errors import UserError

MANIFEST, PAIRS, BOOKLETS, PICTURES = "manifest.json", "pairs.csv", "booklets.csv", "pictures"
ANSWERS = "answers.sqlite"
#: Increased when the files change their meaning.
FORMAT = 1
TEXTS = ("identity", "world", "group", "consent")


@dataclass(frozen=True)
class Question:
    """What one person is asked at one place of a booklet; pictures by number."""

    pair: int
    kind: str
    left: int
    right: int
    text: str


@dataclass(frozen=True)
class Study:
    """A prepared study. identity: a hash of all that people see. pairs, booklets: the tables of `pairs.py`."""

    folder: Path
    identity: str
    world: str
    group: str
    questions: dict[str, str]
    consent: str
    pairs: pd.DataFrame
    booklets: pd.DataFrame
    _asked: list[list[Question]] = field(default_factory=list, repr=False)

    def __post_init__(self):
        task = self.pairs.set_index("pair").task
        for _, rows in self.booklets.groupby("booklet"):
            self._asked.append(
                [
                    Question(row.pair, row.kind, row.left, row.right, self.questions[task[row.pair]])
                    for row in rows.sort_values("position").itertuples()
                ]
            )

    @property
    def booklet_count(self) -> int:
        return len(self._asked)

    @property
    def length(self) -> int:
        """Questions of one person."""
        return len(self._asked[0])

    def questions_of(self, booklet: int) -> list[Question]:
        return self._asked[booklet]

    def picture(self, number: int) -> Path:
        return self.folder / PICTURES / picture_name(number)


def picture_name(number: int) -> str:
    return f"{number:05d}.png"


def identity(spec, pairs: pd.DataFrame, booklets: pd.DataFrame, pictures: list[np.ndarray]) -> str:
    """A hash of a study's texts, tables and pixels; 16 hexadecimal digits."""
    shown = {"questions": spec.questions, "consent": spec.consent}
    digest = hashlib.sha256(canonical_json(shown).encode())
    for table in (pairs, booklets):
        digest.update(table.to_csv(index=False).encode())
    for image in pictures:
        digest.update(f"{image.shape}".encode() + image.tobytes())
    return digest.hexdigest()[:16]


def save_study(study: Study, pictures: list[np.ndarray]) -> None:
    """Write the folder's files, the manifest last. Pictures of the same study stay, as people may look at them."""
    from PIL import Image

    place = study.folder / PICTURES
    if not same_study(study):
        (study.folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(pictures):
        if not study.picture(number).is_file():
            with atomic_path(study.picture(number)) as temporary:
                Image.fromarray(image).save(temporary, format="PNG")
    for name, table in ((PAIRS, study.pairs), (BOOKLETS, study.booklets)):
        with atomic_path(study.folder / name) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")
    about = {"format": FORMAT, "questions": study.questions, "pictures": len(pictures)}
    write_json(study.folder / MANIFEST, about | {key: getattr(study, key) for key in TEXTS})


def same_study(study: Study) -> bool:
    """Whether the folder holds this study already, whole or in part."""
    try:
        manifest = json.loads((study.folder / MANIFEST).read_text(encoding="utf-8"))
        return manifest["identity"] == study.identity
    except (OSError, ValueError, KeyError, TypeError):
        return False


def load_study(folder) -> Study:
    """Read a prepared study. UserError: not such a folder, or a file of it is missing or faulty."""
    folder = Path(folder)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        pairs, booklets = pd.read_csv(folder / PAIRS), pd.read_csv(folder / BOOKLETS)
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise UserError(f"{folder} is no study ({missing} is missing); `snakemake study` prepares one.") from None
    except (ValueError, pd.errors.ParserError) as error:
        raise UserError(f"{folder}: a file of the study cannot be read ({error}); prepare it again.") from None
    pairs["variant"] = pairs.get("variant", pd.Series(dtype=str)).fillna("")
    for table, columns, name in ((pairs, PAIR_COLUMNS, PAIRS), (booklets, BOOKLET_COLUMNS, BOOKLETS)):
        if list(table.columns) != list(columns):
            raise UserError(f"{folder / name}: the columns {', '.join(columns)} are wanted; prepare the study again.")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError(f"{folder / MANIFEST}: not of format {FORMAT}, which this version reads; prepare it again.")
    with contextlib.suppress(KeyError):
        texts = {key: manifest[key] for key in (*TEXTS, "questions")}
        return Study(folder=folder, pairs=pairs, booklets=booklets, **texts)
    raise UserError(f"{folder / MANIFEST}: a key is missing; prepare the study again.")
