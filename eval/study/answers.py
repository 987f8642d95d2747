"""People's answers in a SQLite file: each question of each person is answered once, and no answer is lost.

An answer is committed to the disk before the person sees the next question. The first answer to a question
counts: a second one, from a double click, a stale tab or a repeated request, changes nothing. Nothing else about
a person is stored: no name, address, browser or time of day.

`export` writes one row per answer (COLUMNS), with the models of each pair; raters have numbers.
"""

import contextlib
import queue
import secrets
import sqlite3
import threading
from concurrent.futures import Future
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
    """The answers of one study. Safe to use from several threads, and from several processes at once.

    A disk confirms a write in milliseconds, on a busy machine in tens of them. So one thread writes, and it
    commits all changes together that have come in the meantime.
    """

    def __init__(self, study: Study, path: Path | None = None):
        self.study, self.path = study, Path(path or study.folder / ANSWERS)
        self._reading, self._changes = threading.Lock(), queue.SimpleQueue()
        try:
            self._base, self._reader = (
                sqlite3.connect(self.path, timeout=BUSY, isolation_level=None, check_same_thread=False)
                for _ in range(2)
            )
            self._base.execute("PRAGMA journal_mode = WAL")  # reading does not wait for writing
            self._base.execute("PRAGMA synchronous = FULL")  # an answer survives a power cut, too
            self._writer = threading.Thread(target=self._write, name="answers", daemon=True)
            self._writer.start()
            known = self._change(self._prepare).result()
        except sqlite3.Error as error:
            raise UserError(f"{self.path}: cannot be used as the file of answers ({error}).") from None
        if known != study.identity:
            self.close()
            raise UserError(f"{self.path} has answers to another study; give this study a folder of its own.")

    def close(self) -> None:
        """Commit what waits, and close the file."""
        self._changes.put(None)
        self._writer.join()
        self._base.close()
        self._reader.close()

    def _change(self, make) -> Future:
        """The future result of make(base), there once it is committed to the disk."""
        future = Future()
        self._changes.put((make, future))
        return future

    def _write(self) -> None:
        """Commit the changes that wait, all at once, until None is among them."""
        going_on = True
        while going_on:
            batch = [self._changes.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    batch.append(self._changes.get_nowait())
            going_on = None not in batch
            self._commit([change for change in batch if change is not None])

    def _commit(self, batch: list) -> None:
        """Make several changes in one transaction; an error undoes all of them.

        A change that nobody waits for any more is left out; from here on none can be given up.
        """
        batch = [(make, future) for make, future in batch if future.set_running_or_notify_cancel()]
        try:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                results = [make(self._base) for make, _ in batch]
                self._base.execute("COMMIT")
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
        except Exception as error:  # noqa: BLE001 - those who asked get it
            for _, future in batch:
                future.set_exception(error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)

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

    def start(self, token: str | None = None, booklet: int | None = None) -> Future:
        """Register a person; the result is the secret token of their link.

        booklet: default: that with the fewest people, so that all are used equally often. A token that is
        known already keeps its booklet.
        """
        token = token or secrets.token_urlsafe(16)

        def register(base) -> str:
            number = booklet
            if number is None:
                used = dict(base.execute("SELECT booklet, count(*) FROM raters GROUP BY booklet"))
                number = min(range(self.study.booklet_count), key=lambda each: used.get(each, 0))
            base.execute("INSERT INTO raters (token, booklet) VALUES (?, ?) ON CONFLICT DO NOTHING", (token, number))
            return token

        return self._change(register)

    def progress(self, token: str) -> Progress | None:
        """How far the person with a token is; None for an unknown token."""
        with self._reading:
            row = self._reader.execute(PERSON, (token,)).fetchone()
        return None if row is None else Progress(*row[1:])

    def answer(self, token: str, position: int, choice: str, milliseconds: int) -> Future:
        """Store an answer; the result is how far the person is then, None for an unknown token.

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
