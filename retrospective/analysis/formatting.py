"""Numbers as text, once: the same number reads the same in notebooks, tables and prose.

Typography: a true minus sign, thousands separated by commas, a narrow no-break space before units, a
dash where there is no number.
"""

from __future__ import annotations

import math

MISSING = "—"
MINUS = "\u2212"
THIN = "\u202f"


def known(value: object) -> bool:
    """Whether there is a number to show: neither ``None`` nor pandas' ``NA``, and finite."""
    if isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def _signed(text: str) -> str:
    return text.replace("-", MINUS)


def fmt_number(value: float | None, digits: int = 3, unit: str = "") -> str:
    """``digits`` significant digits, never in exponent form, thousands separated: 12,300 and 0.0123."""
    if not known(value):
        return MISSING
    value = float(value)
    if value == 0:
        text = "0"
    else:
        exponent = math.floor(math.log10(abs(value)))
        rounded = round(value, digits - 1 - exponent)
        # Rounding up may have added a digit (9.996 -> 10.0).
        exponent = math.floor(math.log10(abs(rounded)))
        text = f"{rounded:,.{max(0, digits - 1 - exponent)}f}"
    return _signed(text) + (THIN + unit if unit else "")


def fmt_integer(value: float | None) -> str:
    """Format a whole number, thousands separated."""
    return MISSING if not known(value) else _signed(f"{round(float(value)):,}")


def fmt_ratio(value: float | None) -> str:
    """Format a ratio: two decimals below 10, then three significant digits."""
    if not known(value):
        return MISSING
    return f"{value:.2f}" if abs(value) < 10 else fmt_number(value)


def fmt_ratio_interval(value: float | None, low: float | None, high: float | None) -> str:
    """``value [low, high]``; a value without an interval says so."""
    if not known(value):
        return MISSING
    if low is None or high is None or not (known(float(low)) and known(float(high))):
        return f"{fmt_ratio(value)} [no interval]"
    return f"{fmt_ratio(value)} [{fmt_ratio(low)}, {fmt_ratio(high)}]"


def fmt_interval(value: float | None, low: float | None, high: float | None, unit: str = "") -> str:
    """``value [low, high] unit`` of a level."""
    if not known(value):
        return MISSING
    end = THIN + unit if unit else ""
    if low is None or high is None or not (known(float(low)) and known(float(high))):
        return fmt_number(value) + end
    return f"{fmt_number(value)} [{fmt_number(low)}, {fmt_number(high)}]{end}"


def fmt_percent(share: float | None, digits: int = 2) -> str:
    """Format a share as per cent: 0.714 -> 71 %, 0.0213 -> 2.1 %."""
    if share is None or not known(float(share)):
        return MISSING
    percent = float(share) * 100
    if percent == 0 or abs(percent) >= 100:
        return fmt_integer(percent) + THIN + "%"
    if abs(percent) < 0.1:
        return ("<" if percent > 0 else ">" + MINUS) + "0.1" + THIN + "%"
    return fmt_number(percent, digits) + THIN + "%"


def fmt_gain(ratio: float | None) -> str:
    """Format a ratio as a gain: 1.71 -> 71 %; below 1 it is negative."""
    if ratio is None or not known(float(ratio)):
        return MISSING
    return fmt_percent(float(ratio) - 1)


def fmt_us(value: float | None) -> str:
    """Format a time given in µs, in the unit that reads best: ns below 1 µs, ms from 10 ms on."""
    if not known(value):
        return MISSING
    value = float(value)
    if value != 0 and abs(value) < 1:
        return fmt_number(value * 1e3, 2, "ns")
    if abs(value) >= 10_000:
        return fmt_number(value / 1e3, 3, "ms")
    return fmt_number(value, 3, "µs")


def fmt_bytes(count: float | None) -> str:
    """Format a size as sizes of reads are written: 512 B, 4 KiB, 1 MiB."""
    if not known(count):
        return MISSING
    whole = round(float(count))
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if whole >= unit and whole % unit == 0:
            return f"{whole // unit:,}{THIN}{name}"
    return f"{whole:,}{THIN}B"


def fmt_limit(limit: str) -> str:
    """Format an accept-limit as the paper writes it."""
    return "Inf" if str(limit).lower() == "inf" else str(limit)
