"""What a command answers to a mistake, a full disk, Ctrl-C and SIGTERM."""

import errno
import os
import signal

import pytest

from nada.run.errors import UserError, command


def run(failure, note=None):
    @command
    def main(argv=None):
        if note:
            failure.add_note(note)
        raise failure

    return main([])


def test_a_user_s_mistake_is_one_line_on_stderr_and_exit_code_2(capsys):
    assert run(UserError("k is 20;\nset it to 1..9.")) == 2
    assert capsys.readouterr().err == "error: k is 20; set it to 1..9.\n"


def test_success_is_exit_code_0():
    assert command(lambda argv=None: None)([]) == 0


def test_a_full_disk_is_one_line_that_names_the_file(capsys):
    full = OSError(errno.ENOSPC, "No space left on device", "out/model.safetensors")
    assert run(full) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "Traceback" not in message
    assert "disk is full while writing out/model.safetensors" in message


def test_other_errors_of_the_system_are_not_hidden():
    with pytest.raises(PermissionError):
        run(PermissionError(errno.EACCES, "Permission denied"))


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EISDIR])
def test_a_path_that_cannot_serve_is_one_line_that_names_it(capsys, code):
    assert run(OSError(code, os.strerror(code), "out/index.json")) == 2
    expected = f"error: out/index.json: {os.strerror(code)}; correct the path, or the file there.\n"
    assert capsys.readouterr().err == expected


def test_ctrl_c_is_exit_code_130_with_the_note_on_the_training_state(capsys):
    assert run(KeyboardInterrupt(), "Training state lies in state/abc.") == 130
    expected = "interrupted: stopped by Ctrl-C. Training state lies in state/abc.\n"
    assert capsys.readouterr().err == expected


def test_sigterm_is_exit_code_143_and_its_former_handler_comes_back(capsys):
    before = signal.getsignal(signal.SIGTERM)

    @command
    def main(argv=None):
        os.kill(os.getpid(), signal.SIGTERM)

    assert main([]) == 143
    assert capsys.readouterr().err == "terminated: stopped by SIGTERM.\n"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "error: this machine has no memory; set smaller"),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
                "you tried to allocate 2147483648 bytes. Error code 12 (Cannot allocate memory)"
            ),
            "error: this machine has no memory for 2 GiB more; set smaller batches or counts.",
        ),
    ],
)
def test_a_host_without_memory_is_one_line(capsys, error, said):
    @command
    def main(argv=None):
        raise error

    assert main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)


def test_another_error_of_torch_keeps_its_traceback():
    @command
    def main(argv=None):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        main()
