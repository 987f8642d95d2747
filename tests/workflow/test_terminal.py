"""What a run prints: a line for each job that ends, the time left, the end of a failed job's log."""

import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from tests.workflow.conftest import quick_copy
from workflow import terminal
from workflow.estimate import forecast
from workflow.progress import Job, Progress, job_name, left, took
from workflow.terminal import PLANNED, Lines, LogHandler, tail


def record(event, created=0.0, msg=None, **content):
    """A log record as Snakemake makes it."""
    return logging.makeLogRecord({"event": event, "created": created, "msg": msg, "levelno": 20, **content})


def started(number, rule="adapt", at=0.0, **wildcards):
    return record(
        LogEvent.JOB_INFO, at, jobid=number, rule_name=rule, wildcards=wildcards, shellcmd="python …"
    )


def finished(number, at):
    return record(LogEvent.JOB_FINISHED, at, job_id=number)


def failed(number, log, at=5.0, message=None):
    content = {"rule_name": "observe", "rule_msg": message, "log": log, "aux": {}, "shellcmd": "python …"}
    return record(LogEvent.JOB_ERROR, at, jobid=number, **content)


def begun(jobs, cores=1, gpus=1, **kind):
    """The lines of a run that is about to start {number: Job}."""
    lines = Lines(**kind)
    lines.of(record(LogEvent.RUN_INFO, stats={"adapt": len(jobs), "total": len(jobs)}))
    lines.of(record(PLANNED, planned=jobs, cores=cores, gpus=gpus, report="results/mini/report.html"))
    return lines


def test_a_job_that_ends_says_what_how_long_how_many_and_what_is_left():
    lines = begun({n: Job(f"adapt dog2cat/nada-adaptive/seed{n}", "adapt nada", 60) for n in range(20)})
    assert lines.of(started(3)) == ""
    said = lines.of(finished(3, 31.0))
    assert said.startswith("[ 1/20] adapt dog2cat/nada-adaptive/seed3 ")
    assert said.endswith("   31 s   about 10 minutes left")  # 19 times 31 s


def test_copies_and_collecting_rules_are_counted_and_not_listed():
    jobs = {0: Job("run_spec a", "run_spec", 0.0, listed=False), 1: Job("all", "all", 0.0, listed=False)}
    lines = begun(jobs)
    lines.of(started(0, "run_spec"))
    lines.of(started(1, "all"))
    assert lines.of(finished(0, 0.1)) == lines.of(finished(1, 0.2)) == ""
    assert lines.summary(0.2).startswith("2 of 2 jobs done")


def test_without_a_plan_jobs_are_counted_and_no_time_is_guessed():
    """`--no-hooks`: the Snakefile tells nothing."""
    lines = Lines()
    lines.of(record(LogEvent.RUN_INFO, stats={"adapt": 2, "total": 2}))
    lines.of(started(0, task="a", seed="1"))
    assert lines.of(finished(0, 2.0)).split() == ["[1/2]", "adapt", "a/seed1", "2.0", "s"]


def test_the_start_says_how_many_jobs_there_are_and_how_many_are_copies():
    said = Lines().of(record(LogEvent.RUN_INFO, stats={"adapt": 3, "run_spec": 3, "total": 6}))
    assert said == "6 jobs to do; 3 of them copy spec files and are not listed."
    assert Lines().of(record(LogEvent.RUN_INFO, stats={"adapt": 1, "total": 1})) == "1 job to do."


def test_a_failed_job_says_which_and_where_its_log_is_and_how_it_ends(tmp_path):
    log = tmp_path / "job.log"
    log.write_bytes(b"\n".join([b"line %d" % n for n in range(40)] + [b"error: \xff too large"]))
    lines = begun({0: Job("observe dog2cat/real", "observe", 1)})
    lines.of(started(0, "observe"))
    said = lines.of(failed(0, [f"{log} (check)"], message="exit code 2")).splitlines()
    assert said[:3] == ["FAILED observe dog2cat/real", "  exit code 2", f"  log: {log}"]
    assert said[-1] == "    error: � too large" and len(said) == 4 + 20
    assert f"1 failed:\n  observe dog2cat/real: {log}\nThe same command resumes" in lines.summary(9.0)


