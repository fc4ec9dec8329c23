"""A period day by day: temperature, rain and sky, with the means of its months."""

import calendar
import datetime as dt

import matplotlib as mpl
import matplotlib.dates
import matplotlib.patches
import matplotlib.ticker
import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from weather_style import FAINT, INK, SOFT, STYLE, WARMTH, degrees, rendered

RAIN = "#3f86b0"
KINDS = {  # in the order of the legend
    "sun": "#f3b73e",
    "fog": "#c3c9cd",
    "drizzle": "#a5cfdd",
    "rain": "#3f86b0",
    "snow": "#8d7fc0",
}
COLOURED = {"°C": (-4, 28), "°F": (25, 82)}  # ends of the colours, the same for every period
NAMED_DAYS = 62  # up to so many days, the axis names days and not months
EDGE = 0.1  # so near an end of the axis, as a share of it, a label turns inwards
SMALL = {"fontsize": 8.5}
HALO = {"boxstyle": "round,pad=0.18", "facecolor": "white", "edgecolor": "none", "alpha": 0.82}


def almanac(days, months, unit):
    """Draw a period: the range of temperature, rain and sky of each day, and the months' means.

    `days` have date, low, high (in `unit`), rain (mm) and kind; `months` are month summaries.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 6.4))
        heat, rain, sky = figure.subplots(
            3, 1, sharex=True, height_ratios=[7, 2.4, 0.32], gridspec_kw={"hspace": 0.14}
        )
        figure.subplots_adjust(left=0.065, right=0.985, top=0.87, bottom=0.125)
        dates = [dt.date.fromisoformat(day["date"]) for day in days]
        _draw_heat(heat, dates, days, months, unit)
        _draw_rain(rain, dates, days, months)
        _draw_sky(sky, dates, days)
        _label_months(sky, dates)
        figure.text(0.012, 0.955, "Lows to highs, rain and sky", fontsize=15, fontweight="bold")
        figure.text(
            0.012,
            0.915,
            "Each bar is one day in Seattle, from its low to its high. "
            "Lines: the month's mean high and mean low. Blue: its rain.",
            color=SOFT,
        )
        return rendered(figure)


def _draw_heat(axes, dates, days, months, unit):
    low, high = (np.array([day[name] for day in days]) for name in ("low", "high"))
    colours = WARMTH(Normalize(*COLOURED[unit])((low + high) / 2))
    axes.bar(dates, high - low, 0.82, bottom=low, color=colours)
    for month in months:
        first, middle, last = _extent(month, dates)
        for value, side, gap in ((month["high"], "bottom", 3), (month["low"], "top", -3)):
            axes.plot([first, last], [value, value], color=INK, lw=1.3, alpha=0.85)
            _note(axes, degrees(value), (middle, value), gap, va=side, bbox=HALO, **SMALL)
    margin = (high.max() - low.min()) * 0.12
    axes.set_ylim(low.min() - margin, high.max() + margin)
    for index, value, side, gap in (
        (int(high.argmax()), high.max(), "bottom", 4),
        (int(low.argmin()), low.min(), "top", -4),
    ):
        text = f"{degrees(value, 1)}{unit[1:]}, {dates[index]:%-d %b}"
        place = index / len(days)
        turn = "left" if place < EDGE else "right" if place > 1 - EDGE else "center"
        _note(axes, text, (dates[index], value), gap, ha=turn, va=side, fontweight="bold")
    axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: degrees(value))
    _rule(axes)


def _draw_rain(axes, dates, days, months):
    fall = [day["rain"] for day in days]
    axes.bar(dates, fall, 0.82, color=RAIN)
    top = max(*fall, 10) * 1.42  # leaves a line above the bars for the months' totals
    axes.set_ylim(0, top)
    axes.yaxis.set_major_locator(mpl.ticker.FixedLocator(_rain_marks(max(fall))))
    words = {"va": "top", "color": RAIN, **SMALL}
    for month in months:
        _, middle, _ = _extent(month, dates)
        axes.text(middle, top, f"{month['rain']:.0f}", ha="center", **words)
    axes.text(-0.005, 1, "rain, mm", transform=axes.transAxes, ha="right", **words)
    _rule(axes)


def _rain_marks(most):
    step = next((step for step in (5, 10, 20) if most < 2.5 * step), 30)
    return [0, step, 2 * step]


def _draw_sky(axes, dates, days):
    axes.bar(dates, 1, 1.0, color=[KINDS[day["kind"]] for day in days])
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    present = [kind for kind in KINDS if any(day["kind"] == kind for day in days)]
    swatches = [mpl.patches.Patch(color=KINDS[kind], label=kind) for kind in present]
    axes.legend(
        handles=swatches,
        loc="upper right",
        bbox_to_anchor=(1.0, -1.9),
        ncols=len(present),
        frameon=False,
        **SMALL,
        handlelength=1,
        handleheight=1,
        columnspacing=1.4,
        borderaxespad=0,
        labelcolor=SOFT,
    )


def _label_months(axes, dates):
    axes.set_xlim(mpl.dates.date2num(dates[0]) - 0.6, mpl.dates.date2num(dates[-1]) + 0.6)
    if len(dates) <= NAMED_DAYS:
        shown = [date for date in dates if date.day in {1, 8, 15, 22}]
        axes.set_xticks(shown, [f"{date:%-d %b}" for date in shown])
        return
    firsts = sorted({date.replace(day=1) for date in dates})
    lengths = [calendar.monthrange(first.year, first.month)[1] for first in firsts]
    middles = [first + dt.timedelta(days=n / 2) for first, n in zip(firsts, lengths, strict=True)]
    axes.set_xticks(
        [min(max(middle, dates[0]), dates[-1]) for middle in middles],
        [
            f"{first:%b}\n{first:%Y}" if first.month == 1 or first == firsts[0] else f"{first:%b}"
            for first in firsts
        ],
    )


def _extent(month, dates):
    """Return the first, the middle and the last day of a month."""
    inside = [date for date in dates if f"{date:%Y-%m}" == month["month"]]
    return inside[0], inside[0] + (inside[-1] - inside[0]) / 2, inside[-1]


def _note(axes, text, point, gap, **style):
    axes.annotate(text, point, (0, gap), textcoords="offset points", **{"ha": "center", **style})


def _rule(axes):
    axes.grid(axis="y", color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
