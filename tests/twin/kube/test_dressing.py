"""What of production is loaded into a shadow: nothing that leads outside, whatever its workloads run."""

from __future__ import annotations

from typing import Any

from twin.kube.declared import DeclaredObjects
from twin.kube.dressing import dressed
from twin.kube.real_images import as_declared, real_load_script
from twin.kube.snapshot import REDACTED, Snapshot, take_snapshot
from twin.spec.importers import ManifestText, import_kubernetes

MANIFESTS = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  replicas: 1
  selector: {matchLabels: {app: db}}
  volumeClaimTemplates: [{metadata: {name: data}, spec: {}}]
  template:
    metadata: {labels: {app: db}}
    spec:
      serviceAccountName: db
      nodeName: node-7
      affinity: {nodeAffinity: {}}
      imagePullSecrets: [{name: registry}]
      initContainers: [{name: init, image: "db:init"}]
      containers:
        - name: db
          image: db:v1
          command: [db, --run]
          envFrom: [{configMapRef: {name: db}}]
          resources: {limits: {cpu: "2", memory: 1Gi}}
          volumeMounts: [{name: data, mountPath: /data}, {name: conf, mountPath: /conf}, {name: disk, mountPath: /disk}]
      volumes: [{name: conf, configMap: {name: db}}, {name: disk, hostPath: {path: /}}]
---
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: shop}
stringData: {password: hunter2}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec:
  type: LoadBalancer
  externalIPs: [192.0.2.7]
  selector: {app: db}
  ports: [{port: 80, targetPort: 5432}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress:
    - {to: [{ipBlock: {cidr: 0.0.0.0/0}}]}
    - {to: [{ipBlock: {cidr: 0.0.0.0/0}}, {podSelector: {matchLabels: {app: db}}}]}
    - {ports: [{port: 443}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: db}
rules: []
"""
TEXTS = [ManifestText("shop.yaml", MANIFESTS)]


def snapshot() -> Snapshot:
    return take_snapshot(DeclaredObjects(TEXTS, default_namespace="default"), ["shop"], source="shop.yaml")


def only(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (one for one in objects if one["kind"] == kind)
    return found


def test_policies_lead_nowhere_outside() -> None:
    policy = only(dressed(snapshot(), room=1.0, workload=lambda _: [], target_port=None), "NetworkPolicy")
    assert policy["spec"]["egress"] == [
        {"to": [{"podSelector": {"matchLabels": {"app": "db"}}}]},
        {"ports": [{"port": 443}], "to": [{"namespaceSelector": {}}]},
    ]


def test_a_real_workload_keeps_its_program_and_loses_what_only_production_has() -> None:
    objects = as_declared(snapshot(), room=0.5)
    workload, service = only(objects, "StatefulSet"), only(objects, "Service")
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (container["image"], container["command"]) == ("db:v1", ["db", "--run"])
    assert container["envFrom"] == [{"configMapRef": {"name": "db"}}]
    assert container["resources"]["requests"] == {"cpu": "1000m", "memory": str(2**29)}
    assert [one["image"] for one in pod["initContainers"]] == ["db:init"]
    assert {"serviceAccountName", "nodeName", "affinity", "imagePullSecrets"}.isdisjoint(pod)
    assert pod["volumes"] == [
        {"name": "conf", "configMap": {"name": "db"}},
        {"name": "disk", "emptyDir": {}},
        {"name": "data", "emptyDir": {}},
    ]
    assert "volumeClaimTemplates" not in workload["spec"]
    assert service["spec"] == {
        "type": "ClusterIP",
        "selector": {"app": "db"},
        "ports": [{"port": 80, "targetPort": 5432}],
    }
    assert only(objects, "Secret")["stringData"] == {"password": REDACTED}


def test_real_programs_are_asked_for_a_page() -> None:
    fleet = import_kubernetes(TEXTS, name="shop").fleet
    script = real_load_script(fleet, {"shop/db": "http://db.shop:80"}, share=1.0)
    assert [journey["call"].get("path") for journey in script["journeys"]] == ["/"]