def test_a_failed_job_without_a_log_shows_its_command():
    lines = begun({0: Job("asset clip", "asset", 1)})
    lines.of(started(0, "asset"))
    assert lines.of(failed(0, [])).splitlines()[-1] == "  command: python …"


def test_a_failed_job_that_succeeds_when_tried_again_has_not_failed():
    lines = begun({0: Job("adapt a", "adapt", 1)})
    for end in (failed(0, ["a.log"]), finished(0, 6.0)):
        lines.of(started(0))
        assert lines.of(end)
    assert lines.summary(7.0).startswith("1 of 1 jobs done in 7.0 s\nThe slowest")


def test_jobs_that_the_user_stops_are_not_called_failed():
    lines = begun({0: Job("adapt a", "adapt", 1)})
    lines.of(started(0))
    assert lines.of(record(None, msg="Terminating processes on user request, this might …"))
    assert lines.of(failed(0, ["a.log"])) == "interrupted: adapt a"
    assert lines.summary(7.0) == "0 of 1 jobs done in 7.0 s\nThe same command resumes from here."


def test_a_job_that_ends_by_ctrl_c_before_snakemake_reacts_is_not_called_failed(monkeypatch):
    """Ctrl-C reaches jobs and Snakemake at once; the handler sets the mark and then interrupts as usual."""
    monkeypatch.setattr(terminal, "CTRL_C", threading.Event())
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        terminal.notice_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, previous)
    lines = begun({0: Job("adapt a", "adapt", 1)})
    lines.of(started(0))
    assert lines.of(failed(0, ["a.log"])) == "interrupted: adapt a"


def test_a_failure_waits_a_moment_for_ctrl_c_that_reached_the_job_first(monkeypatch):
    """On a busy machine the job's end is known before Python has run the handler of this process."""
    monkeypatch.setattr(terminal, "CTRL_C", threading.Event())
    lines = begun({0: Job("adapt a", "adapt", 1)})
    lines.of(started(0))
    late = threading.Timer(terminal.PATIENCE / 10, terminal.CTRL_C.set)
    late.start()
    assert lines.of(failed(0, ["a.log"])) == "interrupted: adapt a"
    late.join()


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it():
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        terminal.notice_ctrl_c()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)


@pytest.mark.parametrize(
    "last",
    ["terminated: stopped by SIGTERM.", "interrupted: stopped by Ctrl-C. Its state", "KeyboardInterrupt"],
)
def test_a_job_that_a_signal_stopped_is_not_called_failed(tmp_path, last):
    log = tmp_path / "job.log"
    log.write_text(f"step 3\n{last}\n")
    lines = begun({0: Job("adapt a", "adapt", 1)})
    lines.of(started(0))
    assert lines.of(failed(0, [f"{log} (check)"])) == "interrupted: adapt a"
    assert lines.summary(7.0) == "0 of 1 jobs done in 7.0 s\nThe same command resumes from here."


@pytest.mark.parametrize(("content", "said"), [(None, "(there is no such file)"), ("", "(it is empty)")])
def test_a_log_without_lines_says_so(tmp_path, content, said):
    log = tmp_path / "job.log"
    if content is not None:
        log.write_text(content)
    assert tail(log) == [said]


def test_the_end_names_the_five_slowest_jobs_and_the_report():
    jobs = {n: Job(f"adapt seed{n}", "adapt", 1) for n in range(7)} | {7: Job("html", "html", 1)}
    lines = begun(jobs)
    for number in jobs:
        lines.of(started(number))
        lines.of(finished(number, at=10.0 * number))
    said = lines.summary(100.0).splitlines()
    assert said[:2] == ["8 of 8 jobs done in 1 min 40 s", "The slowest jobs:"]
    assert said[2:7] == [
        *("    1 min 10 s  html", "    1 min 00 s  adapt seed6", "          50 s  adapt seed5"),
        *("          40 s  adapt seed4", "          30 s  adapt seed3"),
    ]
    assert said[7:] == ["Report: results/mini/report.html"]


def test_what_is_not_known_to_be_small_talk_is_shown():
    lines = Lines()
    assert lines.of(record(None, msg="Select jobs to execute...")) == ""
    assert lines.of(record(LogEvent.PROGRESS, done=1, total=2)) == ""
    for said in ("Trying to restart job 3.", "Nothing to be done (all requested files are present)."):
        assert lines.of(record(None, msg=said)) == said
    error = "WorkflowError:\nFailed to open a file"
    assert lines.of(record(LogEvent.ERROR, msg=error)) == error


