"""Label selectors, as Kubernetes reads them: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["selects"]


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a metav1.LabelSelector selects what bears these labels. An empty one selects all, none at all nothing; an
    operator that nobody knows is taken to select, so that what may be concerned is not missed."""
    if selector is None:
        return False
    if not (selector.get("matchLabels") or {}).items() <= labels.items():
        return False
    return all(_holds(expression, labels) for expression in selector.get("matchExpressions") or ())


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return True
