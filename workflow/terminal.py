"""Terminal output of the workflow: a logger plugin of Snakemake, selected by `workflow.cli`.

It prints one line for each finished job, the last lines of the log of each failed job, and at the end the
slowest jobs and the report's path. Copies of spec files are counted and not listed. A dry run prints the
number of jobs of each rule. `--verbose`, `-p` and `--debug-dag` print Snakemake's own output, which is
always complete in `.snakemake/log`.

`python -m snakemake` does not use this plugin, because Snakemake finds only plugins that are separate
packages.
"""

import contextlib
import signal
import sys
import threading
import time
from pathlib import Path

from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter, is_quiet_about
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

from workflow.estimate import forecast
from workflow.plan.plan import counted
from workflow.progress import Job, Progress, job_name, left, took

NAME = "benchmark"
PLANNED = "benchmark_planned"  # the Snakefile's event with the planned jobs
LAST_LINES = 20  # of a failed job's log
WIDEST = 60  # columns are aligned for job names of up to this many characters
#: Beginnings of Snakemake's messages that are not shown. All other messages are.
SMALL_TALK = (
    *("Building DAG of jobs", "Using shell:", "Select jobs to execute", "host:"),
    *("Assuming unrestricted shared filesystem", "Complete log(s):", "Elapsed time:"),
    *("This was a dry-run", "Some jobs were triggered by provenance", "Rules with provenance triggered"),
    *("Exiting because a job execution failed", "WorkflowError:\nAt least one job did not complete"),
    "RuleException:\nCalledProcessError",  # the failed job's own lines follow
)
INTERRUPTED = "Terminating processes on user request"
# A log's last line after SIGTERM or Ctrl-C (nada/run/errors.py), or after Ctrl-C while a job's modules load.
STOPPED = ("terminated: ", "interrupted: ", "KeyboardInterrupt")
SILENT = (
    *(LogEvent.WORKFLOW_STARTED, LogEvent.RESOURCES_INFO, LogEvent.SHELLCMD, LogEvent.GROUP_INFO),
    *(LogEvent.JOB_STARTED, LogEvent.PROGRESS, LogEvent.RULEGRAPH),
)


#: Set by Ctrl-C, which reaches the jobs as well: Snakemake may report that a job ended before it reacts itself.
CTRL_C = threading.Event()
#: Seconds for which a failure waits for that mark: a job can end before Python has run this process's handler.
PATIENCE = 0.5


def notice_ctrl_c() -> None:
    """Set CTRL_C on Ctrl-C, unless this process ignores it or handles it in another way."""

    def handler(number, frame):
        CTRL_C.set()
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, handler)


def register() -> None:
    """Register the plugin with Snakemake, which finds only packages with a certain prefix by itself."""
    LoggerPluginRegistry().register_plugin(f"snakemake_logger_plugin_{NAME}", sys.modules[__name__])


def is_listed(rule: str, works: bool = True) -> bool:
    """Whether a finished job has a line: not for copies of spec files and rules without a command."""
    return works and not rule.endswith("_spec")


def planned(plan, workflow) -> dict:
    """The content of the log record with the planned jobs, sent before jobs start.

    plan: the project's; workflow: Snakemake's, with its jobs determined.
    """
    jobs = {}
    for job in workflow.dag.needrun_jobs():
        rule, wildcards, works = job.rule.name, job.wildcards_dict, not job.rule.norun
        kind, seconds = forecast(plan, rule, wildcards) if works else (rule, 0.0)
        gpu = job.resources.get("gpu", 0) if works else 0
        jobs[job.jobid] = Job(job_name(rule, wildcards), kind, seconds, gpu, is_listed(rule, works))
    slots = workflow.cores if workflow.local_exec else workflow.nodes
    return {
        "event": PLANNED,
        "planned": jobs,
        "cores": slots or 1,
        "gpus": limit.value if (limit := workflow.global_resources.get("gpu")) else len(jobs),
        "report": f"{plan.results}/report.html",
    }


