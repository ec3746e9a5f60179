"""Looking through Live's log: filter, levels, holding, wrapping."""

import pytest

from engine.run import RunFolder
from engine.run.events import LogLine
from tests.tui.conftest import SIZES
from tests.tui.fake_worker import UP_TO_TRAINING, working
from tests.tui.screens.live.scene import Go, Recorded, live
from tui.screens.live_view import FindBox
from tui.telling import Line
from tui.widgets.log import Log


@pytest.mark.parametrize("size", SIZES[:2])
def test_the_log_is_filtered_while_typing(
    recorded: Recorded, go: Go, size: tuple[int, int]
) -> None:
    async def check() -> None:
        async with live(recorded("ladder"), size) as screen:
            log = screen.screen.query_one(Log)
            await screen.press("slash", *"rejec")
            assert log.filter == "rejec"
            assert all("reject" in line.plain for line in log.lines)
            assert "/ rejec (7)" in screen.text, "the filter stays to be seen"
            await screen.press("enter")
            assert not screen.screen.query_one(FindBox).display
            assert screen.screen.focused is log
            assert log.filter == "rejec"
            await screen.press("g", "n")
            await screen.press("N")
            hit = log.lines[0].plain
            await screen.press("escape")
            assert log.filter == ""
            if size == SIZES[0]:  # elsewhere all hits fit, and it follows
                assert log.lines[0].plain == hit, "it stays to be seen among its neighbours"
            await screen.press("G")
            await screen.press("slash", *"no such line")
            assert "no line holds" in screen.words("log")
            await screen.press("escape")
            assert "finished in" in screen.words("log")

    go(check())


def test_a_filter_with_brackets_is_no_markup(recorded: Recorded, go: Go) -> None:
    async def check() -> None:
        async with live(recorded("smoke")) as screen:
            await screen.press("slash", "left_square_bracket", "slash", "b")
            assert screen.screen.query_one(Log).filter == "[/b"
            assert "/ [/b (0)" in screen.text

    go(check())


def test_l_changes_the_levels_of_the_log(recorded: Recorded, go: Go) -> None:
    async def check() -> None:
        async with live(recorded("ladder")) as screen:
            log = screen.screen.query_one(Log)
            await screen.press("l")
            assert log.level == "WARNING"
            assert all(" warn " in line.plain for line in log.lines)
            await screen.press("l")
            assert "nothing at error or above" in screen.words("log")
            await screen.press("l")
            assert log.level == "DEBUG"
            await screen.press("l")
            assert log.level == "INFO"

    go(check())


def test_f_holds_the_log_and_lets_it_follow(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING) as worker:
            async with live(run) as screen:
                log = screen.screen.query_one(Log)
                log.focus()
                await screen.press("f")
                assert not log.is_following
                worker.emit(*(LogLine(level="INFO", text=f"line {n}") for n in range(40)))
                await screen.until(lambda: "40 new" in screen.text)
                assert "line 39" not in screen.words("log")
                await screen.press("f")
                assert "line 39" in screen.words("log")
                await screen.press("k")
                assert not log.is_following, "looking back holds it"
                await screen.press("G")
                assert log.is_following

    go(check())


def test_a_full_log_jumps_half_its_height(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING) as worker:
            async with live(run) as screen:
                log = screen.screen.query_one(Log)
                height = log.scrollable_content_region.height
                tops = set()
                for number in range(3 * height):
                    worker.emit(LogLine(level="INFO", text=f"line {number}"))
                    wanted = f"line {number}"
                    await screen.until(lambda wanted=wanted: wanted in screen.words("log"))
                    tops.add(log.lines[0].plain)
                assert len(tops) <= 8

    go(check())


def test_w_wraps_long_lines(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING) as worker:
            worker.emit(LogLine(level="INFO", text="word " * 60 + "end"))
            async with live(run) as screen:
                screen.screen.query_one(Log).focus()
                assert "end" not in screen.words("log")
                await screen.press("w")
                assert "end" in screen.words("log")
                await screen.press("w")
                assert "end" not in screen.words("log")

    go(check())


def test_a_line_that_comes_late_is_put_where_it_belongs_and_no_other_twice(
    recorded: Recorded, go: Go
) -> None:
    async def check() -> None:
        async with live(recorded("smoke")) as screen:
            log, follower = screen.screen.query_one(Log), screen.screen.follower
            assert follower is not None
            first, last = follower.log.lines[0], follower.log.lines[-1]
            count = len(log._rows)
            follower.log.add([Line(first.time - 1, "INFO", "came before all")])
            log.show_book(follower.log)
            assert [row.text for row in log._rows[:2]] == ["came before all", first.text]
            follower.log.add([Line(last.time + 1, "INFO", "came after all")])
            log.show_book(follower.log)
            assert log._rows[-1].text == "came after all"
            assert len(log._rows) == count + 2

    go(check())
