"""What goes wrong, as exceptions. The command line turns a :class:`GvmError` into one line and exit
status 2."""

from __future__ import annotations


class GvmError(Exception):
    """Anything gvm refuses or cannot do, with a message for people."""


class ProgramError(GvmError):
    """The program or its data is at fault: a positive status of ``gvm.h``, the same on every
    machine."""

    def __init__(self, message: str, status: int = 0, name: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.name = name


class HostError(GvmError):
    """This machine failed: a negative status of ``gvm.h``."""

    def __init__(self, message: str, status: int = 0, name: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.name = name


class ImportModelError(GvmError):
    """A source model cannot be imported; the message lists everything that is missing."""


def from_status(status: int, name: str, message: str) -> GvmError:
    """The exception of a status of the core."""
    return (ProgramError if status > 0 else HostError)(message, status, name)
