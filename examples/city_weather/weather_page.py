"""The weather report as one HTML file, style and pictures included. Every text is escaped."""

import base64
import datetime as dt
from html import escape
from pathlib import Path

SKY = {
    "sun": "#f3b73e",
    "fog": "#c3c9cd",
    "drizzle": "#a5cfdd",
    "rain": "#3f86b0",
    "snow": "#8d7fc0",
}


def render(title, unit, source, months, extremes, comparison, stations, charts):
    """Return the page. The arguments are what the tasks wrote; `charts` are SVG texts."""
    first, last = months[0]["month"], months[-1]["month"]
    period = month_name(first) if first == last else f"{month_name(first)} to {month_name(last)}"
    style = Path(__file__).with_name("weather.css").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}: {escape(period)}</title>
<style>{style}</style>
<main>
<header>
<p class="eyebrow">City weather <span>{escape(period)}</span></p>
<h1>{escape(title)}</h1>
<p class="lede">{lede(months, unit)}</p>
</header>
<section class="cards">{cards(months, extremes, unit)}</section>
<figure>{picture(charts["almanac"], "Range of temperature, rain and sky of each day")}</figure>
<section><h2>Month by month</h2>{month_table(months, unit)}</section>
<section><h2>The most extreme days</h2>
<div class="columns">{extreme_lists(extremes, unit)}</div></section>
<section><h2>Beside San Francisco</h2>
<figure>{picture(charts["hours"], "Temperature by hour and day in both cities")}</figure>
{comparison_table(comparison, stations, unit)}</section>
<footer>
<p>Daily records of Seattle 2012 to 2015 and hourly normals of 2010, fetched from
<code>{escape(source)}</code>; stations from the table of airports in the package vega_datasets.
A day counts as wet from 1 mm. Mild hours are those of 15 °C and more.</p>
</footer>
</main>
</html>
"""


def lede(months, unit):
    """Say the period in two sentences."""
    days = sum(month["days"] for month in months)
    high, low = (
        sum(month[name] * month["days"] for month in months) / days for name in ("high", "low")
    )
    wet, rain = (sum(month[name] for month in months) for name in ("wet_days", "rain"))
    return (
        f"On {days} days the highs averaged {number(high)} {escape(unit)} "
        f"and the lows {number(low)}. "
        f"It was wet on {wet} of them, {rain:,.0f} mm of rain in all."
    )


def cards(months, extremes, unit):
    """Return the four figures that people look for first."""
    days = sum(month["days"] for month in months)
    dry = days - sum(month["wet_days"] for month in months)
    items = [("Dry days", f"{dry / days:.0%}", f"{dry} of {days} below 1 mm", "dry")]
    for name, label, sign in (
        ("hottest", "Hottest day", unit),
        ("coldest", "Coldest night", unit),
        ("wettest", "Wettest day", "mm"),
    ):
        if extremes[name]:
            day = extremes[name][0]
            items.append((label, f"{number(day['value'])} {sign}", day_name(day["date"]), name))
    return "".join(
        f'<div class="card {kind}"><h3>{label}</h3><p>{escape(value)}</p>'
        f"<small>{escape(note)}</small></div>"
        for label, value, note, kind in items
    )


def month_table(months, unit):
    """Return one row for each month, rain as a bar and the sky as a strip."""
    most = max(month["rain"] for month in months) or 1
    head = "".join(
        f"<th>{name}</th>"
        for name in (
            "Month",
            f"High {escape(unit)}",
            f"Low {escape(unit)}",
            "Rain, mm",
            "",
            "Wet days",
            "Wind, m/s",
            "Sky",
        )
    )
    rows = "".join(
        f"<tr><th>{escape(month_name(month['month']))}</th>"
        f"<td>{number(month['high'])}</td><td>{number(month['low'])}</td><td>{month['rain']:.1f}</td>"
        f'<td class="bar">{strip([(month["rain"], SKY["rain"], "")], most, 90)}</td>'
        f"<td>{month['wet_days']}</td><td>{month['wind']:.1f}</td>"
        f'<td class="sky">{sky(month)}</td></tr>'
        for month in months
    )
    key = "".join(
        f"<span>{strip([(1, colour, '')], 1, 10)} {kind}</span>" for kind, colour in SKY.items()
    )
    return f'{table(f"<tr>{head}</tr>", rows)}<p class="key">{key}</p>'


def sky(month):
    """Return a month's kinds of sky as a strip."""
    kinds = [(month["kinds"].get(kind, 0), colour, kind) for kind, colour in SKY.items()]
    return strip(kinds, month["days"], 150)


