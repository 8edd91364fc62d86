"""What pods read as they start, of manifests and of a live cluster's objects: ConfigMaps, Secrets' names and keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from twin.spec.config import ConfigMap, ConfigRead, Secret
from twin.spec.fleet import Service
from twin.spec.importers.manifests import as_list, as_map, as_text

__all__ = ["config_map_of", "known_reads", "read_by", "reads_of", "secret_of", "secrets_taken_as_there"]

_KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")


def reads_of(pod: Mapping[str, Any]) -> tuple[ConfigRead, ...]:
    """What the environments of a pod's containers take from ConfigMaps and Secrets, in order, each once."""
    found: dict[ConfigRead, None] = {}
    for group in ("initContainers", "containers"):
        for container in map(as_map, as_list(pod.get(group))):
            for item in map(as_map, as_list(container.get("envFrom"))):
                for field, secret in (("configMapRef", False), ("secretRef", True)):
                    _add(found, as_map(item.get(field)), secret=secret, key="", name=as_text(item.get("prefix")))
            for item in map(as_map, as_list(container.get("env"))):
                for field, secret in (("configMapKeyRef", False), ("secretKeyRef", True)):
                    reference = as_map(as_map(item.get("valueFrom")).get(field))
                    key, name = as_text(reference.get("key")), as_text(item.get("name"))
                    if _KEY.fullmatch(key) and name:
                        _add(found, reference, secret=secret, key=key, name=name)
    return tuple(found)


def _add(found: dict[ConfigRead, None], reference: Mapping[str, Any], *, secret: bool, key: str, name: str) -> None:
    source = as_text(reference.get("name"))
    if source:
        optional = reference.get("optional") is True
        found[ConfigRead(source=source, secret=secret, key=key, name=name, optional=optional)] = None


def config_map_of(obj: Mapping[str, Any], namespace: str) -> ConfigMap:
    data = {str(key): as_text(value) for key, value in as_map(obj.get("data")).items() if _KEY.fullmatch(str(key))}
    ordered = MappingProxyType({key: data[key] for key in sorted(data)})
    name = as_text(as_map(obj.get("metadata")).get("name"))
    return ConfigMap(name=name, namespace=namespace, data=ordered, immutable=obj.get("immutable") is True)


def secret_of(obj: Mapping[str, Any], namespace: str) -> Secret:
    """Its name and keys. Its values go nowhere."""
    keys = {str(key) for part in ("data", "stringData") for key in as_map(obj.get(part)) if _KEY.fullmatch(str(key))}
    return Secret(name=as_text(as_map(obj.get("metadata")).get("name")), namespace=namespace, keys=tuple(sorted(keys)))


def known_reads(
    reads: Iterable[ConfigRead], namespace: str, config_maps: Iterable[ConfigMap], secrets: Iterable[Secret]
) -> tuple[ConfigRead, ...]:
    """Those of `reads` that are there. Files are seldom all of a cluster: what they lack is somewhere else."""
    keys = {(False, one.name): set(one.data) for one in config_maps if one.namespace == namespace}
    keys |= {(True, one.name): set(one.keys) for one in secrets if one.namespace == namespace}
    return tuple(
        read
        for read in reads
        if (read.secret, read.source) in keys and (not read.key or read.key in keys[(read.secret, read.source)])
    )


def read_by(services: Iterable[Service], config_maps: Iterable[ConfigMap]) -> tuple[ConfigMap, ...]:
    """The ConfigMaps that some environment takes values from. Others are documents, and nothing to a fleet."""
    wanted = {(s.namespace, read.source) for s in services for read in s.reads if not read.secret}
    return tuple(one for one in config_maps if (one.namespace, one.name) in wanted)


def secrets_taken_as_there(services: Iterable[Service]) -> tuple[Secret, ...]:
    """Secrets with the keys that somebody reads, for who may not look at any."""
    keys: dict[tuple[str, str], set[str]] = {}
    for service in services:
        for read in service.reads:
            if read.secret:
                keys.setdefault((service.namespace, read.source), set()).update({read.key} - {""})
    return tuple(
        Secret(name=name, namespace=namespace, keys=tuple(sorted(found)))
        for (namespace, name), found in sorted(keys.items())
    )
