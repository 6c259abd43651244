"""What a sequence model looks like: every lever as one configuration value.

It deliberately does not know the data: sizes of vocabularies and features come from the
encoding spec, targets and their grids from its schema. Values stand in ``conf/model/*.yaml`` and
nowhere else.
"""

from dataclasses import dataclass
from typing import Literal

from holdfast.errors import ConfigError

EncoderKind = Literal["transformer", "gru", "none"]
CalendarUse = Literal["auto", "output", "input", "none"]
EventCalendar = Literal["year", "week", "none"]
CountDistribution = Literal["negative_binomial", "poisson"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The shape of a model.

    Attributes:
        encoder: ``transformer``, ``gru``, or ``none`` (time bins and readout features only).
        width: Channels of events and readouts.
        num_layers: Transformer blocks, GRU layers, or feed-forward blocks where there is no encoder;
            None is one, unless :func:`training.settling.settled_model` finds that the data bears two.
        num_heads: Attention heads; they divide the width into even parts.
        feed_forward_multiple: Hidden width of a feed-forward part over ``width``.
        dropout: On inputs and residual branches; attention weights are never dropped, so that the
            fused kernels stay usable.
        rotary_days: Shortest and longest wavelength of the rotary angles of event times, in days;
            empty switches them off.
        attention_days: A readout attends to events up to this age; None means all of its history.
        time_bins: Number of soft bins of event age; 0 switches the sums off.
        time_bin_channels: Kinds of events that each bin counts, learned.
        num_neighbours: How many events before an event are mixed into it before anything else reads
            it, so that their order counts; 0 switches that off.
        use_piecewise_linear: Whether numeric inputs are also encoded piecewise linearly.
        use_linear_path: Whether readout features also reach the heads linearly.
        calendar: Where the calendar of the cutoff enters: added to the ``output`` of the heads,
            mixed into the ``input``, or ``none``; ``auto`` is the first or the last, see
            :func:`training.settling.settled_model`.
        event_calendar: What an event tells about its own date: hour, weekday and day of the
            ``year``; hour and weekday, ``week``; ``none``. From a year or two of history, the day of
            the year of an event is as good as its date, and what is learned from it does not last.
        use_tied_amounts: Whether the zero mass of an amount follows the survival head where
            definition and labels allow it.
        sigma_range: Bounds of a lognormal's scale.
        count_distribution: ``negative_binomial`` or ``poisson``.
        use_next_event: Whether to learn the next event's type and gap as well, in training.
        quantile_levels: Ascending levels of the quantiles of amounts.
    """

    encoder: EncoderKind
    width: int
    num_layers: int | None
    num_heads: int
    feed_forward_multiple: int
    dropout: float
    rotary_days: tuple[float, ...]
    attention_days: float | None
    time_bins: int
    time_bin_channels: int
    num_neighbours: int
    use_piecewise_linear: bool
    use_linear_path: bool
    calendar: CalendarUse
    event_calendar: EventCalendar
    use_tied_amounts: bool
    sigma_range: tuple[float, ...]
    count_distribution: CountDistribution
    use_next_event: bool
    quantile_levels: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse values that no model can be built from.

        Raises:
            ConfigError: Naming the key, its value and the limit.
        """
        for key in ("width", "num_heads", "feed_forward_multiple"):
            self._need(key, getattr(self, key) >= 1, "it must be at least 1")
        self._need("num_layers", self.depth >= 1, "it must be at least 1, or null")
        self._need(
            "num_heads", self.width % (2 * self.num_heads) == 0, "the width must be a multiple of 2 heads"
        )
        self._need("dropout", 0.0 <= self.dropout < 1.0, "it must lie in [0, 1)")
        self._need("time_bins", self.time_bins == 0 or self.time_bins >= 2, "it must be 0 or at least 2")
        has_channels = self.time_bins == 0 or self.time_bin_channels >= 1
        self._need("time_bin_channels", has_channels, "it must be at least 1")
        self._need("num_neighbours", self.num_neighbours >= 0, "it must be 0 or more")
        is_window = self.attention_days is None or self.attention_days > 0
        self._need("attention_days", is_window, "it must be positive, or null")
        is_range = len(self.rotary_days) == 2 and 0 < self.rotary_days[0] < self.rotary_days[1]
        self._need(
            "rotary_days", not self.rotary_days or is_range, "it must be empty or two ascending wavelengths"
        )
        is_range = len(self.sigma_range) == 2 and 0.01 <= self.sigma_range[0] < self.sigma_range[1] <= 4.0
        self._need("sigma_range", is_range, "it must be two ascending values between 0.01 and 4")
        levels = self.quantile_levels
        is_ascending = bool(levels) and list(levels) == sorted(set(levels))
        is_inside = is_ascending and levels[0] >= 0.001 and levels[-1] <= 0.999
        self._need("quantile_levels", is_inside, "they must be ascending and lie between 0.001 and 0.999")
        wants_events = self.use_next_event and self.encoder == "none"
        self._need("use_next_event", not wants_events, "encoder none has no event states to predict from")

    @property
    def depth(self) -> int:
        """The number of layers; one where nothing has been decided."""
        return 1 if self.num_layers is None else self.num_layers

    def _need(self, key: str, is_fine: bool, limit: str) -> None:  # noqa: FBT001 - one condition per line above
        if not is_fine:
            raise ConfigError(f"model.{key}", getattr(self, key), limit)
