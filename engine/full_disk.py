"""A full disk: what could not be written waits until there is room, and the run says so. No MLX.

Used by `control`, which obeys commands meanwhile.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from engine.errors import DiskFull
from engine.files import is_no_room
from engine.run import JournalFull, JournalWriter, RunFolder, free_bytes
from engine.run.events import Continued, DiskLow, Event, Paused

Result = TypeVar("Result")

_FIRST_WAIT_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 4.0  # between two tries: each may gather all weights
_NEEDED_BYTES = 2 << 20


def full_disk(run: RunFolder, refusal: Exception, *, step: int) -> tuple[Event, ...]:
    """Return what to say of a run that waits for room on its disk."""
    return (
        DiskLow(path=str(run.path), free_bytes=free_bytes(run.path), needed_bytes=_NEEDED_BYTES),
        Paused(step=step, reason=f"the disk is full: {refusal}"),
    )


class Room:
    """Lets what writes wait for room on the disk of a run.

    `wait` lets seconds pass, and may raise to end it; `place` returns the step that the run is at
    and whether a person holds it.
    """

    def __init__(
        self,
        run: RunFolder,
        journal: JournalWriter,
        *,
        wait: Callable[[float], None],
        place: Callable[[], tuple[int, bool]],
    ) -> None:
        self._run, self._journal = run, journal
        self._wait, self._place = wait, place

    def written(self, write: Callable[[], Result]) -> Result:
        """Return what `write` returns, however long it takes until there is room for it.

        It is done again from its beginning, so it must write whole files or nothing.
        """

        def both() -> Result:
            # no file may know of a step that the journal could still lose
            self._journal.flush()
            return write()

        try:
            return both()
        except (DiskFull, OSError) as error:
            refusal = _as_no_room(error)
        is_said, wait = False, _FIRST_WAIT_SECONDS
        while True:
            # The reserve is given up, so that the journal has room for this.
            self._run.release_ballast()
            is_said = is_said or self._try_to_say(*self._about_full_disk(refusal))
            self._wait(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
            try:
                self._run.allocate_ballast()
                is_over = isinstance(refusal, JournalFull)
                if is_over:
                    # said before the event that had no room, for that one may end the run
                    self._journal.emit(*self._about_room(refusal, is_said=is_said))
                    is_said = False
                written = both()
            except (DiskFull, OSError) as error:
                refusal = _as_no_room(error)
                continue
            if not is_over:
                last = self._about_room(refusal, is_said=is_said)
                self.written(partial(self._journal.emit, *last))
            return written

    def _about_full_disk(self, refusal: Exception) -> tuple[Event, ...]:
        return full_disk(self._run, refusal, step=self._place()[0])

    def _about_room(self, refusal: Exception, *, is_said: bool) -> tuple[Event, ...]:
        """Return what to say once there is room: all of it, if there was none to say it in."""
        step, is_held = self._place()
        last: tuple[Event, ...] = (Continued(step=step, reason="there is room again"),)
        if is_held:  # it had been paused by a person before the disk was full
            last = (*last, Paused(step=step))
        return last if is_said else (*self._about_full_disk(refusal), *last)

    def _try_to_say(self, *events: Event) -> bool:
        try:
            self._journal.emit(*events)
        except JournalFull:
            return False
        return True


def _as_no_room(error: Exception) -> Exception:
    """Return `error` if it tells of a full disk, else raise it."""
    if isinstance(error, OSError) and not is_no_room(error):
        raise error
    return error
