"""Errors of commands: one sentence on stderr and a fixed exit code, without a traceback."""

import errno
import functools
import re
import signal
import sys

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT  # the shell's convention: 128 + signal number
EXIT_TERMINATED = 128 + signal.SIGTERM
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
NO_MEMORY = "DefaultCPUAllocator: can't allocate memory"  # torch's message for the host's memory
# Errors of a path that the user gave: no permission, a read-only disk, a file in place of a folder or a
# folder in place of a file, a name that is too long. A missing file may be our own bug and keeps its
# traceback.
WRONG_PATH = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP),
)


class UserError(Exception):
    """A mistake that the user can correct; the message says what is wrong, where, and what to do."""


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived, for example at a scheduler's time limit; unwinds the stack like Ctrl-C."""


def command(main):
    """Wrap a command line's `main(argv=None)`: returns the exit code instead of raising.

    UserError, a full disk, full memory and an unusable path give 2, Ctrl-C 130, SIGTERM 143, each with
    one line on stderr. Notes of the exception (`add_note`), such as where a run's state lies, are
    part of that line.
    """

    @functools.wraps(main)
    def wrapped(argv=None) -> int:
        previous = signal.signal(signal.SIGTERM, _raise_terminated)
        try:
            return main(argv) or 0
        except UserError as error:
            return _say(EXIT_USER_ERROR, "error", error, str(error))
        except Terminated as error:
            return _say(EXIT_TERMINATED, "terminated", error, "stopped by SIGTERM.")
        except KeyboardInterrupt as error:
            return _say(EXIT_INTERRUPTED, "interrupted", error, "stopped by Ctrl-C.")
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not re.search(NO_MEMORY, str(error)):
                raise
            size = re.search(r"allocate (\d+) bytes", str(error))
            asked = f" for {int(size[1]) / 2**30:.3g} GiB more" if size else ""
            sentence = f"this machine has no memory{asked}; set smaller batches or counts."
            return _say(EXIT_USER_ERROR, "error", error, sentence)
        except OSError as error:
            if error.errno in WRONG_PATH and error.filename:
                path = error.filename2 or error.filename
                sentence = f"{path}: {error.strerror}; correct the path, or the file there."
                return _say(EXIT_USER_ERROR, "error", error, sentence)
            if error.errno not in FULL_DISK:
                raise
            where = f" while writing {error.filename}" if error.filename else ""
            sentence = f"the disk is full{where}; earlier results are untouched: free some space."
            return _say(EXIT_USER_ERROR, "error", error, sentence)
        finally:
            signal.signal(signal.SIGTERM, previous)

    return wrapped


def _raise_terminated(_signal_number, _frame):
    raise Terminated


def _say(code: int, kind: str, error: BaseException, sentence: str) -> int:
    """Print one line; line breaks in the sentence and its notes become blanks."""
    line = " ".join([sentence, *getattr(error, "__notes__", [])])
    line = "".join(c if c.isprintable() else " " for c in line)  # a file's names may hold anything
    print(f"{kind}: {' '.join(line.split())}", file=sys.stderr, flush=True)
    return code
