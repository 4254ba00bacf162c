"""The few answers of a Kubernetes API server that Helm's `lookup` asks for, from the objects a test names."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_KINDS = {
    "v1": ("ConfigMap", "Pod", "Secret", "Service", "ServiceAccount"),
    "apps/v1": ("Deployment",),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "networking.k8s.io/v1": ("Ingress", "NetworkPolicy"),
    "policy/v1": ("PodDisruptionBudget",),
}


@contextmanager
def kubernetes_api(deployments: dict[str, int], namespace: str, release: str) -> Iterator[str]:
    """Yield the URL of an API server that has these Deployments of a release, by name with their replicas."""
    answers = _discovery()
    annotations = {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": namespace}
    owner = {"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": annotations}
    for name, replicas in deployments.items():
        answers[f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"] = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace, **owner},
            "spec": {"replicas": replicas},
        }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0])
            body = json.dumps(answer or {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})
            self.send_response(200 if answer else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _discovery() -> dict[str, dict[str, Any]]:
    """What the server says about its API groups and their kinds, by path."""
    groups = [
        {"name": api.partition("/")[0], "versions": [{"groupVersion": api, "version": api.partition("/")[2]}]}
        for api in _KINDS
        if "/" in api
    ]
    answers: dict[str, dict[str, Any]] = {
        "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "groups": groups},
    }
    for api, kinds in _KINDS.items():
        resources = [{"name": _plural(kind), "namespaced": True, "kind": kind, "verbs": ["get"]} for kind in kinds]
        path = f"/apis/{api}" if "/" in api else f"/api/{api}"
        answers[path] = {"kind": "APIResourceList", "groupVersion": api, "resources": resources}
    return answers


def _plural(kind: str) -> str:
    name = kind.lower()
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}es" if name.endswith("s") else f"{name}s"
