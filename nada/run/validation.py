"""Write pydantic's first error in a file as one sentence. Needs no torch."""

import re

from pydantic import ValidationError

LONGEST = 60  # characters of a wrong value that a message shows


def sentence(error: ValidationError) -> str:
    """The first mistake that pydantic found: key, value, and what is allowed."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "json_invalid":
        return f"no valid JSON ({first['ctx']['error']}); make it again."
    if first["type"] == "missing":
        return f"the key '{key}' is missing; make it again."
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}'; correct its name, or remove it."
    wanted = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if first["type"] in ("value_error", "assertion_error"):
        return f"{key}: {wanted}." if key else f"{wanted}."
    wanted = re.sub(r"^\w+ should", "it must", wanted).split(" after validation")[0]
    value = repr(first["input"])
    value = value if len(value) <= LONGEST else f"{value[:LONGEST]}…"
    return f"{key or 'the file'} is {value}; {wanted}."
