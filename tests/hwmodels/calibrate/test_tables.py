"""Measured tables: what is read, what is refused, what a rule takes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from moeplace.errors import InputError
from moeplace.hwmodels.calibrate.anomalies import RULES
from moeplace.hwmodels.calibrate.published import read_published
from moeplace.hwmodels.calibrate.tables import read_table

if TYPE_CHECKING:
    from pathlib import Path

OWN = "family,op,ranks,tokens_per_rank,time_us\n"
EXPERT = "phase,ranks,tokens,time_us\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_own_measurements(tmp_path: Path) -> None:
    """The short form has DeepSeek-V3's shape and the types of the operation."""
    path = write(tmp_path, OWN + "deepep-low-latency,dispatch,16,128,102.1\n")
    point = read_table(path, "h100-sxm").comm[0]
    assert (point.system, point.ranks, point.tokens, point.nodes) == ("h100-sxm", 16, 128, 2)
    assert (point.dtype, point.experts, point.measured_us) == ("fp8", 256, 102.1)
    assert point.source.endswith("table.csv line 2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the header|no rows|no known table"),
        (OWN, "no rows"),
        ("a,b\n1,2\n", "no known table"),
        (OWN + "deepep-low-latency,dispatch,16,128\n", "line 2: 4 fields, the header has 5"),
        (OWN + "deepep-low-latency,dispatch,16,128,fast\n", "line 2: time_us is 'fast'"),
        (OWN + "deepep-low-latency,dispatch,16,128,nan\n", "line 2: time_us is nan"),
        (OWN + "deepep-low-latency,dispatch,16,128,-3\n", "line 2: time_us is -3"),
        (OWN + "deepep-low-latency,dispatch,16,128,\n", "line 2: column time_us is empty"),
        (OWN + "deepep-low-latency,dispatch,2.5,128,3\n", "line 2: ranks is 2.5"),
        (OWN + "deepep-low-latency,dispatch,0,128,3\n", "line 2: ranks is 0"),
        (OWN + "deepep-low-latency,send,16,128,3\n", "line 2: op 'send'"),
        (OWN + "deepep-lowlatency,dispatch,16,128,3\n", "did you mean 'deepep-low-latency'"),
        (EXPERT + "decode,512,128,3\n", "line 2: 512 ranks share 256 experts"),
        (EXPERT + "train,8,128,3\n", "line 2: phase 'train'"),
        ("phase,phase,ranks,tokens,time_us\n", "names a column twice"),
    ],
)
def test_bad_tables(text: str, message: str, tmp_path: Path) -> None:
    """Every error is an input error that names the line and the column."""
    with pytest.raises(InputError, match=message):
        read_table(write(tmp_path, text), "h100-sxm")


def test_a_system_must_be_known(tmp_path: Path) -> None:
    """Without a device, a column or an option the system is asked for."""
    with pytest.raises(InputError, match=r"line 2: device '' .* give the system"):
        read_table(write(tmp_path, OWN + "nccl,alltoall,8,1,30\n"))
    with pytest.raises(InputError, match="cannot read"):
        read_table(tmp_path / "nothing.csv")


def test_a_hiccup_is_taken_out_by_rule(tmp_path: Path) -> None:
    """A time that twice the tokens beat by more than 15 % is set apart, with the rule's name."""
    rows = [(1, 20.0), (2, 60.0), (4, 21.0), (8, 22.0)]
    text = OWN + "".join(f"deepep-low-latency,combine,16,{n},{t}\n" for n, t in rows)
    table = read_table(write(tmp_path, text), "h100-sxm")
    assert [point.tokens for point in table.comm] == [1, 4, 8]
    ((point, rule),) = table.anomalies
    assert (point.tokens, rule) == (2, "faster with more")
    assert rule in RULES


def test_notify_takes_out_the_whole_sweep(tmp_path: Path) -> None:
    """An EP size whose notify grows to a large share at many tokens is waiting, not sending."""
    head = (
        "device,node_num,hidden_size,num_token,num_topk,num_experts,dispatch_sms,"
        "dispatch_transmit_us,dispatch_notify_us,combine_sms,combine_transmit_us,"
        "combine_notify_us\n"
    )
    rows = "".join(
        f"NVIDIA H100,{nodes},7168,{tokens},8,256,24,{30 + tokens},{notify},24,{60 + tokens},50\n"
        for nodes, notify in ((2, 50), (8, 4000))
        for tokens in (1, 4096)
    )
    table = read_table(write(tmp_path, head + rows))
    assert {point.ranks for point in table.comm} == {16}
    assert {rule for _, rule in table.anomalies} == {"notify"}
    assert len(table.anomalies) == 4


PUBLISHED = "source,hw,system,phase,op,ep,tokens_per_rank,metric,value,unit,note\n"


@pytest.mark.parametrize(
    ("row", "family", "reason"),
    [
        ("a,H100,DeepEP,decode,dispatch,16,128,latency,118,us,", "deepep-low-latency", ""),
        ("a,H100,NCCL EP,low_latency,combine,16,128,bw,73,GB/s,", "deepep-low-latency", ""),
        ("a,H800+CX7,DeepEP V1,normal,combine,32,4096,algo_bw,57,GB/s,", "deepep-normal", ""),
        ("a,H100,Hybrid-EP,normal,dispatch,16,4096,algo_bw,57,GB/s,8 SMs; torch", "hybrid-ep", ""),
        ("a,H200+EFA,DeepEP,normal,dispatch,16,4096,latency,99,us,", None, "network of"),
        ("a,MI300X,MORI,normal,dispatch,8,4096,latency,99,us,", None, "MORI"),
        ("a,H100,Telepathy,normal,dispatch,8,4096,latency,99,us,", None, "not known"),
        ("a,Abacus,DeepEP,normal,dispatch,8,4096,latency,99,us,", None, "hardware"),
        ("a,H100,DeepEP,decode,dispatch,16,128,speed,118,us,", None, "metric 'speed'"),
        ("a,H100,DeepEP,decode,dispatch,-,128,latency,118,us,", None, "not stated"),
    ],
)
def test_published_rows(row: str, family: str | None, reason: str, tmp_path: Path) -> None:
    """Hardware and kernel are read from words; what is not modelled says why."""
    (found,) = read_published(write(tmp_path, PUBLISHED + row + "\n"))
    assert (found.point.family if found.point else None) == family
    assert reason in found.reason
    if family == "hybrid-ep":
        assert found.point is not None
        assert (found.point.sms, found.point.api) == (8, "torch")


def test_bandwidths_are_bytes_over_time(tmp_path: Path) -> None:
    """98 GB/s of DeepEP's README at EP8 is its 77 µs: both count every (token, expert)."""
    row = "a,H800,DeepEP V1,low_latency,dispatch,8,128,bw,98,GB/s,\n"
    (found,) = read_published(write(tmp_path, PUBLISHED + row))
    assert found.measured_us() == pytest.approx(77, rel=0.01)
    assert found.in_unit(found.measured_us()) == pytest.approx(98)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,H100,DeepEP,decode,dispatch,16,128,latency,x,us,", "line 2: value is 'x'"),
        ("a,H100,DeepEP,decode,dispatch,many,128,latency,1,us,", "line 2: ep is 'many'"),
    ],
)
def test_bad_published_rows(row: str, message: str, tmp_path: Path) -> None:
    """A wrong figure is an input error with its line."""
    with pytest.raises(InputError, match=message):
        read_published(write(tmp_path, PUBLISHED + row + "\n"))
