"""The catalogue: figures against published ones, names, files and their errors."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise

import pytest
import yaml

from moeplace.errors import InputError
from moeplace.models import list_aliases, list_models, load_model
from moeplace.models.catalog import load_model_file

NAMES = list_models()
PROMISED = [
    "deepseek-v3",
    "deepseek-v2-lite",
    "qwen3-235b-a22b",
    "kimi-k2",
    "llama-4-maverick",
    "mixtral-8x7b",
]


def write_yaml(path, **changes):
    content = {
        "name": "mine",
        "num_layers": 4,
        "moe_layers": "1-3",
        "num_experts": 8,
        "top_k": 2,
        "hidden_size": 16,
        "moe_intermediate_size": 8,
        **changes,
    }
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
    return path


def test_catalogue_is_large_and_has_the_promised_names():
    """At least 20 models, among them those that the documentation names."""
    assert len(NAMES) >= 20
    assert set(PROMISED) <= set(NAMES)
    assert sorted(NAMES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_routed_parameters_reproduce_the_published_total(name):
    """Layers × experts × matrices gives the published size of all routed experts within 1 %."""
    file = load_model_file(name)
    assert file.name == name
    assert len(file.source) > 20
    assert file.routed_params_published_B is not None
    routed = file.to_spec().routed_params / 1e9
    assert routed == pytest.approx(file.routed_params_published_B, rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_active_parameters_follow_from_total_and_top_k(name):
    """Total − routed + (layers × top_k × expert) is the published active count.

    The two published counts are independent of the figures, so a wrong layer count, width or
    top-k shows here. Within 2 % of the total (it is rounded) and 15 % of the active count (some
    publishers leave out embeddings).
    """
    model = load_model(name)
    assert model.total_params is not None
    assert model.active_params is not None
    assert model.non_expert_params is not None
    active = model.non_expert_params + model.num_moe_layers * model.top_k * model.expert_params
    slack = 0.02 * model.total_params + 0.15 * model.active_params
    assert active == pytest.approx(model.active_params, abs=slack)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("deepseek-v3", tuple(range(3, 61))),
        ("deepseek-v2", tuple(range(1, 60))),
        ("deepseek-v2-lite", tuple(range(1, 27))),
        ("kimi-k2", tuple(range(1, 61))),
        ("llama-4-maverick", tuple(range(1, 48, 2))),
        ("qwen3-235b-a22b", tuple(range(94))),
    ],
)
def test_absolute_layer_ids(name, layers):
    """Dense layers are skipped and ids stay absolute, as engines key their maps."""
    assert load_model(name).moe_layers == layers


def test_hybrid_model_has_one_moe_layer_per_expert_block():
    """Nemotron 3 Nano and Super have 23 and 40 MoE blocks, never two in a row."""
    for name, count in (("nemotron-3-nano-30b-a3b", 23), ("nemotron-3-super-120b-a12b", 40)):
        layers = load_model(name).moe_layers
        assert len(layers) == count
        assert all(b - a > 1 for a, b in pairwise(layers))


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("deepseek-v3", "deepseek-v3"),
        ("DeepSeek-V3", "deepseek-v3"),
        ("deepseek-r1", "deepseek-v3"),
        ("deepseek-ai/DeepSeek-V3", "deepseek-v3"),
        ("deepseek-ai/DeepSeek-V3-0324", "deepseek-v3"),
        ("deepseek-ai/DeepSeek-V3.1", "deepseek-v3"),
        ("deepseek-ai/DeepSeek-V3.2-Exp", "deepseek-v3"),
        ("deepseek-ai/DeepSeek-V2-Lite-Chat", "deepseek-v2-lite"),
        ("Qwen/Qwen3-235B-A22B-Instruct-2507", "qwen3-235b-a22b"),
        ("Qwen/Qwen3-Next-80B-A3B-Thinking", "qwen3-next-80b-a3b"),
        ("moonshotai/Kimi-K2-Instruct-0905", "kimi-k2"),
        ("moonshotai/Kimi-K2-Thinking", "kimi-k2.5"),
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct", "llama-4-maverick"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b"),
        ("zai-org/GLM-4.5-Air", "glm-4.5-air"),
        ("allenai/OLMoE-1B-7B-0924", "olmoe-1b-7b"),
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "nemotron-3-nano-30b-a3b"),
    ],
)
def test_names_as_people_write_them(asked, name):
    """Case, the owner of a Hugging Face id and release endings do not matter."""
    assert load_model(asked) == load_model(name)


def test_precision_ending_sets_the_weight_type():
    """The FP8 and NVFP4 releases differ from the plain one in the weight type only."""
    plain = load_model("glm-4.5")
    assert plain.weight_dtype == "bf16"
    assert load_model("zai-org/GLM-4.5-FP8") == plain.replace(weight_dtype="fp8")
    assert load_model("nvidia/DeepSeek-V3-0324-NVFP4").weight_dtype == "fp4"


def test_aliases_point_to_models_and_hide_none():
    """Every alias is lower case, leads to a catalogue entry and is no entry itself."""
    for alias, name in list_aliases().items():
        assert alias == alias.lower()
        assert name in NAMES
        assert alias not in NAMES


def test_served_types():
    """Types as served: DeepSeek-V3 and Kimi-K2 in FP8, gpt-oss and Kimi-K3 in 4-bit floats."""
    served = {name: load_model(name).weight_dtype for name in NAMES}
    assert served["deepseek-v3"] == served["kimi-k2"] == "fp8"
    assert served["gpt-oss-120b"] == served["kimi-k3"] == "fp4"
    assert served["kimi-k2.5"] == "int4"
    assert served["mixtral-8x7b"] == "bf16"


@pytest.mark.parametrize("name", ["deepsek-v3", "deepseek-r1-distill-qwen-7b", "llama-3-70b", ""])
def test_unknown_name_points_to_the_list(name):
    """An unknown name is an input error that says how to see the known ones."""
    with pytest.raises(InputError, match="moeplace model list") as caught:
        load_model(name)
    assert caught.value.exit_code == 3


def test_unknown_name_suggests_the_nearest():
    """A typo gets the name that was meant."""
    with pytest.raises(InputError, match="did you mean 'deepseek-v3'"):
        load_model("deepsek-v3")


def test_own_yaml_file(tmp_path):
    """A user's file needs only the shape; layer ids may be text or a list."""
    model = load_model(write_yaml(tmp_path / "mine.yaml", total_params_B=0.5))
    assert model.moe_layers == (1, 2, 3)
    assert model.total_params == 5e8
    assert load_model(str(write_yaml(tmp_path / "b.yml", moe_layers=[0, 2]))).moe_layers == (0, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"topk": 2}, r"mine\.yaml: topk: unknown key; known: .*top_k"),
        ({"top_k": None}, r"mine\.yaml: top_k: Field required"),
        ({"num_experts": "many"}, r"mine\.yaml: num_experts: "),
        ({"moe_layers": "3-1"}, r"mine\.yaml: moe_layers: .*3-1"),
        ({"top_k": 9}, r"mine\.yaml: model mine: top_k 9 exceeds"),
        ({"weight_dtype": "fp7"}, r"mine\.yaml: model mine: weight_dtype 'fp7'"),
    ],
)
def test_yaml_errors_name_file_and_key(tmp_path, changes, message):
    """What is wrong in a user's file is said on one line with file and key."""
    path = write_yaml(tmp_path / "mine.yaml", **changes)
    with pytest.raises(InputError, match=message) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("a.yaml", "name: [", "not YAML"),
        ("a.yaml", "- 1", "expected keys"),
        ("config.json", "{", "line 1: not JSON"),
        ("config.json", "[]", "expected a JSON object"),
        ("config.json", '{"num_hidden_layers": 2}', r"config\.json: model .*: not a MoE model"),
    ],
)
def test_unreadable_files(tmp_path, file, text, message):
    """Broken files are input errors on one line that name the file."""
    path = tmp_path / file
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    """A path that is not there, and a folder without a config, are said plainly."""
    with pytest.raises(InputError, match="cannot read: No such file"):
        load_model(tmp_path / "none.yaml")
    with pytest.raises(InputError, match=r"no config\.json in this folder"):
        load_model(tmp_path)


