"""StudySpec: which models' pictures people compare, and how many; `eval.study.prepare` reads it."""

from pydantic import Field, model_validator

from nada.run.run_id import DEFAULT_SHOTS, DEFAULT_WARM_START
from nada.run.spec.base import CONDITION_KEYS, Count, Name, Spec, read
from nada.run.spec.group_spec import ModelSpec


class ShownModel(Spec):
    """One condition whose pictures are shown. observation: the file that holds them."""

    task: Name
    method: Name
    variant: Name
    shots: int = Field(DEFAULT_SHOTS, ge=0)
    warm_start: Name = DEFAULT_WARM_START
    observation: Name

    @property
    def condition(self) -> tuple:
        """The values of CONDITION_KEYS."""
        return tuple(getattr(self, key) for key in CONDITION_KEYS)


class StudySpec(Spec):
    """A two-alternative forced choice between one model, `preferred`, and each other one (§5.3).

    questions: task → what people are asked. rows: the models, the preferred one included. pairs: of
    each other model and task; per_rater: how many of them one person sees, a divisor of `pairs`.
    repeats: pairs that a person sees twice. checks: pairs of a picture and its scrambled copy.
    seed: of latent codes, sides and order. consent: the sentence above the button that starts.
    """

    world: Name
    group: Name
    questions: dict[str, Name]
    preferred: ModelSpec
    rows: tuple[ShownModel, ...] = Field(min_length=2)
    pairs: Count
    per_rater: Count
    repeats: int = Field(ge=0)
    checks: int = Field(ge=0)
    seed: int = Field(0, ge=0)
    consent: Name

    @model_validator(mode="after")
    def _consistent(self):
        if unknown := [row.task for row in self.rows if row.task not in self.questions]:
            raise ValueError(f"'rows' names the task '{unknown[0]}', which has no question")
        if self.preferred.condition not in [row.condition[1:] for row in self.rows]:
            raise ValueError("'preferred' names a model that 'rows' do not show")
        if self.pairs % self.per_rater:
            raise ValueError(f"'pairs' is {self.pairs}, no multiple of 'per_rater', {self.per_rater}")
        return self


def read_study_spec(path) -> StudySpec:
    """Read a study spec. UserError: see `nada.run.spec.base.read`."""
    return read(StudySpec, path, "study spec")
