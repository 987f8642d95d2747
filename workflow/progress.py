"""Progress of a workflow: finished jobs, jobs that are left, and an estimate of the time left.

The estimate sums the expected seconds of all unfinished jobs. A job's expected seconds are its forecast
(workflow/estimate.py) times a factor, measured / forecast seconds of the finished jobs of its kind. If
none has finished, the factor is that of all finished jobs, or 1 at the start. A kind without a forecast
takes the mean of its finished jobs; before one has finished it counts 0, and the estimate is a lower
bound. The time left is the sum divided by the number of parallel jobs, and at least the longest job.
Dependencies between jobs are ignored, so the end of a run may take longer than estimated.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from workflow.estimate import minutes

SLOWEST = 5


@dataclass(frozen=True)
class Job:
    """One job of a plan. seconds: its forecast, or None. gpu: number of GPUs that it uses."""

    name: str
    kind: str
    seconds: float | None = None
    gpu: int = 0
    listed: bool = True


@dataclass
class Progress:
    """Jobs by Snakemake's number: waiting, running (with their start), and finished.

    cores, gpus: largest numbers of parallel jobs, and of parallel jobs on GPUs.
    """

    total: int = 0
    cores: float = 1
    gpus: float = 1
    planned: dict[int, Job] = field(default_factory=dict)
    running: dict[int, tuple[Job, float]] = field(default_factory=dict)
    ended: list[tuple[Job, float]] = field(default_factory=list)

    def start(self, number: int, job: Job, now: float) -> None:
        """Record the start of a job; its planned values are kept."""
        self.running[number] = (self.planned.get(number, job), now)

    def stop(self, number: int) -> Job | None:
        """Record the failure of a job: it waits again."""
        return self.running.pop(number, (None, 0))[0]

    def end(self, number: int, now: float) -> tuple[Job, float] | None:
        """Record the success of a job; returns (the job, its seconds), or None if it never started."""
        if number not in self.running:
            return None
        job, start = self.running.pop(number)
        self.planned.pop(number, None)
        self.ended.append((job, max(0.0, now - start)))
        return self.ended[-1]

    def slowest(self) -> list[tuple[Job, float]]:
        """The slowest finished jobs, the slowest first."""
        return sorted(self.ended, key=lambda pair: -pair[1])[:SLOWEST]

    def left(self, now: float) -> tuple[float, bool] | None:
        """(seconds left, whether all jobs are included); None if no job has an estimate."""
        measured, forecast, count = defaultdict(float), defaultdict(float), defaultdict(int)
        for job, seconds in self.ended:
            for kind in (job.kind, None) if job.seconds else (job.kind,):
                measured[kind] += seconds
                forecast[kind] += job.seconds or 0
                count[kind] += 1
        overall = measured[None] / forecast[None] if count[None] else 1.0

        def expected(job):
            if job.seconds is not None:
                return job.seconds * (measured[job.kind] / forecast[job.kind] if forecast[job.kind] else overall)
            return measured[job.kind] / count[job.kind] if count[job.kind] else None

        jobs, seconds = dict(self.planned), []
        jobs.update({number: job for number, (job, _) in self.running.items()})
        for number, job in jobs.items():
            if (whole := expected(job)) is not None:
                elapsed = now - self.running[number][1] if number in self.running else 0
                seconds.append((max(0.0, whole - elapsed), job.gpu))
        if not seconds:
            return None
        cores = sum(part for part, _ in seconds) / max(1, self.cores)
        gpus = sum(part * gpu for part, gpu in seconds) / max(1, self.gpus)
        longest = max(part for part, _ in seconds)
        return max(cores, gpus, longest), len(seconds) == len(jobs)


def left(progress: Progress, now: float) -> str:
    """`about 12 minutes left`; empty if there is no estimate or no job left."""
    estimate = progress.left(now)
    if estimate is None:
        return ""
    seconds, complete = estimate
    if seconds == 0:
        return ""
    if not complete:
        return f"at least {minutes(seconds)} left" if seconds > 45 else ""
    return f"about {minutes(seconds)} left" if seconds > 45 else "less than a minute left"


def took(seconds: float) -> str:
    """`0.4 s`, `31 s`, `2 min 05 s` or `1 h 02 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def job_name(rule: str, wildcards: dict[str, str]) -> str:
    """`adapt dog2cat/nada-adaptive/seed0`: the rule and its wildcards."""
    parts = [f"{key}{value}" if key == "seed" else str(value) for key, value in wildcards.items()]
    return " ".join(filter(None, (rule, "/".join(parts))))
