"""What reading a run may raise: its journal and folder are others' to write and to damage."""

from engine.errors import DiffoptError

BROKEN = (
    DiffoptError, OSError, ValueError, ArithmeticError, TypeError, LookupError, AttributeError,
)  # fmt: skip
