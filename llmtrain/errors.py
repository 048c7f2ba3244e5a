"""Every error that a user can meet. Each says place, value and remedy; the command line prints it without a traceback.

LlmtrainError                exit 1
|- UsageError                exit 2   the command line, configuration or input is wrong; nothing was computed
|  |- ConfigError                     a key, type, range or combination
|  |- DataError                       a file, column or row
|  `- InitError                       a run, checkpoint, tokenizer or model that is not there or does not fit
|- RunError                  exit 1   a run directory that cannot be used
|  |- LockedError            exit 73  another process writes there
|  `- CheckpointError        exit 1   no checkpoint passes verification
|- TrainingError             exit 1   the run stopped itself: non-finite numbers, a broken invariant
`- StoreError                exit 1   the database of votes cannot be used
Interrupted (BaseException)  exit 130/143   a signal, after the state was saved
"""


class LlmtrainError(Exception):
    """Base of all errors that are shown as one message."""

    exit_code = 1


class UsageError(LlmtrainError):
    """Wrong input, found before any compute."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration key, type, range or combination is wrong."""


class DataError(UsageError):
    """A data file, column or row is wrong."""


class InitError(UsageError):
    """`init` names something that is not there or does not fit."""


class RunError(LlmtrainError):
    """A run directory that cannot be used."""


class LockedError(RunError):
    """Another process writes into the run directory."""

    exit_code = 73


class CheckpointError(RunError):
    """No checkpoint passes verification."""


class TrainingError(LlmtrainError):
    """The run stopped itself: non-finite numbers or a broken invariant."""


class StoreError(LlmtrainError):
    """The database of votes cannot be opened, read or written."""


class Interrupted(BaseException):
    """A signal asked the program to end; what it had was saved. Not an Exception, so no handler swallows it."""

    def __init__(self, signal_number: int, message: str = ""):
        super().__init__(message or f"interrupted by signal {signal_number}")
        self.signal, self.exit_code = signal_number, 128 + signal_number
