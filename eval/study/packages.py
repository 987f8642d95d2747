"""The packages of the extra `study`, which only a preference study needs."""

import contextlib

from nada.run.errors import UserError


@contextlib.contextmanager
def study_packages():
    """Around imports of such packages. UserError: one of them is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f"the package {error.name} is not installed; run: pip install starlette uvicorn statsmodels krippendorff"
        ) from None