class Lines:
    """The lines for Snakemake's records, in their order; `of` and `summary` return text, maybe empty.

    quiet: print no line for jobs that succeed.
    """

    def __init__(self, dryrun=False, quiet=False):
        self.dryrun, self.quiet = dryrun, quiet
        self.progress, self.failed, self.report = Progress(), {}, None
        self.other = DefaultFormatter()
        self.began, self.interrupted, self.width = None, False, 0

    def of(self, record) -> str:
        """The text of one record; empty if it is not shown."""
        event = getattr(record, "event", None)
        if event in SILENT:
            return ""
        known = {
            PLANNED: self._planned,
            LogEvent.RUN_INFO: self._jobs,
            LogEvent.JOB_INFO: self._started,
            LogEvent.JOB_FINISHED: self._finished,
            LogEvent.JOB_ERROR: self._failed,
        }
        if event in known:
            return known[event](record)
        text = self.other.format(record)
        self.interrupted = self.interrupted or text.startswith(INTERRUPTED)
        if text == "None" or text.startswith(SMALL_TALK):
            return ""
        return text.replace("(check individual jobs above for details)", "(of each job: --verbose)")

    def summary(self, now: float) -> str:
        """Numbers of jobs, failures, the slowest jobs, the report's path; empty if nothing ran."""
        progress = self.progress
        if self.began is None:
            return ""
        if self.dryrun:
            return "" if self.quiet else "This was a dry run; --verbose lists each job with its reason."
        done = len(progress.ended)
        complete = done == progress.total
        said = [f"{done} of {progress.total} jobs done in {took(now - self.began)}"]
        if self.failed:
            said[0] += f", {len(self.failed)} failed:"
            said += [f"  {name}: {log}" for name, log in self.failed.items()]
        if not complete:
            said.append("The same command resumes from here.")
        slowest = [(job, seconds) for job, seconds in progress.slowest() if job.listed]
        if slowest and not self.quiet:
            said.append("The slowest jobs:")
            said += [f"  {took(seconds):>12}  {job.name}" for job, seconds in slowest]
        if complete and self.report and any(job.kind == "html" for job, _ in progress.ended):
            said.append(f"Report: {self.report}")
        return "\n".join(said)

    def _planned(self, record):
        self.progress.planned = dict(record.planned)
        self.progress.cores, self.progress.gpus = record.cores, record.gpus
        self.report = record.report
        names = [len(job.name) for job in record.planned.values() if job.listed]
        self.width = min(WIDEST, max(names, default=0))
        return ""

    def _jobs(self, record):
        first, self.began = self.began is None, self.began or record.created
        self.progress.total = record.stats["total"]
        if not first:
            return ""
        if self.quiet:
            return ""
        if self.dryrun:
            return str(record.msg).rstrip()
        copies = sum(count for rule, count in record.stats.items() if not is_listed(rule))
        unlisted = f"; {copies} of them copy spec files and are not listed" if copies else ""
        return f"{counted(self.progress.total, 'job')} to do{unlisted}."

    def _started(self, record):
        rule = record.rule_name
        job = Job(job_name(rule, record.wildcards), rule, listed=is_listed(rule, bool(record.shellcmd)))
        self.progress.start(record.jobid, job, record.created)
        return ""

    def _finished(self, record):
        ended = self.progress.end(record.job_id, record.created)
        if ended is not None:
            self.failed.pop(ended[0].name, None)  # a retry succeeded
        if ended is None or not ended[0].listed or self.quiet:
            return ""
        job, seconds = ended
        done, total = len(self.progress.ended), self.progress.total
        count = f"[{done:>{len(str(total))}}/{total}]"
        return f"{count} {job.name:<{self.width}} {took(seconds):>12}   {left(self.progress, record.created)}".rstrip()

    def _failed(self, record):
        job = self.progress.stop(record.jobid)
        name = job.name if job else record.rule_name
        logs = [str(log).split(" (", 1)[0] for log in record.log]
        stopped = any(tail(log, 1)[-1].startswith(STOPPED) for log in logs)
        if self.interrupted or stopped or CTRL_C.wait(PATIENCE):
            return f"interrupted: {name}"
        self.failed[name] = ", ".join(logs) or "it has no log; see above"
        said = [f"FAILED {name}"]
        if record.rule_msg:
            said.append(f"  {record.rule_msg}")
        said += [f"  {key}: {value}" for key, value in (record.aux or {}).items()]
        for log in logs:
            said.append(f"  log: {log}")
            said += [f"    {line}" for line in tail(log)]
        if not logs and record.shellcmd:
            said.append(f"  command: {record.shellcmd.strip()}")
        return "\n".join(said)


def tail(path, count: int = LAST_LINES) -> list[str]:
    """The last lines of a log, which may hold any bytes; one sentence if there are none."""
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 64 * 1024))
            lines = file.read().decode("utf-8", "replace").rstrip().splitlines()
    except OSError:
        return ["(there is no such file)"]
    if len(lines) > count:
        return [f"… the last {count} lines:", *lines[-count:]]
    return lines or ["(it is empty)"]


class LogHandler(LogHandlerBase):
    """The plugin: writes the lines of `Lines` for Snakemake's records to the terminal, a file or a pipe."""

    def __post_init__(self) -> None:
        options = self.common_settings
        self.details = options.verbose or options.printshellcmds or options.debug_dag
        self.screen = ColorizingTextHandler(options.nocolor, sys.stdout if options.stdout else sys.stderr)
        self.screen.setFormatter(DefaultFormatter(options.quiet, options.show_failed_logs))
        flags = (options.debug_dag, options.verbose, options.dryrun, options.printshellcmds)
        self.snakemakes = DefaultFilter(options.quiet, *flags)
        quiet = options.quiet or ()
        self.mute = not options.dryrun and is_quiet_about(quiet, "all")
        quieter = is_quiet_about(quiet, "rules") or is_quiet_about(quiet, "progress")
        self.lines = Lines(options.dryrun, quieter)

    def emit(self, record) -> None:
        if self.details:
            if self.snakemakes.filter(record):
                with contextlib.suppress(BrokenPipeError):  # as in `_write`
                    self.screen.emit(record)
            return
        if not self.mute:
            try:
                text = self.lines.of(record)
                self._write(text and self.screen.decorate(record, text))
            except Exception:  # noqa: BLE001 - a line that fails must not end the run
                self.handleError(record)

    def close(self) -> None:
        """The end of Snakemake, by success, failure or Ctrl-C."""
        if not (self.details or self.mute):
            self._write(self.lines.summary(time.time()))
            self.mute = True
        super().close()

    def _write(self, text) -> None:
        if text:
            encoding = getattr(self.screen.stream, "encoding", None) or "utf-8"
            text = text.encode(encoding, "backslashreplace").decode(encoding)
            try:
                self.screen.stream.write(text + "\n")
                self.screen.stream.flush()
            except (BrokenPipeError, ValueError):  # the reader has ended, as in `snakemake -n | head`
                self.mute = True

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False
