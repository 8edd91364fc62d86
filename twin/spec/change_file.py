"""A Change as a file: what a person or an agent hands to `twin verify`."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field

from twin.spec.change import Action, Change, Risk, Strategy
from twin.spec.edge import Duration, FigureOrText, FileModel, Name, Share, schema_of, validated
from twin.spec.yaml_reader import read_file_text, single_document

__all__ = ["change_schema", "read_change"]


class _ActionFile(FileModel):
    kind: Name
    target: Name
    parameters: dict[Name, FigureOrText] = Field(default_factory=dict)

    @classmethod
    def advice_on_unknown(cls, key: str, value: object) -> str:
        """What an action is to do with its target stands one level deeper, and is easily written beside it."""
        return f"write parameters: {{{key}: {value}}}" if isinstance(value, str | int | float) else ""


class _StrategyFile(FileModel):
    canary: Share = 0.34
    watch: Duration = 60.0
    settle: Duration = 120.0


class _ChangeFile(FileModel):
    api_version: Literal["twin/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["Change"]
    reason: Annotated[str, Field(min_length=1, max_length=10_000)]
    requester: Name
    risk: Literal["low", "high"] = "low"
    actions: list[_ActionFile] = Field(min_length=1)
    strategy: _StrategyFile = _StrategyFile()


def read_change(path: Path) -> Change:
    """The Change in a file. Raises BadInput, with the line."""
    document = single_document(read_file_text(path), str(path))
    file = validated(_ChangeFile, document, str(path))
    return Change(
        actions=tuple(
            Action(
                kind=action.kind,
                target=action.target,
                parameters=MappingProxyType(dict(action.parameters)),
            )
            for action in file.actions
        ),
        reason=file.reason,
        requester=file.requester,
        risk=Risk(file.risk),
        strategy=Strategy(
            canary_ratio=file.strategy.canary, watch_s=file.strategy.watch, settle_s=file.strategy.settle
        ),
    )


def change_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a Change file."""
    return schema_of(_ChangeFile, "Change")