def strip(parts, whole, width):
    """Return parts of a whole as coloured rectangles in one SVG of `width` pixels."""
    at, shapes = 0.0, []
    for amount, colour, label in parts:
        size = width * amount / whole
        tip = f"<title>{escape(label)}: {amount}</title>" if label else ""
        shapes.append(
            f'<rect x="{at:.1f}" width="{size:.1f}" height="10" fill="{colour}">{tip}</rect>'
        )
        at += size
    return f'<svg width="{width}" height="10" aria-hidden="true">{"".join(shapes)}</svg>'


def extreme_lists(extremes, unit):
    """Return the three lists of extreme days."""
    lists = []
    for name, sign in (("hottest", unit), ("coldest", unit), ("wettest", "mm")):
        rows = "".join(
            f"<li><b>{number(day['value'])} {escape(sign)}</b> {escape(day_name(day['date']))} "
            f"<small>{escape(day['kind'])}</small></li>"
            for day in extremes[name]
        )
        lists.append(f"<div><h3>{name.title()}</h3><ol>{rows}</ol></div>")
    return "".join(lists)


def comparison_table(comparison, stations, unit):
    """Return the two cities side by side."""
    head = "".join(
        f"<th>{escape(stations[city]['city'])}<small>{escape(stations[city]['name'])}, "
        f"{stations[city]['latitude']:.1f}° N {-stations[city]['longitude']:.1f}° W</small></th>"
        for city in comparison
    )
    rows = [
        (f"Mean of all hours, {unit}", lambda of: number(of["mean"])),
        (f"From the day's coldest to its warmest hour, {unit}", lambda of: number(of["swing"])),
        ("Warmest hour of the year", lambda of: hour_name(of["warmest"], unit)),
        ("Coldest hour of the year", lambda of: hour_name(of["coldest"], unit)),
        ("Mild hours in the year", lambda of: f"{of['mild_hours']:,}"),
    ]
    body = "".join(
        f"<tr><th>{escape(label)}</th>"
        + "".join(f"<td>{escape(cell(of))}</td>" for of in comparison.values())
        + "</tr>"
        for label, cell in rows
    )
    return table(f"<tr><th></th>{head}</tr>", body, "cities")


def table(head, body, kind="figures"):
    """Return a table that scrolls by itself where the screen is narrow."""
    return (
        f'<div class="scroll"><table class="{kind}"><thead>{head}</thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def picture(svg, text):
    """Return an SVG as an image, in which nothing can run."""
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{escape(text)}" src="data:image/svg+xml;base64,{data}">'


def number(value):
    """Return a figure with one decimal and, below zero, a real minus sign."""
    return f"{value:.1f}".replace("-", "\N{MINUS SIGN}")


def month_name(month):
    """Return `2012-01` as January 2012."""
    return f"{dt.date.fromisoformat(month + '-01'):%B %Y}"


def day_name(date):
    """Return `2012-01-05` as Thu 5 January 2012."""
    return f"{dt.date.fromisoformat(date):%a %-d %B %Y}"


def hour_name(hour, unit):
    """Return a day, an hour and a value as people say them."""
    day, clock, value = hour
    return (
        f"{number(value)} {unit}, {dt.date.fromisoformat('2010-' + day):%-d %B} at {int(clock)}:00"
    )
