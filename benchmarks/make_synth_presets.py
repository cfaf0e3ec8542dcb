"""Find the parameters of the presets of `moeplace trace synth` and print them as YAML.

``python -m benchmarks.make_synth_presets [NAME...]``
"""

from __future__ import annotations

import sys

from moeplace.traces.generator.fit import calibrate
from moeplace.traces.generator.presets import KNOBS, preset, preset_targets, presets

# Figures that say nothing about the skew leave it at this start.
SKEW = {"kimi-k2": 0.2}


def main() -> None:
    for name in sys.argv[1:] or presets():
        start = preset(name).replace(topics=4, skew=SKEW.get(name, 0.5))
        found = calibrate(start, preset_targets(name))
        values = {knob: round(float(getattr(found, knob)), 4) for knob in KNOBS}
        values["topics"] = int(values["topics"])
        text = ", ".join(f"{knob}: {value:g}" for knob, value in values.items())
        print(f"{name}:\n  parameters: {{{text}}}", flush=True)


if __name__ == "__main__":
    main()
