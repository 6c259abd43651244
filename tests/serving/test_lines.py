"""Who waits is taken by arrival; large requests give way to small ones and are never starved."""

from serving.lines import STRETCH, Lines


class Every:
    """Lets everybody join, up to a number."""

    def __init__(self, most: int = 1) -> None:
        """Begin with nobody."""
        self.left = most

    def __call__(self, part: str, *, is_first: bool) -> bool:
        """Count down."""
        self.left -= 1
        return is_first or self.left >= 0


def take(lines: Lines[str, int], now: float = 0.0, most: int = 1) -> object:
    """Return what is next, without its urgency."""
    return lines.take(now, join=Every(most))[1]


def test_parts_leave_by_arrival_and_those_at_the_same_time_in_order() -> None:
    """Nobody overtakes who is not more urgent; a joint encoding takes the next ones."""
    lines: Lines[str, int] = Lines()
    for name, urgency in (("c", 3.0), ("a", 1.0), ("b", 1.0)):
        lines.add_part(name, urgency=urgency, is_large=False)
    assert lines
    assert take(lines, most=2) == ["a", "b"]
    assert take(lines, most=5) == ["c"]
    assert not lines


def test_what_is_encoded_is_run_before_what_came_later() -> None:
    """A run has the urgency of its oldest part."""
    lines: Lines[str, int] = Lines()
    lines.add_part("later", urgency=2.0, is_large=False)
    lines.add_run(7, urgency=1.0, is_large=False)
    lines.add_part("earlier", urgency=0.5, is_large=False)
    assert [take(lines), take(lines), take(lines)] == [["earlier"], 7, ["later"]]


def test_small_requests_go_before_the_runs_of_a_large_one_until_its_share_is_due() -> None:
    """Right after a large run the small line goes first; a multiple of its cost later a large one may go."""
    lines: Lines[str, int] = Lines()
    for run in range(3):
        lines.add_run(run, urgency=0.0, is_large=True)
    for name in ("a", "b", "c"):
        lines.add_part(name, urgency=5.0, is_large=False)
    lines.claim(10.0, seconds=1.0)
    assert take(lines, 10.1) == ["a"]
    assert take(lines, 10.0 + STRETCH - 0.1) == ["b"]
    assert take(lines, 10.0 + STRETCH) == 0
    lines.claim(20.0, seconds=1.0)
    assert take(lines, 20.1) == ["c"]
    # Nobody else waits: there is nothing to give way to.
    assert [take(lines, 20.2), take(lines, 20.3)] == [1, 2]


def test_small_and_large_ones_are_never_encoded_together() -> None:
    """Each line is a queue of its own."""
    lines: Lines[str, int] = Lines()
    lines.add_part("large", urgency=0.0, is_large=True)
    lines.add_part("small", urgency=0.0, is_large=False)
    lines.claim(0.0, seconds=1.0)
    assert take(lines, 0.0, most=5) == ["small"]
    assert take(lines, 0.0, most=5) == ["large"]


def test_what_is_left_can_be_taken_out_at_once() -> None:
    """When a server stops, whoever waits must hear of it."""
    lines: Lines[str, int] = Lines()
    lines.add_part("a", urgency=0.0, is_large=True)
    lines.add_part("b", urgency=0.0, is_large=False)
    lines.add_run(7, urgency=0.0, is_large=True)
    parts, runs = lines.clear()
    assert (sorted(parts), runs) == (["a", "b"], [7])
    assert not lines
