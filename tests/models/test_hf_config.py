"""Hugging Face configs of every family against the catalogue, and configs that cannot be read.

The dictionaries hold the published fields that matter here, each family with its own key names.
"""

from __future__ import annotations

import pytest

from moeplace.errors import InputError
from moeplace.models import load_model, model_from_config

FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
NANO = "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"
SUPER = "MEMEMEM*EMEMEMEM*EMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEM*EMEMEMEME"


def mxfp4_groups(fmt):
    weights = {"num_bits": 4, "group_size": 32}
    return {
        "quant_method": "compressed-tensors",
        "format": fmt,
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }


CONFIGS = {
    "deepseek-v2-lite": {
        "architectures": ["DeepseekV2ForCausalLM"],
        "model_type": "deepseek_v2",
        "num_hidden_layers": 27,
        "n_routed_experts": 64,
        "n_shared_experts": 2,
        "num_experts_per_tok": 6,
        "hidden_size": 2048,
        "intermediate_size": 10944,
        "moe_intermediate_size": 1408,
        "moe_layer_freq": 1,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
        "topk_method": "greedy",
        "scoring_func": "softmax",
        "torch_dtype": "bfloat16",
    },
    "deepseek-v2": {
        "architectures": ["DeepseekV2ForCausalLM"],
        "model_type": "deepseek_v2",
        "num_hidden_layers": 60,
        "n_routed_experts": 160,
        "n_shared_experts": 2,
        "num_experts_per_tok": 6,
        "hidden_size": 5120,
        "intermediate_size": 12288,
        "moe_intermediate_size": 1536,
        "moe_layer_freq": 1,
        "first_k_dense_replace": 1,
        "n_group": 8,
        "topk_group": 3,
        "topk_method": "group_limited_greedy",
        "scoring_func": "softmax",
        "torch_dtype": "bfloat16",
    },
    "deepseek-v3": {
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": "deepseek_v3",
        "num_hidden_layers": 61,
        "num_nextn_predict_layers": 1,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "hidden_size": 7168,
        "intermediate_size": 18432,
        "moe_intermediate_size": 2048,
        "moe_layer_freq": 1,
        "first_k_dense_replace": 3,
        "n_group": 8,
        "topk_group": 4,
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
        "quantization_config": FP8,
        "torch_dtype": "bfloat16",
    },
    # Hash-routed first layers; the experts have a type of their own.
    "deepseek-v4-flash": {
        "architectures": ["DeepseekV4ForCausalLM"],
        "model_type": "deepseek_v4",
        "num_hidden_layers": 43,
        "num_hash_layers": 3,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "num_experts_per_tok": 6,
        "hidden_size": 4096,
        "moe_intermediate_size": 2048,
        "topk_method": "noaux_tc",
        "scoring_func": "sqrtsoftplus",
        "expert_dtype": "fp4",
        "quantization_config": FP8,
    },
    # The dense width is in the config, but no layer is dense.
    "qwen3-235b-a22b": {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "num_hidden_layers": 94,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "moe_intermediate_size": 1536,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "torch_dtype": "bfloat16",
    },
    "qwen1.5-moe-a2.7b": {
        "architectures": ["Qwen2MoeForCausalLM"],
        "model_type": "qwen2_moe",
        "num_hidden_layers": 24,
        "num_experts": 60,
        "num_experts_per_tok": 4,
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
        "decoder_sparse_step": 1,
    },
    # Nested under text_config, quantization absent.
    "qwen3.5-397b-a17b": {
        "architectures": ["Qwen3_5MoeForConditionalGeneration"],
        "model_type": "qwen3_5_moe",
        "text_config": {
            "model_type": "qwen3_5_moe_text",
            "num_hidden_layers": 60,
            "num_experts": 512,
            "num_experts_per_tok": 10,
            "hidden_size": 4096,
            "moe_intermediate_size": 1024,
            "shared_expert_intermediate_size": 1024,
            "mlp_only_layers": [],
            "dtype": "bfloat16",
        },
        "vision_config": {"hidden_size": 1152, "intermediate_size": 4304},
    },
    "kimi-k2.5": {
        "architectures": ["KimiK25ForConditionalGeneration"],
        "model_type": "kimi_k25",
        "text_config": {
            "model_type": "kimi_k2",
            "num_hidden_layers": 61,
            "n_routed_experts": 384,
            "n_shared_experts": 1,
            "num_experts_per_tok": 8,
            "hidden_size": 7168,
            "intermediate_size": 18432,
            "moe_intermediate_size": 2048,
            "moe_layer_freq": 1,
            "first_k_dense_replace": 1,
            "n_group": 1,
            "topk_group": 1,
            "topk_method": "noaux_tc",
            "scoring_func": "sigmoid",
            "quantization_config": {
                "quant_method": "compressed-tensors",
                "format": "pack-quantized",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}},
            },
        },
    },
    # Latent MoE: experts see 3584 of the 7168, shared experts see all of it.
    "kimi-k3": {
        "architectures": ["KimiK3ForConditionalGeneration"],
        "model_type": "kimi_k3",
        "text_config": {
            "model_type": "kimi_linear",
            "num_hidden_layers": 93,
            "num_experts": 896,
            "num_shared_experts": 2,
            "num_experts_per_token": 16,
            "hidden_size": 7168,
            "routed_expert_hidden_size": 3584,
            "intermediate_size": 33792,
            "moe_intermediate_size": 3072,
            "moe_layer_freq": 1,
            "first_k_dense_replace": 1,
            "use_grouped_topk": True,
            "num_expert_group": 1,
            "topk_group": 1,
            "topk_method": "noaux_tc",
            "moe_router_activation_func": "sigmoid",
            "hidden_act": "situ",
            "quantization_config": mxfp4_groups("mxfp4-pack-quantized"),
        },
    },
    # Every second layer; intermediate_size is the expert's; the shared expert has no key.
    "llama-4-maverick": {
        "architectures": ["Llama4ForConditionalGeneration"],
        "model_type": "llama4",
        "text_config": {
            "model_type": "llama4_text",
            "num_hidden_layers": 48,
            "num_local_experts": 128,
            "num_experts_per_tok": 1,
            "hidden_size": 5120,
            "intermediate_size": 8192,
            "intermediate_size_mlp": 16384,
            "interleave_moe_layer_step": 2,
            "torch_dtype": "bfloat16",
        },
    },
    "llama-4-scout": {
        "architectures": ["Llama4ForConditionalGeneration"],
        "model_type": "llama4",
        "text_config": {
            "model_type": "llama4_text",
            "num_hidden_layers": 48,
            "num_local_experts": 16,
            "num_experts_per_tok": 1,
            "hidden_size": 5120,
            "intermediate_size": 8192,
            "intermediate_size_mlp": 16384,
            "interleave_moe_layer_step": 1,
            "moe_layers": list(range(48)),
        },
    },
    "mixtral-8x7b": {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "num_hidden_layers": 32,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "torch_dtype": "bfloat16",
    },
    "gpt-oss-120b": {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        "num_hidden_layers": 36,
        "num_local_experts": 128,
        "experts_per_token": 4,
        "num_experts_per_tok": 4,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "quantization_config": {"quant_method": "mxfp4"},
    },
    # No router key at all: the family decides.
    "glm-4.5": {
        "architectures": ["Glm4MoeForCausalLM"],
        "model_type": "glm4_moe",
        "num_hidden_layers": 92,
        "n_routed_experts": 160,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "hidden_size": 5120,
        "intermediate_size": 12288,
        "moe_intermediate_size": 1536,
        "first_k_dense_replace": 3,
        "n_group": 1,
        "topk_group": 1,
        "torch_dtype": "bfloat16",
    },
    "glm-5": {
        "architectures": ["GlmMoeDsaForCausalLM"],
        "model_type": "glm_moe_dsa",
        "num_hidden_layers": 78,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "hidden_size": 6144,
        "intermediate_size": 12288,
        "moe_intermediate_size": 2048,
        "mlp_layer_types": ["dense"] * 3 + ["sparse"] * 75,
        "n_group": 1,
        "topk_group": 1,
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
    },
    "minimax-m2": {
        "architectures": ["MiniMaxM2ForCausalLM"],
        "model_type": "minimax_m2",
        "num_hidden_layers": 62,
        "num_local_experts": 256,
        "num_experts_per_tok": 8,
        "hidden_size": 3072,
        "intermediate_size": 1536,
        "shared_intermediate_size": 0,
        "scoring_func": "sigmoid",
        "use_routing_bias": True,
        "quantization_config": FP8,
    },
    # A flag per layer; three widths of which the plain one is the expert's.
    "minimax-m3": {
        "architectures": ["MiniMaxM3SparseForConditionalGeneration"],
        "model_type": "minimax_m3_vl",
        "text_config": {
            "num_hidden_layers": 60,
            "num_local_experts": 128,
            "n_shared_experts": 1,
            "num_experts_per_tok": 4,
            "hidden_size": 6144,
            "intermediate_size": 3072,
            "dense_intermediate_size": 12288,
            "shared_intermediate_size": 3072,
            "moe_layer_freq": [0] * 3 + [1] * 57,
            "scoring_func": "sigmoid",
            "use_routing_bias": True,
            "torch_dtype": "bfloat16",
        },
    },
    "mimo-v2-flash": {
        "architectures": ["MiMoV2FlashForCausalLM"],
        "model_type": "mimo_v2_flash",
        "num_hidden_layers": 48,
        "n_routed_experts": 256,
        "n_shared_experts": None,
        "num_experts_per_tok": 8,
        "hidden_size": 4096,
        "intermediate_size": 16384,
        "moe_intermediate_size": 2048,
        "moe_layer_freq": [0] + [1] * 47,
        "n_group": 1,
        "topk_group": 1,
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
        "quantization_config": FP8,
    },
    "step-3.7-flash": {
        "architectures": ["Step3p7ForConditionalGeneration"],
        "model_type": "step3p7",
        "text_config": {
            "model_type": "step3p5",
            "num_hidden_layers": 45,
            "moe_num_experts": 288,
            "moe_top_k": 8,
            "hidden_size": 4096,
            "intermediate_size": 11264,
            "moe_intermediate_size": 1280,
            "share_expert_dim": 1280,
            "moe_layers_enum": ",".join(str(i) for i in range(3, 45)),
            "moe_router_activation": "sigmoid",
            "use_moe_router_bias": True,
        },
    },
    # Sampling defaults (top_k = 50) beside the real keys, which are nested.
    "dbrx": {
        "architectures": ["DbrxForCausalLM"],
        "model_type": "dbrx",
        "n_layers": 40,
        "d_model": 6144,
        "ffn_config": {
            "model_type": "",
            "ffn_hidden_size": 10752,
            "moe_num_experts": 16,
            "moe_top_k": 4,
            "top_k": 50,
        },
        "torch_dtype": "bfloat16",
    },
    "hunyuan-large": {
        "architectures": ["HunYuanForCausalLM"],
        "model_type": "hunyuan",
        "num_hidden_layers": 64,
        "num_experts": 16,
        "moe_topk": [1] * 64,
        "num_shared_expert": [1] * 64,
        "use_mixed_mlp_moe": True,
        "hidden_size": 6400,
        "intermediate_size": 18304,
        "moe_layer_num_skipped": 0,
    },
    "ernie-4.5-21b-a3b": {
        "architectures": ["Ernie4_5_MoeForCausalLM"],
        "model_type": "ernie4_5_moe",
        "num_hidden_layers": 28,
        "moe_num_experts": 64,
        "moe_num_shared_experts": 2,
        "moe_k": 6,
        "hidden_size": 2560,
        "intermediate_size": 12288,
        "moe_intermediate_size": 1536,
        "moe_layer_start_index": 1,
        "moe_layer_end_index": -1,
        "moe_layer_interval": 1,
        "moe_use_aux_free": True,
    },
    "olmoe-1b-7b": {
        "architectures": ["OlmoeForCausalLM"],
        "model_type": "olmoe",
        "num_hidden_layers": 16,
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "hidden_size": 2048,
        "intermediate_size": 1024,
    },
    "phi-3.5-moe": {
        "architectures": ["PhiMoEForCausalLM"],
        "model_type": "phimoe",
        "num_hidden_layers": 32,
        "num_local_experts": 16,
        "num_experts_per_tok": 2,
        "hidden_size": 4096,
        "intermediate_size": 6400,
    },
    # Two matrices (relu2), experts only in the "E" blocks, a shared expert of its own width.
    "nemotron-3-nano-30b-a3b": {
        "architectures": ["NemotronHForCausalLM"],
        "model_type": "nemotron_h",
        "num_hidden_layers": 52,
        "hybrid_override_pattern": NANO,
        "n_routed_experts": 128,
        "n_shared_experts": 1,
        "num_experts_per_tok": 6,
        "hidden_size": 2688,
        "intermediate_size": 1856,
        "moe_intermediate_size": 1856,
        "moe_shared_expert_intermediate_size": 3712,
        "mlp_hidden_act": "relu2",
        "n_group": 1,
        "topk_group": 1,
        "n_groups": 8,  # of the state-space blocks
    },
    "nemotron-3-super-120b-a12b": {
        "architectures": ["NemotronHForCausalLM"],
        "model_type": "nemotron_h",
        "layers_block_type": [
            {"M": "mamba", "E": "moe", "*": "attention"}[block] for block in SUPER
        ],
        "n_routed_experts": 512,
        "n_shared_experts": 1,
        "num_experts_per_tok": 22,
        "hidden_size": 4096,
        "moe_latent_size": 1024,
        "intermediate_size": 2688,
        "moe_intermediate_size": 2688,
        "moe_shared_expert_intermediate_size": 5376,
        "mlp_hidden_act": "relu2",
        "quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8"},
    },
    "gemma-4-26b-a4b": {
        "architectures": ["Gemma4ForConditionalGeneration"],
        "model_type": "gemma4",
        "text_config": {
            "model_type": "gemma4_text",
            "enable_moe_block": True,
            "num_hidden_layers": 30,
            "num_experts": 128,
            "top_k_experts": 8,
            "hidden_size": 2816,
            "intermediate_size": 2112,
            "moe_intermediate_size": 704,
        },
    },
}


