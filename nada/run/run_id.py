"""How a run is named: <task>/<method>-<variant>[-<n>shot][-<warm start>]/seed<k>."""

MODEL = "model.safetensors"  # the file of a run's folder that stands for all of its artifact
DEFAULT_SHOTS, DEFAULT_WARM_START = 0, "source"


def condition_name(method: str, variant: str, shots: int, warm_start: str) -> str:
    """`<method>-<variant>`; shots and warm start follow where they are not the default."""
    name = f"{method}-{variant}"
    if shots != DEFAULT_SHOTS:
        name += f"-{shots}shot"
    if warm_start != DEFAULT_WARM_START:
        name += f"-{warm_start}"
    return name


def run_id(task: str, setting: str, seed: int) -> str:
    """The id of one run of a named setting: also its folder below runs/."""
    return f"{task}/{setting}/seed{seed}"
