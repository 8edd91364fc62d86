"""How a World's API refuses, in the words of a real one."""

from __future__ import annotations

from typing import NoReturn

from twin.spec.errors import NotFound, Unprocessable
from twin.spec.fields import FieldPath, path_text
from twin.spec.plan import ObjectRef

__all__ = ["not_found", "unprocessable"]


def not_found(ref: ObjectRef) -> NoReturn:
    raise NotFound(f"cannot find {ref}", "there is no such object", "list what there is, and check the spelling")


def unprocessable(ref: ObjectRef, path: FieldPath, why: str) -> NoReturn:
    raise Unprocessable(f"cannot write {ref}", f"{path_text(path) or 'object'}: {why}", "correct the field")