def small(**changes):
    """Return a minimal config of six layers; None removes a key."""
    config = {
        "num_hidden_layers": 6,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "hidden_size": 16,
        "moe_intermediate_size": 4,
        "intermediate_size": 32,
        **changes,
    }
    return {key: value for key, value in config.items() if value is not None}


@pytest.mark.parametrize("name", CONFIGS)
def test_config_gives_the_catalogue_entry(name):
    """The published config of each family reads to exactly the figures in the catalogue."""
    expected = load_model(name)
    model = model_from_config(CONFIGS[name], name)
    assert model.total_params is None
    assert model.replace(source="") == expected.replace(
        source="", total_params=None, active_params=None
    )


@pytest.mark.parametrize(
    ("changes", "layers"),
    [
        ({}, (0, 1, 2, 3, 4, 5)),
        ({"moe_layer_freq": 2, "first_k_dense_replace": 1}, (2, 4)),
        ({"moe_layer_freq": [0, 1, 0, 1, 1, 0]}, (1, 3, 4)),
        ({"moe_layer_freq": [0, 1, 1, 1, 1, 1, 1]}, (1, 2, 3, 4, 5)),
        ({"is_moe_layer": [False, True, True, False, True, True]}, (1, 2, 4, 5)),
        ({"decoder_sparse_step": 2}, (1, 3, 5)),
        ({"decoder_sparse_step": 2, "mlp_only_layers": [3]}, (1, 5)),
        ({"interleave_moe_layer_step": 3}, (2, 5)),
        ({"moe_layers": [4, 1]}, (1, 4)),
        ({"moe_layer_start_index": 2, "moe_layer_end_index": 4}, (2, 3, 4)),
        ({"moe_layer_start_index": 1, "moe_layer_interval": 2}, (1, 3, 5)),
        ({"moe_layer_start_index": [1, 2], "moe_layer_end_index": [3, 4]}, (1, 2, 3)),
        ({"moe_layer_num_skipped": 2}, (2, 3, 4, 5)),
        ({"expert_layer_period": 2, "expert_layer_offset": 1}, (1, 3, 5)),
        ({"hybrid_override_pattern": "ME-*EE/*E"}, (1, 4, 5)),
        ({"mlp_layer_types": ["dense", "hash_moe", "moe", "moe", "moe", "moe"]}, (1, 2, 3, 4, 5)),
    ],
)
def test_layer_rules(changes, layers):
    """Each way to say which layers have experts gives absolute ids; rules combine."""
    assert model_from_config(small(**changes)).moe_layers == layers


