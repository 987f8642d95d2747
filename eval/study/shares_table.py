"""The table of what people prefer (`eval.study.shares` writes it): its columns, and reading it."""

import pandas as pd

from nada.run.errors import UserError
from nada.run.spec.base import CONDITION_KEYS

#: Columns. won: share of comparisons won. low, high: its 95 % interval over raters.
RESULT = (*CONDITION_KEYS, "people", "answers", "won", "low", "high")


def read_shares(path) -> pd.DataFrame:
    """RESULT, as `eval.study.shares` wrote it. UserError: no such file, or another one."""
    table = read_table(path, "python -m eval.study.shares makes it")
    if list(table.columns) != list(RESULT):
        raise UserError(f"{path}: not the shares of a study; the columns must be {', '.join(RESULT)}.")
    return table


def read_table(path, maker: str) -> pd.DataFrame:
    """A CSV file. maker: which command makes it, for messages. UserError: no such file, or no table."""
    try:
        return pd.read_csv(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {maker}.") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a table ({error}); {maker}.") from None
