"""Medians and ratios as a Markdown table."""

import statistics

from .rows import LESS


def number(value, digits):
    """A number for people, thousands apart."""
    return f"{value:,.{digits}f}"


def spread(values, digits):
    """The median, and between what the rounds were."""
    median = number(statistics.median(values), digits)
    if len(values) == 1:
        return median
    return f"{median} ({number(min(values), digits)}–{number(max(values), digits)})"


def wanted(figure):
    """What the ratio should be."""
    if figure.wanted is None:
        return ""
    if figure.better == LESS:
        return f"≤ 1/{round(1 / figure.wanted)}"
    return f"≥ {figure.wanted:g} ×"


def ratio(figure, mine, theirs):
    """zabd's median beside Apache ZooKeeper's."""
    if not mine or not theirs:
        return ""
    ours, others = statistics.median(mine), statistics.median(theirs)
    if not ours or not others or ours < 0:
        return ""
    if figure.better == LESS and ours < others:
        return f"1/{others / ours:.1f}"
    return f"{ours / others:.2f} ×"


def reached(figure, mine, theirs):
    """Whether the ratio is what is wanted."""
    if figure.wanted is None or not mine or not theirs:
        return ""
    got = statistics.median(mine) / max(statistics.median(theirs), 1e-9)
    good = got <= figure.wanted if figure.better == LESS else got >= figure.wanted
    return "yes" if good else "no"


def limit_cell(row, figure, of_zabd, of_limit):
    """zabd's share of the limit."""
    if row.limit is None or figure is not row.figures[0] or not of_zabd or not of_limit:
        return ""
    share = statistics.median(of_zabd) / statistics.median(of_limit)
    if row.limit_wanted is None:
        return f"{share:.0%} of {row.limit}"
    mark = "yes" if share >= row.limit_wanted else "no"
    return f"{share:.0%} of {row.limit} (≥ {row.limit_wanted:.0%}: {mark})"


def markdown(rows, results, size):
    """The table of the rows about as many servers."""
    lines = [
        "| what | figure | zabd | Apache ZooKeeper | ratio | wanted | reached | limit |",
        "|---|---|--:|--:|--:|--:|---|---|",
    ]
    for row in rows:
        if row.size != size or row.name not in results:
            continue
        got = results[row.name]
        for figure in row.figures:
            values = {
                kind: [round_[figure.name] for round_ in rounds if figure.name in round_]
                for kind, rounds in got.items()
            }
            cells = [
                spread(values[kind], figure.digits) if values.get(kind) else "–"
                for kind in ("zabd", "apache")
            ]
            mine, theirs = values.get("zabd"), values.get("apache")
            name = f"{figure.name}, {figure.unit}" if figure.unit else figure.name
            lines.append("| " + " | ".join([
                row.title, name, *cells, ratio(figure, mine, theirs), wanted(figure),
                reached(figure, mine, theirs),
                limit_cell(row, figure, mine, values.get(row.limit)),
            ]) + " |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""