@pytest.mark.parametrize(
    ("changes", "dense"),
    [
        ({}, 0),
        ({"first_k_dense_replace": 1}, 32),
        ({"first_k_dense_replace": 1, "moe_intermediate_size": None}, 0),
        ({"hybrid_override_pattern": "MEM*EM"}, 0),
        ({"hybrid_override_pattern": "MEM-EM"}, 32),
    ],
)
def test_dense_width_only_where_a_layer_is_dense(changes, dense):
    """The dense width counts when a layer uses it, and is never the expert's own width."""
    assert model_from_config(small(**changes)).dense_intermediate_size == dense


def test_hash_layers_by_type_list():
    """Newer configs mark hash-routed layers in the list of layer types."""
    kinds = ["dense", "hash_moe", "hash_moe", "moe", "moe", "moe"]
    assert model_from_config(small(mlp_layer_types=kinds)).hash_routed_layers == (1, 2)
    hashed = model_from_config(small(num_hash_layers=2, first_k_dense_replace=1))
    assert hashed.hash_routed_layers == (1,)


def test_lists_by_modality_take_the_text_experts():
    """ERNIE's vision models list text and vision experts; the text ones are placed."""
    config = small(
        model_type="ernie4_5_moe_vl",
        num_experts=None,
        moe_num_experts=[8, 8],
        moe_intermediate_size=[4, 2],
        moe_num_shared_experts=1,
    )
    model = model_from_config(config)
    assert (model.num_experts, model.moe_intermediate_size) == (8, 4)
    assert model.shared_intermediate_size == 4