def test_a_dry_run_prints_its_table_once_and_no_jobs():
    lines = Lines(dryrun=True)
    table = record(LogEvent.RUN_INFO, msg="Job stats:\nadapt 2\ntotal 2\n", stats={"adapt": 2, "total": 2})
    assert lines.of(table) == "Job stats:\nadapt 2\ntotal 2"
    assert lines.of(started(0)) == lines.of(table) == ""
    assert lines.summary(1.0) == "This was a dry run; --verbose lists each job with its reason."


def test_a_quiet_dry_run_prints_no_table():
    lines = Lines(dryrun=True, quiet=True)
    assert lines.of(record(LogEvent.RUN_INFO, msg="Job stats:\n", stats={"adapt": 2, "total": 2})) == ""
    assert lines.summary(1.0) == ""


def test_quiet_keeps_failures_and_the_end():
    lines = begun({0: Job("adapt a", "adapt", 1), 1: Job("adapt b", "adapt", 1)}, quiet=True)
    lines.of(started(0))
    lines.of(started(1))
    assert lines.of(finished(0, 1.0)) == ""
    assert lines.of(failed(1, ["none.log"])).startswith("FAILED adapt b")
    assert lines.summary(2.0).splitlines()[0] == "1 of 2 jobs done in 2.0 s, 1 failed:"


def test_a_terminal_without_unicode_and_a_closed_pipe_end_nothing(monkeypatch):
    settings = SimpleNamespace(
        verbose=False, printshellcmds=False, debug_dag=False, dryrun=True, nocolor=True, quiet=None,
        stdout=True, show_failed_logs=False,
    )  # fmt: skip
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    handler = LogHandler(settings, None)
    handler.handle(record(None, msg="caf\u00e9"))
    assert screen.buffer.getvalue() == b"caf\\xe9\n"
    screen.close()
    handler.handle(record(None, msg="nobody reads this"))
    handler.close()


# ---- the estimate of the time left


def of(*jobs, **slots):
    return Progress(len(jobs), planned=dict(enumerate(jobs)), **slots)


def test_before_a_job_has_ended_the_forecast_counts():
    assert of(Job("a", "adapt", 60), Job("b", "score", 20)).left(0) == (80, True)


def test_jobs_of_a_kind_take_what_those_that_ended_took_and_others_are_scaled_alike():
    progress = of(Job("a", "adapt", 60), Job("b", "adapt", 120), Job("c", "observe", 10))
    progress.start(0, progress.planned[0], 0)
    progress.end(0, 30)  # half of its forecast
    assert progress.left(30) == (60 + 5, True)


def test_a_running_job_counts_what_is_left_of_it_and_never_less_than_nothing():
    progress = of(Job("a", "adapt", 60), Job("b", "score", 20))
    progress.start(0, progress.planned[0], 0)
    assert progress.left(50) == (10 + 20, True)
    assert progress.left(500) == (20, True)


def test_a_failed_job_is_left_to_be_done():
    progress = of(Job("a", "adapt", 60))
    progress.start(0, progress.planned[0], 0)
    progress.stop(0)
    assert progress.left(50) == (60, True)


def test_jobs_share_the_cores_and_the_cards_and_the_longest_is_a_bound():
    jobs = [Job("a", "adapt", 60, gpu=1) for _ in range(6)] + [Job("b", "score", 20)]
    assert of(*jobs, cores=4, gpus=2).left(0) == (180, True)  # of the cards
    assert of(*jobs, cores=4, gpus=6).left(0) == (95, True)  # of the cores
    assert of(*jobs, cores=100, gpus=100).left(0) == (60, True)


def test_kinds_that_nobody_measured_make_the_estimate_a_lower_bound():
    progress = of(Job("a", "adapt"), Job("b", "adapt"), Job("c", "score"))
    assert left(progress, 0) == ""
    progress.start(0, progress.planned[0], 0)
    progress.end(0, 120)
    assert progress.left(120) == (120, False)
    assert left(progress, 120) == "at least 2 minutes left"


