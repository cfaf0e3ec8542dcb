from __future__ import annotations

import subprocess
import sys

LOADING = """
import sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
sys.argv = ["moeplace", "model", "list"]
from moeplace.__main__ import main
main()
"""


def interrupted(name: str) -> subprocess.CompletedProcess[str]:
    """Run `moeplace model list`, with Ctrl-C at the import of a module."""
    return subprocess.run(
        [sys.executable, "-c", LOADING.format(name=name)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_interrupt_while_the_commands_load():
    """Ctrl-C before any command is known: one line and 130, no traceback."""
    done = interrupted("moeplace.cli.main")
    assert done.returncode == 130
    assert (done.stdout, done.stderr) == ("", "error: interrupted; nothing was written\n")


def test_interrupt_while_a_command_loads():
    """Ctrl-C while a command imports what it needs: the same."""
    done = interrupted("moeplace.models")
    assert done.returncode == 130
    assert (done.stdout, done.stderr) == ("", "error: interrupted; nothing was written\n")
