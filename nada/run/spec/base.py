"""Base of all specs: a frozen, strict record that is written as JSON and read again.

`workflow/plan/specs.py` builds specs from the configuration. A spec holds only what its job uses:
editing anything else does not re-run the job. Needs no torch: the Snakefile imports this module.
"""

import json
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer

from nada.run.errors import UserError
from nada.run.validation import sentence

#: The method's name in the observation of the reference images.
REAL = "real"
#: Controls, which bound every metric: the source model, its few target images, the real images.
SOURCE, REPLAY = "source", "replay"
BOUNDS = (SOURCE, REPLAY, REAL)
#: Columns of scores and tables that name a condition; all seeds of a row share their values.
CONDITION_KEYS = ("task", "method", "variant", "shots", "warm_start")

Name = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Device = Literal["cpu", "cuda"]


class Spec(BaseModel):
    """A frozen record that refuses unknown keys and wrong types; absent keys are not written."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())

    @model_serializer(mode="wrap")
    def _present(self, serialize) -> dict:
        return {key: value for key, value in serialize(self).items() if value is not None}


class Target(NamedTuple):
    """The class or the style that the judge must recognise in an adapted image, by name."""

    kind: Literal["class", "style"]
    name: str


def as_json(spec: Spec) -> str:
    """The text of a spec's file, with keys in the order of declaration; equal specs give equal text."""
    content = spec.model_dump(mode="json")
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def read(cls, path, kind: str):
    """Read a spec. Raises UserError with file, key, value and what is allowed."""
    try:
        text = Path(path).read_bytes()
    except FileNotFoundError:
        rule = kind.replace(" ", "_")
        raise UserError(f"the {kind} {path} is missing; the workflow's rule '{rule}' makes it.") from None
    try:
        return cls.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"the {kind} {path}: {sentence(error)}") from None
