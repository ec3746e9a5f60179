"""Journals for tests: recorded true ones, and what no engine would write (strategies)."""

import types
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from engine.errors import RunError
from engine.run import JournalReader, RunFolder, StoredEvent, decode_event, encode_event, kind_of
from engine.run.events import EVENT_TYPES, PHASES, Event, UnknownEvent

RECORDED = Path(__file__).resolve().parents[1] / "fixtures" / "runs"


def events_of(name: str) -> list[StoredEvent]:
    """Return all events of a recorded run."""
    with JournalReader(RECORDED / name / "journal.sqlite") as reader:
        return list(reader.poll(limit=100_000).events)


def damage_metrics(run: RunFolder) -> None:
    """Overwrite a page in a journal's middle that holds metrics and none of its facts."""
    whole = run.journal_path.read_bytes()
    for page in range(2, len(whole) // 4096):
        torn = bytearray(whole)
        torn[page * 4096 : (page + 1) * 4096] = b"\xa5" * 4096
        run.journal_path.write_bytes(torn)
        with suppress(RunError), JournalReader(run.journal_path) as reader:
            count = len(reader.facts())
            try:
                reader.metrics("loss")
            except RunError:
                if count:
                    return
    raise AssertionError("every page holds facts")


_WORDS = st.one_of(
    st.sampled_from((*PHASES, "student", "select", "final", "done", "retry-stage", "command")),
    st.text(max_size=12),
)
_COUNTS = st.one_of(st.integers(-1, 5), st.integers(0, 20_000), st.just(10**400))
_FLOATS = st.one_of(st.floats(0, 1), st.floats())


def _of(hint: Any) -> st.SearchStrategy[Any]:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return st.one_of(*(_of(one) for one in get_args(hint)))
    if origin is tuple:
        return st.lists(_of(get_args(hint)[0]), max_size=4).map(tuple)
    known = {str: _WORDS, int: _COUNTS, float: _FLOATS, bool: st.booleans(), type(None): st.none()}
    return known[hint] if hint in known else _record(hint)


def _record(record_type: type) -> st.SearchStrategy[Any]:
    hints = get_type_hints(record_type)
    return st.builds(record_type, **{one.name: _of(hints[one.name]) for one in fields(record_type)})


any_event: st.SearchStrategy[Event] = st.one_of(
    *(_record(event_type) for event_type in EVENT_TYPES),
    st.builds(UnknownEvent, kind=st.text(max_size=20), body=st.text(max_size=40)),
)
any_time = st.one_of(st.floats(0, 2e9), st.floats())


def stored(events: list[Event], times: list[float] | None = None) -> list[StoredEvent]:
    """Return events as the journal gives them back."""
    return [
        StoredEvent(
            id=number,
            time=times[number - 1] if times else 1_795_000_000.0 + number,
            kind=kind_of(event),
            stage=getattr(event, "stage", None),
            event=decode_event(kind_of(event), encode_event(event)),
        )
        for number, event in enumerate(events, start=1)
    ]


journals = st.lists(st.tuples(any_event, any_time), max_size=25).map(
    lambda pairs: stored([event for event, _ in pairs], [time for _, time in pairs])
)
