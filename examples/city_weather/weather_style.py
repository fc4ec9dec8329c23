"""What both charts share: colours, type, and how a figure becomes PNG bytes and SVG text.

Imported only by the tasks that draw: nothing else pays for matplotlib.
"""

import io

from matplotlib.colors import LinearSegmentedColormap

INK, SOFT, FAINT = "#22303c", "#6b7885", "#e3e6e8"
WARMTH = LinearSegmentedColormap.from_list(
    "warmth", ["#2c4a8c", "#4a8fc0", "#a8d3d2", "#f6e7b4", "#f2a65a", "#d1495b", "#8a1c3c"]
)
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": SOFT,
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
    "svg.hashsalt": "city-weather",
}


def degrees(value, decimals=0):
    """Return a temperature as people read it, with a real minus sign."""
    return f"{value:.{decimals}f}°".replace("-", "\N{MINUS SIGN}")


def rendered(figure):
    """Return a figure as PNG bytes and as SVG text."""
    png, svg = io.BytesIO(), io.StringIO()
    figure.savefig(png, format="png", dpi=170)
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return png.getvalue(), svg.getvalue()
