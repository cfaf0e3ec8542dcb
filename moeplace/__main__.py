"""``python -m moeplace``: the command line, where Ctrl-C may come before it is loaded."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    """Load the commands and run one; Ctrl-C while they load leaves with 130 and one line."""
    try:
        from moeplace.cli.main import app

        app()
    except KeyboardInterrupt:
        print("error: interrupted; nothing was written", file=sys.stderr)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
