"""The files of a figure: its picture in three formats, and what it draws as a table.

The same data give the same bytes: the files hold no date and no random ids.
"""

import pandas as pd

from nada.run.atomic import atomic_path

#: Pixels per inch of the PNG.
DPI = 110
#: Endings of the pictures of a figure, and what keeps their bytes free of dates.
UNDATED = {
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".png": {"Software": None},
}
ENDINGS = (*UNDATED, ".csv")
#: Decimals of the numbers in the .csv file.
DIGITS = 6


def save(figure, data: pd.DataFrame, prefix: str, dpi: int = DPI) -> None:
    """Write PREFIX.svg, .pdf, .png and .csv, atomically. dpi: pixels per inch of the picture."""
    from matplotlib import pyplot as plt

    for ending, about in UNDATED.items():
        with atomic_path(prefix + ending) as temporary:
            figure.savefig(temporary, format=ending[1:], dpi=dpi, metadata=about)
    plt.close(figure)
    with atomic_path(prefix + ".csv") as temporary:
        data.round(DIGITS).to_csv(temporary, index=False, lineterminator="\n")
    print(f"wrote {prefix}.svg, .pdf, .png and .csv: {len(data)} rows")
