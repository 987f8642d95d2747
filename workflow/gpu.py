"""Lease one CUDA card for a command: `python -m workflow.gpu -- CMD ...`.

Snakemake counts GPUs but does not assign them, so all jobs on one node would use card 0. A lease is an
exclusive `flock` on a file per card; the kernel frees it when the process ends for any reason. The
locks are in a node-local folder, because `flock` is not reliable on NFS.
"""

import argparse
import fcntl
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

POLL_SECONDS = 0.5  # between two attempts of a waiting job to lock a card
NO_CARD = (
    "the device is 'cuda', but no CUDA card is visible here (nvidia-smi finds none, or "
    "CUDA_VISIBLE_DEVICES is empty); run on a machine with a card, or set the device to 'cpu'."
)


def visible_cards(environ=os.environ):
    """List the cards this process may use, by their names in CUDA_VISIBLE_DEVICES.

    CUDA_VISIBLE_DEVICES (set by a scheduler or the user) is the list if it is set; otherwise
    `nvidia-smi` lists the cards. Returns a list of unique strings, empty if there is no card. As in CUDA
    itself, a mask ends at its first invalid entry.
    """
    mask = environ.get("CUDA_VISIBLE_DEVICES")
    if mask is not None:
        cards = (card.strip() for card in mask.split(","))
        return list(dict.fromkeys(itertools.takewhile(lambda card: card not in ("", "-1"), cards)))
    try:
        query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        answer = subprocess.run(query, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return answer.stdout.split()


def missing_card(workflow, environ=os.environ):
    """Whether a Snakemake workflow is about to start a job here that needs a card, without one.

    False for a dry run and for an executor that runs jobs elsewhere: any machine can plan for a
    cluster. False also if no job asks for a card (assets, references).
    """
    if not workflow.is_main_process or not workflow.local_exec or workflow.touch or workflow.dryrun:
        return False
    asks = any(job.resources.get("gpu") for job in workflow.dag.needrun_jobs())
    return asks and not visible_cards(environ)


def lease(cards, folder, poll=POLL_SECONDS):
    """Wait for a free card of `cards` and lock it; returns (card, file descriptor).

    `folder` has one lock file per card and is made if missing. The lease lasts as long as the
    descriptor is open, in this process or in one that inherited it.
    """
    if not cards:
        raise ValueError("no card to lease")
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        for card in cards:
            path = folder / f"{card.replace('/', '_')}.lock"
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            return card, lock
        time.sleep(poll)


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m workflow.gpu", description=__doc__)
    # One folder per user: another user's lock files could not be opened for writing.
    default = Path(tempfile.gettempdir()) / f"stylegan-nada-benchmark-cards-{os.getuid()}"
    parser.add_argument("--locks", type=Path, default=default, help="node-local lock folder")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD")
    args = parser.parse_args(argv)
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        parser.error("nothing to run: python -m workflow.gpu -- CMD ...")
    cards = visible_cards()
    if not cards:
        print(f"error: {NO_CARD}", file=sys.stderr)
        return 2
    card, lock = lease(cards, args.locks)
    # The command inherits the descriptor, so the lease ends exactly when the command does.
    os.set_inheritable(lock, True)
    # Number cards as nvidia-smi does; by default CUDA puts the fastest card first.
    environ = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **os.environ, "CUDA_VISIBLE_DEVICES": card}
    print(f"card {card} leased of {len(cards)} ({', '.join(cards)})", flush=True)
    try:
        os.execvpe(command[0], command, environ)
    except OSError as error:
        print(f"error: cannot run {command[0]!r}: {error.strerror}.", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main())
