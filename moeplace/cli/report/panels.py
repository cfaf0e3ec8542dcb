"""The parts that the script fills: controls, map, layers, heat map, experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeplace.cli.report.markup import Html, tag
from moeplace.cli.report.sections import section
from moeplace.cli.report.tables import Column, table

if TYPE_CHECKING:
    from moeplace.cli.report.gather import Gathered


def panels(gathered: Gathered, against: Html) -> list[Html]:
    """Return the interactive parts in order, `against` between them."""
    return [
        _controls(gathered),
        _map(gathered),
        _layers(gathered),
        against,
        _together(gathered),
        _experts(gathered),
    ]


def _controls(gathered: Gathered) -> Html:
    layers = gathered.problem.num_layers
    radios = [
        tag(
            "label",
            tag("input", type="radio", name="view", value=str(number),
                checked=number == len(gathered.views) - 1),
            tag("span", view.label),
        )
        for number, view in enumerate(gathered.views)
    ]  # fmt: skip
    return tag(
        "div",
        tag("fieldset", tag("legend", "Placement", class_="unseen"), *radios, class_="segments"),
        tag(
            "div",
            tag("label", "Layer", for_="layer"),
            tag("input", type="range", id="layer", min="0", max=str(layers), value="0", step="1"),
            tag("output", "all layers (mean)", id="layer-said", for_="layer"),
            class_="slider",
        ),
        tag("noscript", "The pictures need JavaScript; all tables work without it."),
        id="controls",
        role="region",
        aria_label="Which placement and which layer the pictures show",
    )


def _map(gathered: Gathered) -> Html:
    mesh = gathered.problem.system.kind == "mesh"
    words = (
        "Each square is a die, each arrow one direction of a link."
        if mesh
        else "Each square is a rank. Arrows above it are its link into the node, out and in; "
        "arrows below it its network card."
        if gathered.problem.system.kind == "cluster"
        else "Each square is a rank, each arrow one direction of a link."
    )
    choice = _choice("Ranks show", "metric", ("load", "load"), ("compute", "compute time"))
    return section(
        "map",
        "Where the load lies",
        tag("p", words, " Color and thickness are read from the scales; all placements share "
            "them, so that switching shows the difference. Arrow keys move from rank to rank.",
            class_="soft"),
        choice,
        tag(
            "div",
            tag("div", id="fabric", class_="picture-box"),
            tag(
                "div",
                tag("div", id="map-legend"),
                tag("dl", id="map-facts", class_="facts"),
                tag("p", id="map-said", aria_live="polite", class_="said"),
                class_="side",
            ),
            class_="map",
        ),
        _more("Ranks as a table", table(
            "Ranks", (Column("rank", "number"), Column("load / mean", "number"),
                      Column("compute", "number"), Column("experts")), [], identifier="ranks")),
        _more("Links as a table", table(
            "Links by dispatch time", (Column("link"), Column("bytes", "number"),
                                       Column("time", "number")), [], identifier="links")),
    )  # fmt: skip


def _layers(gathered: Gathered) -> Html:
    name = gathered.problem.objective
    choice = None
    if name != "time":
        choice = _choice("Bars show", "bars", ("objective", name), ("time", "time"))
    return section(
        "layers",
        "Layer by layer",
        tag("p", "A click on a bar, or Enter, shows that layer everywhere.", class_="soft"),
        choice,
        tag("div", id="layer-bars", class_="picture-box"),
        tag("div", id="layer-legend", class_="legend"),
        _more("Layers as a table", table(
            "Layers", (Column("layer", "number"), Column("time", "number"),
                       Column("dispatch", "number"), Column("compute", "number"),
                       Column("combine", "number"), Column("bound", "number"),
                       Column("balancedness", "number")), [], identifier="layer-table")),
    )  # fmt: skip


def _together(gathered: Gathered) -> Html:
    workload = gathered.problem.workload
    title = "What is used together"
    if workload.token_sets is None:
        return section(
            "together",
            title,
            tag("p", "The workload knows loads only: how often each expert is used, not which are "
                "used together. A trace of tokens would tell."),
        )  # fmt: skip
    if gathered.problem.top_k < 2:
        return section(
            "together", title, tag("p", "Every token uses one expert, so none are used together.")
        )
    origin = (
        "The token sets are synthetic: generated from the loads, so this pattern is a model and "
        "no measurement."
        if workload.token_sets_kind == "synthetic"
        else "The token sets are measured."
    )
    choice = _choice("Rows show", "heat", ("rank", "ranks"), ("expert", "experts"))
    return section(
        "together",
        title,
        tag("p", "How much more, or less, often two ranks serve the same token than their loads "
            "alone suggest. A blue diagonal means that experts used together live together, "
            "which saves copies. ", origin, class_="soft"),
        choice,
        tag(
            "div",
            tag("div", tag("canvas", id="heat", role="img", aria_label="Heat map"),
                class_="picture-box"),
            tag("div", tag("div", id="heat-legend"),
                tag("p", id="heat-said", aria_live="polite", class_="said"), class_="side"),
            class_="map",
        ),
        _more("Strongest pairs as a table", table(
            "Strongest pairs", (Column("one"), Column("other"),
                                Column("times as often as by chance", "number")), [],
            identifier="pairs")),
    )  # fmt: skip


def _experts(gathered: Gathered) -> Html:
    hot = table(
        "Most used experts",
        (Column("layer", "number"), Column("expert", "number"), Column("", "picture"),
         Column("load / mean", "number"), Column("replicas", "number"), Column("ranks")),
        [],
        identifier="hot",
    )  # fmt: skip
    if not (gathered.found.placement.replica_count > 1).any():
        return section(
            "experts",
            "Hot experts",
            hot,
            tag("p", "No expert has a second replica.", class_="soft"),
        )
    replicas = table(
        "Experts with several replicas",
        (Column("layer", "number"), Column("expert", "number"), Column("load / mean", "number"),
         Column("replicas", "number"), Column("ranks"), Column("with one fewer", "number"),
         Column("fullest rank then")),
        [],
        identifier="replicas",
    )  # fmt: skip
    return section(
        "experts",
        "Hot experts and replicas",
        hot,
        tag("h3", "Which replicas, and why"),
        tag("p", "A replica pays if its layer gets slower without it. “With one fewer” is how "
            "much slower it gets if the replica that matters least is left out and nothing else "
            "changes; the rank in the last column would then serve the most: that is the rank "
            "which the replica relieves.", class_="soft"),
        replicas,
    )  # fmt: skip


def _choice(legend: str, name: str, *options: tuple[str, str]) -> Html:
    """Return a group of radio buttons, the first chosen; an option is a value and its text."""
    labels = [
        tag("label", tag("input", type="radio", name=name, value=value, checked=number == 0),
            tag("span", text))
        for number, (value, text) in enumerate(options)
    ]  # fmt: skip
    return tag("fieldset", tag("legend", legend, class_="unseen"), *labels, class_="segments small")


def _more(title: str, content: Html) -> Html:
    return tag("details", tag("summary", title), content)