def test_groups_count_only_where_the_router_uses_them():
    """Without group-limited routing the group keys are ignored."""
    grouped = {"n_group": 4, "topk_group": 2}
    assert model_from_config(small(**grouped)).n_group == 4
    for off in ({"topk_method": "greedy"}, {"use_grouped_topk": False}):
        model = model_from_config(small(**grouped, **off))
        assert (model.n_group, model.topk_group) == (1, 1)
    assert model_from_config(small(n_group=4)).topk_group == 4


def test_shared_experts():
    """Shared width is count × expert width unless the config states it; zero means none."""
    by_count = model_from_config(small(n_shared_experts=3))
    assert (by_count.num_shared_experts, by_count.shared_intermediate_size) == (3, 12)
    stated = model_from_config(small(shared_expert_intermediate_size=20))
    assert (stated.num_shared_experts, stated.shared_intermediate_size) == (1, 20)
    for none in ({"shared_intermediate_size": 0}, {"n_shared_experts": 0}):
        assert model_from_config(small(**none)).shared_intermediate_size == 0


@pytest.mark.parametrize(
    ("changes", "dtype"),
    [
        ({}, "bf16"),
        ({"torch_dtype": "float16"}, "fp16"),
        ({"dtype": "torch.float16"}, "fp16"),
        ({"torch_dtype": "float32"}, "bf16"),
        ({"quantization_config": FP8, "torch_dtype": "bfloat16"}, "fp8"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "fp4"),
        ({"quantization_config": {"quant_method": "mxfp8"}}, "fp8"),
        ({"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}, "fp4"),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "int4"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 8}}, "int8"),
        ({"quantization_config": mxfp4_groups("nvfp4-pack-quantized")}, "fp4"),
        ({"quantization_config": mxfp4_groups("pack-quantized")}, "int4"),
        (
            {"quantization_config": {"config_groups": {"g": {"weights": {"num_bits": 8}}}}},
            "int8",
        ),
        (
            {
                "quantization_config": {
                    "format": "float-quantized",
                    "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float"}}},
                }
            },
            "fp8",
        ),
        ({"expert_dtype": "fp4", "quantization_config": FP8}, "fp4"),
    ],
)
def test_weight_types(changes, dtype):
    """The type of the expert weights is found in every way it is written."""
    assert model_from_config(small(**changes)).weight_dtype == dtype


