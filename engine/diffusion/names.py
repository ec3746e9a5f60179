"""The names of spacings and solvers.

Apart from the mathematics, so that a command line knows them without NumPy or MLX.
"""

from typing import Literal

Spacing = Literal["leading", "linspace", "trailing", "log_snr", "karras"]
Solver = Literal["ddim", "dpmpp_2m", "euler"]
SPACINGS: tuple[Spacing, ...] = ("leading", "linspace", "trailing", "log_snr", "karras")
SOLVERS: tuple[Solver, ...] = ("ddim", "dpmpp_2m", "euler")
