from __future__ import annotations

import subprocess
import sys

import pytest

from moeplace.errors import InputError
from moeplace.placement.formats import FORMATS, format_info, list_formats


def test_names():
    """The formats that the documentation promises are there."""
    assert set(list_formats()) == {
        "native-json",
        "native-npz",
        "eplb",
        "sglang",
        "tensorrt-llm",
        "vllm-ascend",
        "omniplacement",
        "vllm-list",
        "vllm-jsonl",
        "ktransformers",
        "llama-cpp",
    }


def test_only_vllm_is_experimental():
    """Readers that live in open pull requests are marked, merged ones are not."""
    experimental = {name for name, info in FORMATS.items() if info.stability == "experimental"}
    assert experimental == {"vllm-list", "vllm-jsonl"}


@pytest.mark.parametrize(
    ("alias", "name"),
    [("trtllm", "tensorrt-llm"), ("vLLM", "vllm-list"), ("vllm_ascend", "vllm-ascend")],
)
def test_aliases(alias, name):
    """Other spellings lead to the same format."""
    assert format_info(alias).name == name


def test_unknown_name():
    """A misspelled engine gets a suggestion."""
    with pytest.raises(InputError, match="did you mean 'sglang'"):
        format_info("sglagn")


def test_looking_up_loads_no_format():
    """Names and facts are known without loading YAML or the code of an engine."""
    code = (
        "import sys, moeplace.placement.formats as f; f.format_info('sglang');"
        "print([m for m in ('yaml', 'moeplace.placement.formats.sglang',"
        " 'moeplace.placement.formats.tensorrt_llm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
