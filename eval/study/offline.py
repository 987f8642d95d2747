"""The study without a server: a folder that any browser opens, and the files of answers that come back.

`export_page` copies page and pictures; nothing in the copy names a model. Each person saves one file of
answers, which `import_answers` adds to the store. A file that arrives twice, or once more with further answers,
counts once.
"""

import json
import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eval.study.answers import AnswerStore
from eval.study.folder import PICTURES, Study, picture_name
from eval.study.server import Answer, page_file
from nada.run.errors import UserError
from nada.run.validation import sentence

#: Files of more bytes are refused unread.
MOST_BYTES = 1 << 20


class AnswerFile(BaseModel):
    """What a person saves."""

    model_config = ConfigDict(extra="forbid", strict=True)
    study: str
    rater: str = Field(pattern=r"^[0-9a-f]{32}$")
    booklet: int = Field(ge=0)
    answers: list[Answer]


def export_page(study: Study, out: Path) -> None:
    """Write the page into a new or empty folder. UserError: it holds something else."""
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; name a new folder.")
    out.mkdir(parents=True, exist_ok=True)
    told = {
        "identity": study.identity,
        "consent": study.consent,
        "folder": PICTURES,
        "booklets": [
            [[q.left, q.right, q.text] for q in study.questions_of(number)] for number in range(study.booklet_count)
        ],
    }
    backend = f"const STUDY = {json.dumps(told)};\n{page_file('offline.js')}"
    index = page_file("index.html").replace('<base href="/">\n', "")
    for name, text in {
        "index.html": index,
        "backend.js": backend,
        "study.js": page_file("study.js"),
        "study.css": page_file("study.css"),
    }.items():
        (out / name).write_text(text, encoding="utf-8")
    (out / PICTURES).mkdir()
    for number in sorted({*study.booklets.left, *study.booklets.right}):
        shutil.copyfile(study.picture(number), out / PICTURES / picture_name(number))


def import_answers(store: AnswerStore, paths) -> tuple[int, int]:
    """(people, new answers) of saved files. UserError names a file that is not one of this study; then none
    is imported."""
    files = [(path, read_answer_file(Path(path), store.study)) for path in paths]
    booklets = {}
    for path, file in files:
        known = store.progress(token_of(file))
        before = booklets.setdefault(file.rater, known.booklet if known else file.booklet)
        if before != file.booklet:
            raise UserError(f"{path}: this person's earlier file is of another booklet; leave one of them out.")
    new = 0
    for _, file in files:
        store.start(token_of(file), file.booklet).result()
        before = store.progress(token_of(file)).answered
        for answer in file.answers[before:]:
            last = store.answer(token_of(file), answer.position, answer.choice, answer.milliseconds)
        if file.answers[before:]:
            last.result()
        new += store.progress(token_of(file)).answered - before
    return len(booklets), new


def token_of(file: AnswerFile) -> str:
    """The token of a person who saved a file; no link of the server has one like it."""
    return f"offline-{file.rater}"


def read_answer_file(path: Path, study: Study) -> AnswerFile:
    """A file that a person saved, checked against the study."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path}: more than {MOST_BYTES} bytes; it is no file of answers.")
        file = AnswerFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give the files that people saved.") from None
    except ValidationError as error:
        raise UserError(f"{path}: not a file of answers: {sentence(error)}") from None
    if file.study != study.identity:
        raise UserError(f"{path}: answers to another study than {study.folder}; import it there.")
    if file.booklet >= study.booklet_count or len(file.answers) > study.length:
        raise UserError(f"{path}: has a booklet or answers that the study does not have; leave the file out.")
    if [answer.position for answer in file.answers] != list(range(len(file.answers))):
        raise UserError(f"{path}: its answers are not those to the first questions in order; leave the file out.")
    return file