def test_quantization_of_the_wrapper_counts():
    """A multimodal wrapper may state the quantization beside its text_config."""
    wrapped = {"text_config": small(torch_dtype="bfloat16"), "quantization_config": FP8}
    assert model_from_config(wrapped).weight_dtype == "fp8"


def test_name_from_the_config():
    """Without a name the config's own is taken."""
    assert model_from_config(small(_name_or_path="me/My-MoE")).name == "my-moe"
    assert model_from_config(small(model_type="qwen3_moe")).name == "qwen3_moe"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (small(num_experts=None), "not a MoE model: no n_routed_experts, num_experts"),
        (small(num_experts=0), "not a MoE model"),
        (small(num_experts=1), "not a MoE model"),
        (small(enable_moe_block=False), "not a MoE model"),
        (small(first_k_dense_replace=6), "not a MoE model: no layer has routed experts"),
        ({"text_config": {"hidden_size": 8}}, "not a MoE model"),
        (small(num_experts_per_tok=None), "lacks num_experts_per_tok"),
        (small(hidden_size=None, num_hidden_layers=None), "lacks num_hidden_layers.*hidden_size"),
        (
            small(moe_intermediate_size=None, intermediate_size=None),
            "lacks moe_intermediate_size.*intermediate_size",
        ),
        (small(num_experts="eight"), "num_experts: expected a whole number, got 'eight'"),
        (small(num_experts_per_tok=True), "num_experts_per_tok: expected a whole number"),
        (small(num_experts_per_tok=[2, 2, 2, 4, 2, 2]), "num_experts_per_tok: differs between"),
        (small(moe_layer_freq=[0, 1]), "moe_layer_freq: has 2 entries for 6 layers"),
        (small(moe_layer_freq=0), "moe_layer_freq: must be positive"),
        (small(hybrid_override_pattern="ME"), "has 2 blocks for 6 layers"),
        (small(moe_layers_enum="1,x"), "moe_layers_enum: expected a list of layer ids"),
        (small(mlp_only_layers=3), "mlp_only_layers: expected a list"),
        (small(num_experts_per_tok=9), "top_k 9 exceeds num_experts 8"),
    ],
)
def test_configs_that_cannot_be_read(config, message):
    """What is missing or wrong is named, with the model, on one line."""
    with pytest.raises(InputError, match=message) as caught:
        model_from_config(config, "mine")
    assert str(caught.value).startswith("model mine: ")
    assert "\n" not in str(caught.value)
