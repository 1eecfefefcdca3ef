"""Turns results into the Markdown of RESULTS.md: bars, overview, floors, details, method."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Iterable

from plan import BARS, SUBJECTS, Bar, Subject
from results import Results
from systems import System
from systems_manyhands import OURS

OVERVIEW = ("throughput", "roundtrip", "payload", "first", "import")
FLOORS = {
    "pickle_dumps_ns": ("`pickle.dumps((1,))`", "ns"),
    "pickle_loads_ns": ("`pickle.loads` of that", "ns"),
    "future_ns": ("a `concurrent.futures.Future` from creation to result", "ns"),
    "copy_warm_gb_per_s": ("copy 64 MB into warm memory", "GB/s"),
    "copy_cold_gb_per_s": ("copy 64 MB into new `bytes`", "GB/s"),
    "fresh_pages_gb_per_s": ("touch 64 MB of fresh shared memory", "GB/s"),
    "payload_gb_per_s": (
        "64 MB there and back by four plain copies, two of them into new `bytes`",
        "GB/s",
    ),
    "eventfd_us": ("wake another process and be woken, by eventfd", "µs"),
    "eventfd_one_core_us": ("the same, both on one core", "µs"),
    "eventfd_two_cores_us": ("the same, on two cores", "µs"),
    "null_executor_per_s": (
        "`gather(run_in_executor)` on an executor that does nothing",
        "tasks/s",
    ),
    "null_executor_us": ("one `await run_in_executor` on that", "µs"),
}


def write_report(results: Results, systems: list[System], where: list[str], minutes: float) -> str:
    """The whole page."""
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    measured = {measure for measure, _ in results.outcomes}
    parts = [
        "# Benchmark results",
        "Written by `make bench`; do not edit. Figures drift with the machine: compare ratios.",
    ]
    if results.quick:
        parts.append("**A quick look (`--quick`): too short for a result.**")
    facts = [*filter(None, where), f"{day}, {minutes:.0f} minutes"]
    parts.append("\n".join(f"- {fact}" for fact in facts))
    parts += section("What must be reached", bars_table(results))
    if measured & {subject.measure for subject in SUBJECTS if subject.key in OVERVIEW}:
        parts += section("Overview", overview(results, systems))
        parts.append("In brackets: how many times better manyhands is, in the same run.")
    if "floors" in measured:
        parts += section("Floors: what no pool can beat here", floors_table(results))
    if "idle" in measured:
        parts += section("Wake-ups of an idle pool", idle_table(results, systems))
    for subject in SUBJECTS:
        if subject.measure in measured:
            parts += section(subject.title, details(results, subject, systems))
    parts += section("Method", method(results))
    return "\n\n".join(parts) + "\n"


def section(title: str, body: str) -> list[str]:
    """A heading and its body, if there is any."""
    return [f"## {title}", body] if body else []


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table; empty if there are no rows."""
    lines = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    if not lines:
        return ""
    rule = "|---" + "|---:" * (len(head) - 1) + "|"
    return "\n".join([f"| {' | '.join(head)} |", rule, *lines])


