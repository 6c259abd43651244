"""What a padded event costs just now, from what the last ones cost.

It deliberately knows no clock: seconds come in, seconds go out.
"""

MEMORY_EVENTS = 65_536
"""After so many events a measurement counts for a third of what it counted at first."""


class Pace:
    """Seconds per padded event, all that is done for it included; the last ones count most."""

    def __init__(self, seconds_per_event: float) -> None:
        """Begin with a measured or assumed value, which fades as work is done."""
        self._seconds = seconds_per_event * MEMORY_EVENTS
        self._events = float(MEMORY_EVENTS)

    @property
    def seconds_per_event(self) -> float:
        """What one worker needs for a padded event."""
        return self._seconds / self._events

    def add(self, *, seconds: float, events: int) -> None:
        """Learn from a piece of work.

        Args:
            seconds: How long it took one worker.
            events: Padded events that it computed; 0 where it only prepared others.
        """
        fade = MEMORY_EVENTS / (MEMORY_EVENTS + events)
        self._seconds = (self._seconds + seconds) * fade
        self._events = (self._events + events) * fade
