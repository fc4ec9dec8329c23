"""The jobs report as one HTML file, style and pictures included. Every text is escaped."""

import base64
import datetime as dt
from html import escape
from pathlib import Path


def render(title, year, baseline, source, months, table, charts):
    """Return the page. The arguments are what the tasks wrote; `charts` are SVG texts."""
    style = Path(__file__).with_name("jobs.css").read_text(encoding="utf-8")
    span = f"December {year - 1} to December {year}"
    if baseline == "average":
        span = f"the average of {year - 1} to that of {year}"
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}: {year}</title>
<style>{style}</style>
<main>
<header>
<p class="eyebrow">Jobs report <span>{escape(span)}</span></p>
<h1>{escape(title)}, {year}</h1>
<p class="lede">{lede(table, span)}</p>
</header>
<section class="cards">{cards(months, table)}</section>
<figure>{picture(charts["decade"], "All jobs and their monthly changes")}</figure>
<section><h2>Sector by sector</h2>
<figure>{picture(charts["sectors"], "Change of each sector in the year")}</figure>
{sector_table(table)}</section>
<section><h2>Month by month</h2>{month_table(months)}</section>
<footer><p>Employment outside farms, seasonally adjusted, in thousands of jobs: table
<code>us-employment.csv</code>, fetched from <code>{escape(source)}</code>. Changes of sectors
compare {escape(span)}; changes of months compare with the month before.</p></footer>
</main>
</html>
"""


def lede(table, span):
    """Say the year in two sentences."""
    total, rows = table["total"], table["sectors"]
    verb = "lost" if total["change"] < 0 else "gained"
    text = (
        f"From {span} the country {verb} {people(abs(total['change']))} jobs, "
        f"{signed(total['percent'], 1)}%."
    )
    if len(rows) > 1:
        grew = sum(row["change"] > 0 for row in rows)
        least, most = rows[0], rows[-1]
        text += (
            f" {grew} of {len(rows)} sectors grew: best off was {most['label'].lower()} "
            f"({signed(most['change'])} thousand), worst {least['label'].lower()} "
            f"({signed(least['change'])} thousand)."
        )
    return escape(text)


def cards(months, table):
    """Return the four figures that people look for first."""
    total = table["total"]
    moved = [month for month in months if month["change"] is not None]
    worst = min(moved, key=lambda month: month["change"])
    best = max(moved, key=lambda month: month["change"])
    items = [
        ("Jobs at the end", f"{months[-1]['jobs'] / 1000:.1f} m", name(months[-1]["month"]), ""),
        ("Change", f"{signed(total['percent'], 1)}%", f"{signed(total['change'])} thousand", ""),
        *(
            (label, signed(month["change"]), f"thousand, {name(month['month'])}", tone(month))
            for label, month in (("Worst month", worst), ("Best month", best))
        ),
    ]
    return "".join(
        f'<div class="card {kind}"><h3>{label}</h3><p>{escape(value)}</p>'
        f"<small>{escape(note)}</small></div>"
        for label, value, note, kind in items
    )


def sector_table(data):
    """Return one row for each sector and one for all jobs."""
    head = "<th>Sector</th><th>Before</th><th>After</th><th>Change</th><th>Percent</th>"
    total = data["total"]
    rows = [sector_row(row) for row in data["sectors"]] + [sector_row(total, "total")]
    return table(head, "".join(rows))


def sector_row(row, kind=""):
    """Return a row of thousands of jobs."""
    return (
        f'<tr class="{kind}"><th>{escape(row["label"])}</th><td>{row["before"]:,.0f}</td>'
        f'<td>{row["after"]:,.0f}</td><td class="{tone(row)}">{signed(row["change"])}</td>'
        f'<td class="{tone(row)}">{signed(row["percent"], 1)}</td></tr>'
    )


def month_table(months):
    """Return the months of the year, each with its change drawn to scale."""
    changes = [month["change"] or 0 for month in months]
    head = '<th>Month</th><th>Jobs, thousands</th><th>Change</th><th class="bar"></th>'
    rows = "".join(
        f"<tr><th>{escape(name(month['month']))}</th><td>{month['jobs']:,.0f}</td>"
        f'<td>{signed(change)}</td><td class="bar">{bar(change, changes)}</td></tr>'
        for month, change in zip(months, changes, strict=True)
    )
    return table(head, rows)


def bar(change, changes):
    """Return a change as a bar from zero, on the scale of all changes, 240 pixels wide."""
    low, high = min(0, *changes), max(0, *changes)
    scale = 238 / ((high - low) or 1)
    zero = 1 - low * scale
    at = zero + min(0, change) * scale
    colour = "#c4553b" if change < 0 else "#2a7f78"
    return (
        '<svg width="240" height="12" aria-hidden="true">'
        f'<rect x="{at:.1f}" y="1" width="{abs(change) * scale:.1f}" height="10" fill="{colour}"/>'
        f'<rect x="{zero - 0.5:.1f}" width="1" height="12" fill="#6a7684"/></svg>'
    )


def tone(row):
    """Return the style of a change."""
    return "loss" if row["change"] < 0 else "gain"


def table(head, rows):
    """Return a table that scrolls by itself where the screen is narrow."""
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def picture(svg, text):
    """Return an SVG as an image, in which nothing can run."""
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{escape(text)}" src="data:image/svg+xml;base64,{data}">'


def people(thousands):
    """Return thousands as people say them."""
    if thousands >= 1000:  # noqa: PLR2004 - a thousand thousands
        return f"{thousands / 1000:.1f} million"
    return f"{thousands:.0f} thousand"


def name(month):
    """Return `2009-01` as January 2009."""
    return f"{dt.date.fromisoformat(month + '-01'):%B %Y}"


def signed(value, decimals=0):
    """Return a change with its sign, a real minus, and thousands apart."""
    if not round(value, decimals):
        return "0"
    return f"{value:+,.{decimals}f}".replace("-", "\N{MINUS SIGN}")
