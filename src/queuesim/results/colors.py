"""The colours of plots."""

from __future__ import annotations

BLUE, ORANGE, GREEN, RED, SKY, PINK, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#F0E442",
)
"""Colours that colour-blind people tell apart (Okabe and Ito, Color Universal Design, 2008)."""

GREY, PALE = "#6B6B6B", "#DDDDDD"
