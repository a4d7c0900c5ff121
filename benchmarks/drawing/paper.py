"""The paper of the pictures, by day and by night: colours, fonts, and the style that a browser applies in the dark."""

from __future__ import annotations

PAPER, INK, MUTED, FAINT = "#ffffff", "#24292f", "#57606a", "#d8dee4"
OURS, BY_HAND, OWN_WAY, LIMIT = "#0072b2", "#008560", "#c97b00", "#555555"
"""Okabe and Ito's blue, green and orange, the last two darker, so that their outlines are seen on white."""

AT_NIGHT = {
    PAPER: "#15191f",
    INK: "#e6edf3",
    MUTED: "#a5afba",
    FAINT: "#3a424c",
    OURS: "#56b4e9",
    BY_HAND: "#2fc59a",
    OWN_WAY: "#e69f00",
    LIMIT: "#b4bcc5",
}
"""The colour of each in the dark."""

STYLE = {
    # The first comes with matplotlib, the second is as wide.
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "font.size": 10,
    "axes.facecolor": PAPER,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9.5,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xaxis.labellocation": "left",
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.facecolor": PAPER,
    "legend.edgecolor": FAINT,
    "legend.fontsize": 9.5,
    "svg.fonttype": "none",  # text stays text: it can be searched, and takes less
    "svg.hashsalt": "pgnotify",  # the same numbers make the same file
}


def with_night(svg: str) -> str:
    """Return a picture that a browser shows in the colours of the night, if the reader prefers the dark."""
    rules = [
        f'  [style*="{part}: {day}"] {{ {part}: {night} !important }}'
        for day, night in AT_NIGHT.items()
        for part in ("fill", "stroke")
    ]
    style = "\n".join(["<style>", "@media (prefers-color-scheme: dark) {", *rules, "}", "</style>"])
    return svg.replace("<defs>", f"<defs>\n{style}", 1)
