"""People's answers in a SQLite file: each question of each person is answered once, and no answer is lost.

An answer is committed to the disk before the person sees the next question. The first answer to a question
counts: a second one, from a double click, a stale tab or a repeated request, changes nothing. Nothing else about
a person is stored: no name, address, browser or time of day.

`export` writes one row per answer (COLUMNS), with the models of each pair; raters have numbers.
"""

import contextlib
import secrets
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from eval.study.folder import ANSWERS, Study
from eval.study.pairs import CHECK
from nada.run.errors import UserError
from nada.run.spec.base import CONDITION_KEYS

SIDES = LEFT, RIGHT = ("left", "right")
#: The exported table. rival: the side of the other model's picture. won: 1 if it was chosen; for a check, 1
#: if the scrambled picture was not chosen. milliseconds: from the pictures' appearance to the answer.
COLUMNS = (
    *("rater", "booklet", "position", "pair", "kind", *CONDITION_KEYS),
    *("seed", "latent", "rival", "choice", "won", "milliseconds"),
)  # fmt: skip
#: Answers that took longer are stored as this: the person was away.
MOST_MILLISECONDS = 600_000
BUSY = 20  # seconds that a writer waits for another process

SCHEMA = """
CREATE TABLE IF NOT EXISTS study (identity TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS raters (
  rater INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, booklet INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS answers (
  rater INTEGER NOT NULL REFERENCES raters, position INTEGER NOT NULL,
  choice TEXT NOT NULL CHECK (choice IN ('left', 'right')), milliseconds INTEGER NOT NULL,
  PRIMARY KEY (rater, position)
) STRICT, WITHOUT ROWID;
"""
PERSON = """
SELECT rater, booklet, (SELECT count(*) FROM answers a WHERE a.rater = r.rater) FROM raters r WHERE token = ?
"""


@dataclass(frozen=True)
class Progress:
    """How far a person is: the booklet, and the number of questions answered, which are the first ones."""

    booklet: int
    answered: int


class AnswerStore:
    """The answers of one study. Safe to use from several threads, and from several processes at once."""

    def __init__(self, study: Study, path: Path | None = None):
        self.study, self.path = study, Path(path or study.folder / ANSWERS)
        self._lock = threading.Lock()
        try:
            self._base = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None, check_same_thread=False)
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")  # an answer survives a power cut, too
            with self._transaction() as base:
                for statement in SCHEMA.split(";"):
                    base.execute(statement)
                if base.execute("SELECT count(*) FROM study").fetchone()[0] == 0:
                    base.execute("INSERT INTO study VALUES (?)", (study.identity,))
                if base.execute("SELECT count(*) FROM answers").fetchone()[0] == 0:  # of a study made anew
                    base.execute("DELETE FROM raters WHERE (SELECT identity FROM study) != ?", (study.identity,))
                    base.execute("UPDATE study SET identity = ?", (study.identity,))
                known = base.execute("SELECT identity FROM study").fetchone()[0]
        except sqlite3.Error as error:
            raise UserError(f"{self.path}: cannot be used as the file of answers ({error}).") from None
        if known != study.identity:
            raise UserError(f"{self.path} has answers to another study; give this study a folder of its own.")

    @contextlib.contextmanager
    def _transaction(self):
        """A transaction that holds the write lock from its start; committed at the end, or undone."""
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    def close(self) -> None:
        self._base.close()

    def start(self, token: str | None = None, booklet: int | None = None) -> str:
        """Register a person and return the secret token of their link.

        booklet: default: that with the fewest people, so that all are used equally often. A token that is
        known already keeps its booklet.
        """
        token = token or secrets.token_urlsafe(16)
        with self._transaction() as base:
            if booklet is None:
                used = dict(base.execute("SELECT booklet, count(*) FROM raters GROUP BY booklet"))
                booklet = min(range(self.study.booklet_count), key=lambda number: used.get(number, 0))
            base.execute(
                "INSERT INTO raters (token, booklet) VALUES (?, ?) ON CONFLICT DO NOTHING", (token, booklet)
            )
        return token

    def progress(self, token: str) -> Progress | None:
        """How far the person with a token is; None for an unknown token."""
        with self._lock:
            row = self._base.execute(PERSON, (token,)).fetchone()
        return None if row is None else Progress(*row[1:])

    def answer(self, token: str, position: int, choice: str, milliseconds: int) -> Progress | None:
        """Store an answer, and return how far the person is then; None for an unknown token.

        Only the next unanswered question takes an answer; any other position changes nothing.
        """
        with self._transaction() as base:
            row = base.execute(PERSON, (token,)).fetchone()
            if row is None:
                return None
            rater, booklet, answered = row
            if position != answered or answered == self.study.length:
                return Progress(booklet, answered)
            took = max(0, min(int(milliseconds), MOST_MILLISECONDS))
            base.execute("INSERT INTO answers VALUES (?, ?, ?, ?)", (rater, position, choice, took))
        return Progress(booklet, answered + 1)

    def counts(self) -> tuple[int, int, int]:
        """(people who answered something, people who finished, answers)."""
        with self._lock:
            of_each = [n for (n,) in self._base.execute("SELECT count(*) FROM answers GROUP BY rater")]
        return len(of_each), sum(n == self.study.length for n in of_each), sum(of_each)

    def export(self) -> pd.DataFrame:
        """COLUMNS, one row per answer, by rater and position. The secret tokens are left out."""
        with self._lock:
            found = self._base.execute(
                "SELECT rater, booklet, position, choice, milliseconds FROM answers JOIN raters USING (rater)"
                " ORDER BY rater, position"
            ).fetchall()
        table = pd.DataFrame(found, columns=["rater", "booklet", "position", "choice", "milliseconds"])
        table = table.merge(self.study.booklets, on=["booklet", "position"], validate="many_to_one")
        keys = ["pair", *CONDITION_KEYS, "seed", "latent", "rival"]
        table = table.merge(
            self.study.pairs[keys].rename(columns={"rival": "picture"}), on="pair", validate="many_to_one"
        )
        table["rival"] = np.where(table.left == table.picture, LEFT, RIGHT)
        chosen = table.choice == table.rival
        table["won"] = np.where(table.kind == CHECK, ~chosen, chosen).astype(int)
        return table.sort_values(["rater", "position"])[list(COLUMNS)].reset_index(drop=True)


def has_answers(path: Path) -> bool:
    """Whether a file of answers has any. UserError: it is there, but cannot be read."""
    if not path.exists():
        return False
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY)) as base:
            return base.execute("SELECT count(*) FROM answers").fetchone()[0] > 0
    except sqlite3.Error as error:
        raise UserError(f"{path}: cannot be read as a file of answers ({error}); move it away.") from None
