"""The year of each city by hour and day, with sunrise and sunset."""

import calendar
import datetime as dt

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from daylight import sunrise_and_sunset
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from weather_style import INK, SOFT, STYLE, WARMTH, degrees, rendered

STEP = {"°C": 5, "°F": 10}  # degrees between lines of equal temperature


def hours(tables, stations, unit):
    """Draw each city's year by hour: `tables[city]` has a row for each day, a column an hour."""
    with mpl.rc_context({**STYLE, "axes.labelsize": 8.5}):
        figure = Figure(figsize=(11, 4.5))
        panels = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
        figure.subplots_adjust(left=0.065, right=0.905, top=0.76, bottom=0.09, wspace=0.07)
        shade = Normalize(*_hourly_range(tables))
        for axes, (city, rows) in zip(panels, tables.items(), strict=True):
            image = _draw_hours(axes, np.array(rows).T, stations[city], shade, STEP[unit])
        bar = figure.colorbar(image, cax=figure.add_axes((0.925, 0.09, 0.013, 0.67)))
        bar.outline.set_visible(False)
        bar.ax.yaxis.set_major_locator(mpl.ticker.MultipleLocator(STEP[unit]))
        bar.ax.yaxis.set_major_formatter(lambda value, _: degrees(value))
        bar.ax.set_title(unit, fontsize=9, color=SOFT, loc="left", pad=8)
        figure.text(0.012, 0.93, "The hours of a usual year", fontsize=15, fontweight="bold")
        figure.text(
            0.012,
            0.872,
            "Temperature by hour (upwards) and day (across), local standard time. "
            "Dashed: sunrise and sunset.",
            color=SOFT,
        )
        return rendered(figure)


def _draw_hours(axes, grid, station, shade, step):
    days = grid.shape[1]
    image = axes.imshow(
        grid,
        aspect="auto",
        origin="lower",
        extent=(0, days, 0, 24),
        cmap=WARMTH,
        norm=shade,
        interpolation="bicubic",
    )
    levels = np.arange(np.ceil(shade.vmin / step) * step, shade.vmax, step)
    lines = axes.contour(
        np.arange(days) + 0.5,
        np.arange(24) + 0.5,
        grid,
        levels,
        colors="white",
        linewidths=0.7,
        alpha=0.75,
    )
    axes.clabel(lines, fmt=degrees, fontsize=7.5, inline_spacing=3)
    numbers = np.arange(1, days + 1)
    sun = np.array(
        [sunrise_and_sunset(day, station["latitude"], station["longitude"]) for day in numbers]
    )
    axes.plot(numbers, sun, color=INK, lw=1.1, ls=(0, (4, 3)))
    starts = [dt.date(2010, month, 1).timetuple().tm_yday for month in range(1, 13)]
    axes.set_xticks([start + 15 for start in starts], [name[0] for name in calendar.month_abbr[1:]])
    axes.set_yticks(range(0, 25, 6), ["midnight", "6 am", "noon", "6 pm", "midnight"])
    axes.set_title(station["city"], loc="left", fontsize=11, fontweight="bold", pad=6)
    axes.set_title(f"measured at {station['iata']}", loc="right", fontsize=8.5, color=SOFT, pad=6)
    return image


def _hourly_range(tables):
    values = [value for rows in tables.values() for row in rows for value in row]
    return min(values), max(values)