def test_config_from_file_folder_and_cache(tmp_path, monkeypatch):
    """A config.json, its folder and a Hugging Face cache folder give the same model."""
    config = {
        "model_type": "mixtral",
        "num_hidden_layers": 2,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "hidden_size": 8,
        "intermediate_size": 16,
    }
    folder = tmp_path / "models--me--My-MoE" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    model = load_model(folder / "config.json")
    assert model.name == "my-moe"
    assert model.num_experts == 4
    assert model.total_params is None
    assert load_model(str(folder)) == model
    monkeypatch.chdir(tmp_path)
    plain = tmp_path / "me" / "deepseek-v3"
    plain.mkdir(parents=True)
    (plain / "config.json").write_text(json.dumps(config))
    assert load_model("me/deepseek-v3").num_experts == 4
    monkeypatch.chdir(tmp_path / "me")
    assert load_model("deepseek-v3").num_experts == 256
    assert load_model("./deepseek-v3").num_experts == 4


def test_importing_the_package_loads_nothing_heavy():
    """Only loading a model needs pydantic and yaml; importing the package does not."""
    code = (
        "import sys, moeplace.models; "
        "print([m for m in ('pydantic', 'yaml', 'scipy', 'numba', 'pyarrow', 'networkx', "
        "'ortools', 'pulp', 'typer', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
