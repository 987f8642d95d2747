"""Names of runs: <task>/<method>-<variant>[-<n>shot][-<warm start>]/seed<k>."""

MODEL = "model.safetensors"  # the file of a run's folder that rules name for the whole artifact
DEFAULT_SHOTS, DEFAULT_WARM_START = 0, "source"


def condition_name(method: str, variant: str, shots: int, warm_start: str) -> str:
    """`<method>-<variant>`, followed by shots and warm start if they are not the default."""
    name = f"{method}-{variant}"
    if shots != DEFAULT_SHOTS:
        name += f"-{shots}shot"
    if warm_start != DEFAULT_WARM_START:
        name += f"-{warm_start}"
    return name


def run_id(task: str, condition: str, seed: int) -> str:
    """The id of one run of a named condition; also its folder below runs/."""
    return f"{task}/{condition}/seed{seed}"