def test_copies_cost_nothing_and_do_not_scale_the_others():
    progress = of(Job("a", "run_spec", 0.0), Job("b", "adapt", 60))
    progress.start(0, progress.planned[0], 0)
    progress.end(0, 7)
    assert progress.left(7) == (60, True)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.44, "0.4 s"), (31.4, "31 s"), (125, "2 min 05 s"), (3725, "1 h 02 min")]
)
def test_a_duration_reads_as_people_say_it(seconds, said):
    assert took(seconds) == said


def test_a_job_is_named_for_its_rule_and_what_it_is_for():
    run = {"task": "dog2cat", "condition": "nada-adaptive", "seed": "0"}
    assert job_name("adapt", run) == "adapt dog2cat/nada-adaptive/seed0"
    assert job_name("scores", {}) == "scores"


def test_the_forecast_of_a_run_is_its_steps_and_of_an_observation_its_images(default):
    known = default.world["seconds"]
    run = {"task": "dog2cat", "condition": "nada-adaptive"}
    kind, seconds = forecast(default, "adapt", {**run, "seed": "0"})
    assert kind == "adapt nada" and seconds > known["start"]
    assert forecast(default, "adapt", {**run, "condition": "nada-mapper", "seed": "0"})[0] == "adapt nada mapper"
    seeds = forecast(default, "observe", run)[1] - known["start"]
    reals = forecast(default, "observe", {**run, "condition": "real"})[1] - known["start"]
    assert seeds == pytest.approx(2 * reals) and reals > 0
    assert forecast(default, "run_spec", run) == ("run_spec", 0.0)
    assert forecast(default, "table", {"group": "ablation"}) == ("table", known["start"])


# ---- the whole: a copy of the project whose jobs end at once


@pytest.fixture(scope="module")
def quick(root, tmp_path_factory, snakemake):
    """A copy in which nothing has run yet, with quick jobs."""
    return quick_copy(root, tmp_path_factory.mktemp("quick"), snakemake)


def test_a_run_prints_a_line_for_each_job_and_a_failed_run_why(quick):
    def typed(*words):
        return quick.snakemake("ablation_global", "--cores", "2", *words, cwd=quick.folder, entry=True)

    plan = typed("-n")
    assert plan.returncode == 0 and "jobid" not in plan.stdout
    assert {line.split()[0] for line in plan.stdout.splitlines()} >= {"adapt", "observe", "total"}

    def broken(text):
        fails = '    if "observe" in sys.argv[0]:\n        sys.exit("error: no card is free")\n'
        return text.replace("def run():\n", f"def run():\n{fails}")

    with quick.edited("quick_job.py", broken):
        done = typed("--keep-going")
    assert done.returncode == 1
    assert "FAILED observe dog2cat/real\n" in done.stdout
    assert "    error: no card is free\n" in done.stdout and ", 2 failed:\n" in done.stdout

    done = typed()
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    listed = [line for line in lines if line.startswith("[")]
    assert len(listed) == 7  # two observations, score, table, grid, training curves, losses
    assert "reason" not in done.stdout and "_spec" not in done.stdout
    assert len(lines) < len(listed) + 14
    assert any(line.startswith("8 of 8 jobs done") for line in lines)  # and the target itself

    details = typed("-n", "--verbose", "-R", "observe").stdout
    assert "reason: Forced execution" in details and "jobid:" in details


def heed_ctrl_c():
    """A job in the background of a shell ignores Ctrl-C, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupted_run_says_what_is_done_and_that_it_goes_on(quick):
    def slow(text):
        return text.replace("def run():\n", "def run():\n    __import__('time').sleep(60)\n")

    with quick.edited("quick_job.py", slow):
        command = [sys.executable, "-m", "workflow.cli", "k_sweep_adaptive", "--cores", "2"]
        run = subprocess.Popen(
            command, cwd=quick.folder, start_new_session=True, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=heed_ctrl_c,  # noqa: PLW1509 (this process has no other threads)
        )  # fmt: skip
        said = [run.stdout.readline()]
        while "jobs to do" not in said[-1] and said[-1]:
            said.append(run.stdout.readline())
        logs = quick.folder / "results/mini/logs/runs/dog2cat/nada-adaptive/seed0.log"
        while run.poll() is None and not logs.exists():
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)
        said += run.communicate(timeout=120)[0].splitlines()
    assert run.returncode == 1
    assert "FAILED" not in "\n".join(said)
    assert "The same command resumes from here." in said
