"""The YAML form of a model; only this module and its callers load pydantic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from moeplace.errors import InputError
from moeplace.models.layer_ids import parse_layer_ids
from moeplace.models.spec import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

_BILLION = 1e9


def _layer_ids(value: object) -> object:
    if isinstance(value, str):
        try:
            return parse_layer_ids(value)
        except InputError as error:
            raise ValueError(str(error)) from error
    return (value,) if isinstance(value, int) else value


_Count = Annotated[int, Field(strict=True, ge=1)]
_Width = Annotated[int, Field(strict=True, ge=0)]
_Billions = Annotated[float, Field(gt=0)]
_LayerIds = Annotated[tuple[_Width, ...], BeforeValidator(_layer_ids)]


class ModelFile(BaseModel):
    """One YAML file; see `ModelSpec` for the meaning of the keys.

    Beside the fields of `ModelSpec` it has `aliases` (other names for the same structure) and
    `routed_params_published_B` (the published size of all routed experts, kept to check the
    figures). Parameter counts are in billions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1)]
    num_layers: _Count
    moe_layers: _LayerIds
    num_experts: _Count
    top_k: _Count
    hidden_size: _Count
    moe_intermediate_size: _Count
    aliases: tuple[str, ...] = ()
    n_group: _Count = 1
    topk_group: _Count = 1
    num_shared_experts: _Width = 0
    shared_intermediate_size: _Width = 0
    dense_intermediate_size: _Width = 0
    latent_size: _Count | None = None
    matrices_per_expert: Literal[2, 3] = 3
    total_params_B: _Billions | None = None
    active_params_B: _Billions | None = None
    routed_params_published_B: _Billions | None = None
    weight_dtype: str = "bf16"
    router: str = ""
    hash_routed_layers: _LayerIds = ()
    architecture: str = ""
    source: str = ""

    def to_spec(self) -> ModelSpec:
        """Return the model with parameter counts in single parameters."""
        fields = self.model_dump(
            exclude={"aliases", "total_params_B", "active_params_B", "routed_params_published_B"}
        )
        return ModelSpec(
            **fields,
            total_params=_single(self.total_params_B),
            active_params=_single(self.active_params_B),
        )


def parse_model_file(content: Mapping[str, Any], where: str) -> ModelFile:
    """Check the content of a model's YAML file.

    Parameters
    ----------
    content
        The parsed YAML mapping.
    where
        The file, for messages.

    Raises
    ------
    InputError
        If a key is unknown, missing or of the wrong kind.
    """
    try:
        return ModelFile.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        text = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            text = f"unknown key; known: {', '.join(ModelFile.model_fields)}"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise InputError(f"{where}: {key}: {text}{more}") from error


def _single(billions: float | None) -> float | None:
    return None if billions is None else billions * _BILLION
