"""Start the command line: ``moeplace`` and ``python -m moeplace``."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130
COMPLETE = "_MOEPLACE_COMPLETE"  # set by the shell when it wants words to complete with


def main() -> None:
    """Load the commands and run one; Ctrl-C while they load leaves with 130 and one line."""
    try:
        from moeplace.cli.main import app

        if COMPLETE in os.environ:
            from moeplace.cli.completed_options import complete_options

            complete_options(app)
        app(prog_name="moeplace")
    except KeyboardInterrupt:
        print("error: interrupted; nothing was written", file=sys.stderr)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
