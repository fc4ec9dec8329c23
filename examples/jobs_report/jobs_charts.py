"""The two charts of the jobs report. Each comes as PNG bytes and as SVG text.

Imported only by the tasks that draw: nothing else pays for matplotlib.
"""

import io

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure

INK, SOFT, FAINT, PALE = "#1f2a37", "#6a7684", "#e4e7ea", "#c9d0d6"
LOSS, GAIN, BAND = "#c4553b", "#2a7f78", "#f4efe3"
FLATTEST = 12  # points of the index: a sector that moved less looks as calm as it was
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.spines.bottom": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "figure.facecolor": "white",
    "svg.hashsalt": "jobs-report",
}


def decade(months, year):
    """Draw all jobs and their monthly changes, with one year set off."""
    when = np.array([moment(month["month"]) for month in months])
    jobs = np.array([month["jobs"] for month in months]) / 1000
    change = np.array([month["change"] or 0 for month in months])
    inside = np.array([month["month"].startswith(f"{year}-") for month in months])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 5.4))
        level, moves = figure.subplots(
            2, 1, sharex=True, height_ratios=[1, 1.15], gridspec_kw={"hspace": 0.22}
        )
        figure.subplots_adjust(left=0.07, right=0.985, top=0.805, bottom=0.06)
        for axes in (level, moves):
            axes.axvspan(year, year + 1, color=BAND, lw=0, zorder=0)
            axes.grid(axis="y", color=FAINT, lw=0.8)
            axes.set_axisbelow(True)
        level.plot(when, jobs, color=SOFT, lw=1.6)
        level.plot(when[inside], jobs[inside], color=INK, lw=2.8, solid_capstyle="round")
        level.yaxis.set_major_locator(mpl.ticker.MaxNLocator(4, integer=True))
        level.set_title("All jobs outside farms, millions", loc="left", fontsize=9.5, color=SOFT)
        colours = np.where(inside, np.where(change < 0, LOSS, GAIN), PALE)
        moves.bar(when, change, 1 / 12 * 0.8, color=colours)
        moves.axhline(0, color=SOFT, lw=0.8)
        moves.yaxis.set_major_formatter(lambda value, _: signed(value))
        moves.set_title(
            "Change from the month before, thousands", loc="left", fontsize=9.5, color=SOFT
        )
        _note_largest(moves, when, change, inside)
        years = sorted({int(month["month"][:4]) for month in months})
        moves.set_xlim(years[0], years[-1] + 1)
        moves.set_xticks([start + 0.5 for start in years], [str(start) for start in years])
        for label in moves.get_xticklabels():
            if label.get_text() == str(year):
                label.set(color=INK, fontweight="bold")
        _head(
            figure, f"{year} in its decade", "Seasonally adjusted. The band is the report's year."
        )
        return _rendered(figure)


def sectors(rows, year):
    """Draw each sector's change in the year, and its course over the whole record as an index."""
    height = 1.2 + 0.46 * len(rows)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, height))
        top = 1 - 0.95 / height
        grid = figure.add_gridspec(
            len(rows),
            2,
            width_ratios=[1.55, 1],
            left=0.215,
            right=0.95,
            top=top,
            bottom=0.2 / height,
        )
        grid.update(wspace=0.12, hspace=0.25)
        bars = figure.add_subplot(grid[:, 0])
        _draw_changes(bars, rows)
        for place, row in enumerate(rows):
            course = figure.add_subplot(grid[place, 1])
            _draw_course(course, row, year)
        _head(
            figure,
            f"What {year} did to each sector",
            "Left: change in thousands of jobs, and in percent of the sector. "
            "Right: its course from 2006 to 2015, first month = 100, each on a scale of its own.",
            height,
        )
        return _rendered(figure)


def _draw_changes(axes, rows):
    change = np.array([row["change"] for row in rows])
    places = np.arange(len(rows))
    axes.barh(places, change, 0.62, color=np.where(change < 0, LOSS, GAIN))
    axes.axvline(0, color=SOFT, lw=0.8)
    axes.set_yticks(places, [row["label"] for row in rows])
    axes.tick_params(axis="y", colors=INK, labelsize=10, pad=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks([])
    reach = max(abs(change).max(), 1)
    low, high = min(change.min(), 0), max(change.max(), 0)
    axes.set_xlim(low - reach * (0.62 if low else 0.02), high + reach * (0.62 if high else 0.02))
    for place, row in zip(places, rows, strict=True):
        left = row["change"] < 0
        axes.annotate(
            f"{signed(row['change'])}  ({signed(row['percent'], 1)}%)",
            (row["change"], place),
            (-5 if left else 5, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=9,
        )


def _draw_course(axes, row, year):
    when = np.array([moment(month) for month in row["index"]])
    values = np.array(list(row["index"].values()))
    inside = (when >= year) & (when < year + 1)
    middle = (values.min() + values.max()) / 2
    reach = max(values.max() - values.min(), FLATTEST) * 0.58
    axes.set_ylim(middle - reach, middle + reach)
    axes.set_xlim(when[0] - 0.1, when[-1] + 0.1)
    axes.axvspan(year, year + 1, color=BAND, lw=0)
    axes.axhline(100, color=PALE, lw=0.7)
    axes.plot(when, values, color=SOFT, lw=1.1)
    axes.plot(when[inside], values[inside], color=LOSS if row["change"] < 0 else GAIN, lw=2.4)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.annotate(
        f"{values[-1]:.0f}",
        (1.01, values[-1]),
        xycoords=axes.get_yaxis_transform(),
        va="center",
        fontsize=9,
        color=SOFT,
    )


def _note_largest(axes, when, change, inside):
    within = np.flatnonzero(inside)
    for index in sorted(within, key=lambda at: -abs(change[at]))[:1]:
        below = change[index] < 0
        axes.annotate(
            signed(change[index]),
            (when[index], change[index]),
            (0, -3 if below else 3),
            textcoords="offset points",
            ha="center",
            va="top" if below else "bottom",
            fontweight="bold",
            color=LOSS if below else GAIN,
        )
    low, high = change.min(), change.max()
    axes.set_ylim(low - (high - low) * 0.1, high + (high - low) * 0.1)


def _head(figure, title, note, height=5.4):
    figure.text(0.012, 1 - 0.36 / height, title, fontsize=15, fontweight="bold")
    figure.text(0.012, 1 - 0.61 / height, note, color=SOFT)


def moment(month):
    """Return the middle of a month as a fraction of its year."""
    return int(month[:4]) + (int(month[5:7]) - 0.5) / 12


def signed(value, decimals=0):
    """Return a change with its sign, a real minus, and thousands apart."""
    if not round(value, decimals):
        return "0"
    return f"{value:+,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def _rendered(figure):
    png, svg = io.BytesIO(), io.StringIO()
    figure.savefig(png, format="png", dpi=170)
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return png.getvalue(), svg.getvalue()
