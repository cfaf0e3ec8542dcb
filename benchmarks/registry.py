"""What `python -m benchmarks` runs: one entry per case, loaded on use."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Case:
    """A benchmark.

    Attributes
    ----------
    name, title
        What `--only` calls it, and its heading.
    target
        ``"module:function"``; the function takes `quick` and returns Markdown.
    """

    name: str
    title: str
    target: str

    def run(self, quick: bool) -> str:
        """Run the case and return what it found, as Markdown."""
        module, function = self.target.split(":")
        return cast("Callable[[bool], str]", getattr(import_module(module), function))(quick)


CASES = {
    case.name: case
    for case in (
        Case("commands", "Commands from start to end", "benchmarks.commands:report"),
        Case("chain", "Tokens that stay with their main expert", "benchmarks.chain:report"),
        Case("gaps", "Certified gaps at full size", "benchmarks.gaps:report"),
        Case("weak-side", "Which side of a gap is weak", "benchmarks.weak_side:report"),
        Case("copies", "Ranks a token touches, load limited", "benchmarks.copies:report"),
        Case("evaluate", "Scoring one placement", "benchmarks.evaluation:report"),
        Case("sweep", "Hundreds of points", "benchmarks.sweeping:report"),
        Case("validation", "Models against measurements", "benchmarks.validation:report"),
        Case("measured", "Placements timed on GPUs", "benchmarks.measured:report"),
        Case("layer-time", "Layer time beside every peer", "benchmarks.layer_time:report"),
        Case("partition", "Ranks a token touches", "benchmarks.partitioning:report"),
        Case("qap", "Quadratic assignment (QAPLIB)", "benchmarks.qap:report"),
        Case("trace-import", "Importing traces", "benchmarks.traces:import_report"),
        Case("coactivation", "Counting co-activation", "benchmarks.traces:coactivation_report"),
        Case("rebalance", "Maps for EPLB's call", "benchmarks.rebalancing:report"),
        Case("integrations", "Policies for engines", "benchmarks.integrations:report"),
        Case("balance", "Balance beside the bound", "benchmarks.balance:report"),
        Case("movement", "Balance within a limit of moves", "benchmarks.movement:report"),
        Case("scaling", "Time and memory against size", "benchmarks.scaling:report"),
        Case("replay", "Ten thousand windows of time", "benchmarks.replaying:report"),
        Case("flexmoe", "FlexMoE and its rivals on drifting loads", "benchmarks.flexmoe:report"),
        Case("drift", "Maps beside loads they were not fitted on", "benchmarks.drift:report"),
        Case("makespan", "Packing of makespan instances", "benchmarks.makespan:report"),
        Case("wafer", "The wafer as one GPU", "benchmarks.wafer:report"),
        Case("wafer-aspects", "What moeplace gains from what", "benchmarks.wafer:report_aspects"),
        Case("buffer", "Expert buffering", "benchmarks.buffering:report"),
        Case("exact", "Proven optima", "benchmarks.exact:report"),
        Case("model-build", "Building programs", "benchmarks.exact:report_build"),
    )
}
