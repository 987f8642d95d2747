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


class _Change:
    """A change that waits for its commit: make(base), then its result or error."""

    def __init__(self, make):
        self.make, self.result, self.error, self.done = make, None, None, False


class AnswerStore:
    """The answers of one study. Safe to use from several threads, and from several processes at once.

    A disk confirms a write in milliseconds, on a busy machine in tens of them. So all changes that wait are
    committed together: the thread that gets the write lock makes those of the others, too.
    """

    def __init__(self, study: Study, path: Path | None = None):
        self.study, self.path = study, Path(path or study.folder / ANSWERS)
        self._writing, self._reading, self._queueing = (threading.Lock() for _ in range(3))
        self._waiting: list[_Change] = []
        try:
            self._base, self._reader = (
                sqlite3.connect(self.path, timeout=BUSY, isolation_level=None, check_same_thread=False)
                for _ in range(2)
            )
            self._base.execute("PRAGMA journal_mode = WAL")  # reading does not wait for writing
            self._base.execute("PRAGMA synchronous = FULL")  # an answer survives a power cut, too
            known = self._change(self._prepare)
        except sqlite3.Error as error:
            raise UserError(f"{self.path}: cannot be used as the file of answers ({error}).") from None
        if known != study.identity:
            raise UserError(f"{self.path} has answers to another study; give this study a folder of its own.")

    def close(self) -> None:
        self._base.close()
        self._reader.close()

    def _prepare(self, base) -> str:
        """Make the tables; return the identity of the study that the file belongs to."""
        for statement in SCHEMA.split(";"):
            base.execute(statement)
        if base.execute("SELECT count(*) FROM study").fetchone()[0] == 0:
            base.execute("INSERT INTO study VALUES (?)", (self.study.identity,))
        if base.execute("SELECT count(*) FROM answers").fetchone()[0] == 0:  # of a study made anew
            base.execute("DELETE FROM raters WHERE (SELECT identity FROM study) != ?", (self.study.identity,))
            base.execute("UPDATE study SET identity = ?", (self.study.identity,))
        return base.execute("SELECT identity FROM study").fetchone()[0]

    def _change(self, make):
        """The result of make(base), committed to the disk; an error undoes all changes made with it."""
        change = _Change(make)
        with self._queueing:
            self._waiting.append(change)
        with self._writing:
            if not change.done:
                with self._queueing:
                    batch, self._waiting = self._waiting, []
                self._commit(batch)
        if change.error is not None:
            raise change.error
        return change.result

    def _commit(self, batch: list["_Change"]) -> None:
        """Make several changes in one transaction."""
        try:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                for change in batch:
                    change.result = change.make(self._base)
                self._base.execute("COMMIT")
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
        except Exception as error:
            for change in batch:
                change.error = error
        finally:
            for change in batch:
                change.done = True

    def start(self, token: str | None = None, booklet: int | None = None) -> str:
        """Register a person and return the secret token of their link.

        booklet: default: that with the fewest people, so that all are used equally often. A token that is
        known already keeps its booklet.
        """
        token = token or secrets.token_urlsafe(16)

        def register(base) -> None:
            number = booklet
            if number is None:
                used = dict(base.execute("SELECT booklet, count(*) FROM raters GROUP BY booklet"))
                number = min(range(self.study.booklet_count), key=lambda each: used.get(each, 0))
            base.execute("INSERT INTO raters (token, booklet) VALUES (?, ?) ON CONFLICT DO NOTHING", (token, number))

        self._change(register)
        return token

    def progress(self, token: str) -> Progress | None:
        """How far the person with a token is; None for an unknown token."""
        with self._reading:
            row = self._reader.execute(PERSON, (token,)).fetchone()
        return None if row is None else Progress(*row[1:])

    def answer(self, token: str, position: int, choice: str, milliseconds: int) -> Progress | None:
        """Store an answer, and return how far the person is then; None for an unknown token.

        Only the next unanswered question takes an answer; any other position changes nothing.
        """
        return self._change(lambda base: self._store(base, token, position, choice, milliseconds))

    def _store(self, base, token, position, choice, milliseconds) -> Progress | None:
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
        with self._reading:
            of_each = [n for (n,) in self._reader.execute("SELECT count(*) FROM answers GROUP BY rater")]
        return len(of_each), sum(n == self.study.length for n in of_each), sum(of_each)

    def export(self) -> pd.DataFrame:
        """COLUMNS, one row per answer, by rater and position. The secret tokens are left out."""
        with self._reading:
            found = self._reader.execute(
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