def figure(value: float | None) -> str:
    """A number with three significant digits."""
    if value is None:
        return "-"
    if value >= 1000:
        digits = len(str(int(value))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def times(ratio: float | None) -> str:
    """A ratio."""
    return "-" if ratio is None else f"{figure(ratio)} x"


def met(reached: bool | None) -> str:
    """Whether a bar was reached."""
    return "not measured" if reached is None else "yes" if reached else "**no**"


# --- the tables --------------------------------------------------------------------------------


def bars_table(results: Results) -> str:
    """Each bar: what must be reached, what was measured, whether it was reached."""
    rows = [bar_row(results, bar) for bar in BARS]
    for system in (OURS, f"{OURS}, awaited"):
        woken = idle_wakeups(results, system)
        rows.append(
            [
                f"idle pool, {results.effort.idle_seconds:.0f} s ({system}): wake-ups",
                "0",
                figure(woken),
                met(None if woken is None else woken == 0),
            ]
        )
    grown = results.middle("stream", OURS, "grown_mb")
    rows.append(
        [
            f"`map` over {results.effort.stream_items:,} items: the parent's memory grows by",
            "< 50 MB",
            "-" if grown is None else f"{grown:.1f} MB",
            met(None if grown is None else grown < 50),
        ]
    )
    for form in ("submit", "map"):
        ratio = results.middle("cost", OURS, f"{form}_ratio")
        few = figure(results.middle("cost", OURS, f"{form}_few_us"))
        many = figure(results.middle("cost", OURS, f"{form}_many_us"))
        rows.append(
            [
                f"cost per task through `{form}`, {results.effort.many_tasks:,} against 1,000",
                "≤ 1.3 x",
                "-" if ratio is None else f"{ratio:.2f} x ({many} µs / {few} µs)",
                met(None if ratio is None else ratio <= 1.3),
            ]
        )
    more = results.middle("starting", OURS, "more_ms")
    rows.append(
        [
            "`import manyhands`, more than `python -c pass`",
            "< 10 ms",
            "-" if more is None else f"{more:.1f} ms",
            met(None if more is None else more < 10),
        ]
    )
    return table(["what", "target", "measured", "met?"], rows)


def bar_row(results: Results, bar: Bar) -> list[str]:
    """One ratio bar: ours against the best of its peers."""
    subject = next(subject for subject in SUBJECTS if subject.key == bar.subject)
    found = {peer: results.advantage(subject, peer) for peer in bar.peers}
    known = {peer: ratio for peer, ratio in found.items() if ratio is not None}
    hardest = min(known, key=known.__getitem__, default=None)
    if hardest is None:
        return [bar.text, f"≥ {bar.factor:g} x", "-", met(None)]
    return [
        f"{bar.text}: {hardest}" if len(bar.peers) > 1 else bar.text,
        f"≥ {bar.factor:g} x",
        times(known[hardest]),
        met(known[hardest] >= bar.factor),
    ]


def overview(results: Results, systems: list[System]) -> str:
    """One row for each system, one column for each figure."""
    subjects = [subject for subject in SUBJECTS if subject.key in OVERVIEW]
    rows = []
    for system in systems:
        row = [f"**{system.name}**" if system.name == OURS else system.name]
        for subject in subjects:
            value = results.middle(subject.measure, system.name, subject.number)
            ratio = results.advantage(subject, system.name)
            shown = figure(value)
            if ratio is not None and system.distribution != OURS:
                shown += f" ({times(ratio)})"
            elif value is None and results.notes(subject.measure, system.name):
                shown = results.notes(subject.measure, system.name)
            row.append(shown)
        rows.append(row)
    return table(["system", *(f"{s.key}, {s.unit}" for s in subjects)], rows)


def details(results: Results, subject: Subject, systems: list[System]) -> str:
    """One figure for all systems, with its spread over the rounds."""
    rows = []
    for system in systems:
        if not subject.includes(system):
            continue
        values = results.values(subject.measure, system.name, subject.number).values()
        ratio = results.advantage(subject, system.name)
        rows.append(
            [
                system.name,
                figure(statistics.median(values) if values else None),
                f"{figure(min(values))} to {figure(max(values))}" if values else "-",
                "" if system.name == subject.ours else times(ratio),
                results.notes(subject.measure, system.name),
            ]
        )
    head = [
        "system",
        f"median, {subject.unit}",
        "lowest to highest",
        f"{subject.ours} is better by",
        "notes",
    ]
    return table(head, rows)


def idle_wakeups(results: Results, system: str) -> float | None:
    """Context switches of parent and workers together."""
    parent = results.middle("idle", system, "parent")
    workers = results.middle("idle", system, "workers")
    return None if parent is None or workers is None else parent + workers


def idle_table(results: Results, systems: list[System]) -> str:
    """Who polls, and how often."""
    rows = []
    for system in systems:
        if results.of("idle", system.name):
            numbers = ("parent", "workers", "processes", "threads")
            counts = [figure(results.middle("idle", system.name, name)) for name in numbers]
            rows.append([system.name, *counts, results.notes("idle", system.name)])
    seconds = f"in {results.effort.idle_seconds:.0f} s"
    head = ["system", f"parent, {seconds}", f"its children, {seconds}"]
    return table([*head, "processes", "threads", "notes"], rows)


def floors_table(results: Results) -> str:
    """The floors by name."""
    rows = [
        [text, f"{figure(results.middle('floors', OURS, key))} {unit}"]
        for key, (text, unit) in FLOORS.items()
        if results.middle("floors", OURS, key) is not None
    ]
    return table(["what", "here"], rows)


def method(results: Results) -> str:
    """How the figures came about."""
    effort = results.effort
    stream = results.middle("stream", OURS, "items_per_s")
    ahead = results.middle("stream", OURS, "read_ahead")
    lines = [
        f"{effort.workers} workers each. Rounds: {results.rounds}; in each, every system is "
        "measured in turn (A B A B …), beginning with another one each time. Shown are medians "
        "over the rounds; ratios are formed within each round.",
        "Every measurement runs in a process of its own with a time limit. Whatever a system "
        "leaves running is counted as a note, then ended.",
        "Every result is compared with what it must be.",
        f"throughput, coroutines: waves of {effort.tasks:,} tasks, 2,000 for the heavy systems; "
        f"one to warm up, then at least {effort.waves} waves and {effort.seconds} s; their median.",
        f"round trips: {effort.seconds} s to warm up, then {effort.calls:,} calls or "
        f"{4 * effort.seconds:.0f} s.",
        f"payload: {effort.echoes} echoes of new random bytes after 2 to warm up; GB/s count both "
        "ways.",
        "The garbage collector is on, as it is for users, and runs before each timing. "
        "aiomultiprocess runs coroutines only, so that all its tasks are coroutines.",
        "Wake-ups are the context switches, from `/proc/PID/task/*/status`, of every thread of the "
        "parent and of all its descendants, read from outside.",
    ]
    if stream is not None:
        lines.append(
            f"`map` over a generator: {figure(stream)} items/s; the generator was at most "
            f"{ahead:,.0f} items ahead of the consumer."
        )
    return "\n".join(f"- {line}" for line in lines)
