"""Every error that diffopt raises on purpose. Used by all rooms; imports nothing.

The tree::

    DiffoptError                 a person can act on the message; it names the file and the key
    ├── UserError                the user's mistake: exit code 2
    │   ├── ConfigError          a setting is wrong, unknown or contradicts another
    │   ├── CheckpointError      a model folder is missing, damaged, unsafe or not supported
    │   │   └── UnsupportedError it is whole, and of a kind that is not supported
    │   ├── DataError            training data or conditions cannot be used
    │   └── RunError             a run folder cannot be made, found, owned or understood
    ├── OutputError              standard output cannot be written: exit code 1
    ├── DiskFull                 there is no room for a file that is needed; nothing was lost
    ├── TrainingError            training diverged and every bounded remedy was tried: exit code 1
    └── Cancelled                the user asked the run to stop: exit code 130

A message says what was found, what was wanted and what to do. ``assert`` is only for what we
ourselves promise.
"""


class DiffoptError(Exception):
    """Base of all errors with a message meant for a person."""

    exit_code = 1


class UserError(DiffoptError):
    """Something the user gave is wrong; nothing was changed."""

    exit_code = 2


class ConfigError(UserError):
    """A setting is wrong, unknown, or contradicts another."""


class CheckpointError(UserError):
    """A model folder is missing, damaged, unsafe, or of a kind that is not supported."""


class UnsupportedError(CheckpointError):
    """A model whose settings ask for what is not supported; the message names the key."""


class DataError(UserError):
    """Training data, noise or conditions cannot be used."""


SENSELESS = (ValueError, ArithmeticError, TypeError, LookupError, AttributeError)
"""What Python raises where a state is made of a journal's values that mean nothing."""


class RunError(UserError):
    """A run folder cannot be made, found, owned or understood."""


class OutputError(DiffoptError):
    """Standard output cannot be written; what was done is done."""


class DiskFull(DiffoptError):
    """There is less room on the disk than the next file needs; nothing was lost."""


class TrainingError(DiffoptError):
    """Training diverged, and every bounded remedy was tried."""


class Cancelled(DiffoptError):
    """The user asked the run to stop."""

    exit_code = 130
