"""The cluster files match their schemas and fit this project."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from deploy.registry import default_root
from tests.support import ROOT

JOBS = ROOT / "jobs" / "cluster"
KUBERAY = sorted((JOBS / "kuberay").glob("*.yaml"))
DOCKER = sorted((JOBS / "docker").glob("*.Dockerfile"))

QUANTITY = {"type": "string", "pattern": r"^\d+(\.\d+)?(m|Ki|Mi|Gi|Ti)?$"}
CONTAINER = {
    "type": "object",
    "required": ["name", "image", "resources"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9-]+$"},
        "image": {"type": "string", "pattern": r"^[\w./-]+:[\w.-]+$"},
        "env": {"type": "array", "items": {"required": ["name", "value"]}},
        "envFrom": {"type": "array", "items": {"required": ["secretRef"]}},
        "ports": {"type": "array", "items": {"required": ["containerPort", "name"]}},
        "resources": {
            "required": ["limits", "requests"],
            "additionalProperties": {"additionalProperties": QUANTITY},
        },
        "volumeMounts": {"type": "array", "items": {"required": ["name", "mountPath"]}},
        "command": {"type": "array", "items": {"type": "string"}},
        "securityContext": {"properties": {"runAsUser": {"type": "integer"}}},
    },
    "additionalProperties": False,
}
GROUP = {
    "type": "object",
    "required": ["rayStartParams", "template"],
    "properties": {
        "groupName": {"type": "string"},
        "replicas": {"type": "integer", "minimum": 0},
        "minReplicas": {"type": "integer", "minimum": 0},
        "maxReplicas": {"type": "integer", "minimum": 1},
        "rayStartParams": {"type": "object", "additionalProperties": {"type": "string"}},
        "template": {
            "required": ["spec"],
            "properties": {
                "spec": {
                    "required": ["containers"],
                    "properties": {
                        "containers": {"type": "array", "minItems": 1, "items": CONTAINER},
                        "initContainers": {"type": "array", "items": CONTAINER},
                        "nodeSelector": {"type": "object"},
                        "volumes": {"type": "array", "items": {"required": ["name"]}},
                    },
                    "additionalProperties": False,
                }
            },
        },
    },
    "additionalProperties": False,
}
# The part of KubeRay's custom resources that the manifests use, from its API reference
CLUSTER = {
    "type": "object",
    "required": ["rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"],
    "properties": {
        "rayVersion": {"const": ray.__version__},
        "enableInTreeAutoscaling": {"type": "boolean"},
        "autoscalerOptions": {"type": "object"},
        "authOptions": {"const": {"mode": "token"}},
        "headGroupSpec": GROUP,
        "workerGroupSpecs": {"type": "array", "minItems": 1, "items": GROUP},
    },
    "additionalProperties": False,
}
JOB = {
    "type": "object",
    "required": ["entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "rayClusterSpec"],
    "properties": {
        "entrypoint": {"type": "string"},
        "backoffLimit": {"type": "integer", "minimum": 1},
        "activeDeadlineSeconds": {"type": "integer"},
        "shutdownAfterJobFinishes": {"const": True},
        "ttlSecondsAfterFinished": {"type": "integer"},
        "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "SidecarMode"]},
        "rayClusterSpec": CLUSTER,
    },
    "additionalProperties": False,
}


def load(path: Path) -> dict[str, Any]:
    loaded = yaml.safe_load(path.read_text())
    assert isinstance(loaded, dict)
    return loaded


def cluster_of(document: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = document["spec"]
    return spec.get("rayClusterSpec", spec)


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.stem)
def test_kuberay_manifests_match_the_operators_schema(path: Path) -> None:
    document = load(path)
    assert document["apiVersion"] == "ray.io/v1"
    schema = {"RayCluster": CLUSTER, "RayJob": JOB}[document["kind"]]
    jsonschema.validate(document["spec"], schema)


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.stem)
def test_groups_fit_together(path: Path) -> None:
    cluster = cluster_of(load(path))
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        spec = group["template"]["spec"]
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        for container in spec["containers"]:
            assert {m["name"] for m in container.get("volumeMounts", [])} <= volumes
            limits = container["resources"]["limits"]
            gpu = "nvidia.com/gpu" in limits
            assert gpu == container["image"].endswith(":gpu")
            assert gpu == ("ray.io/accelerator-type" in group["rayStartParams"].get("labels", ""))
        if "replicas" in group:
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def read_variable(name: str, dockerfile: Path) -> str:
    """Return the value of an environment variable that an image sets."""
    found = re.search(rf"\b{name}=(\S+)", dockerfile.read_text())
    assert found is not None
    return found[1]


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.stem)
def test_engines_stay_on_the_node_in_a_folder_of_the_containers_user(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image,) = [file for file in DOCKER if file.stem == "gpu"]
    (group,) = [
        group["template"]["spec"]
        for group in cluster_of(load(path))["workerGroupSpecs"]
        if "ray.io/accelerator-type" in group["rayStartParams"].get("labels", "")
    ]
    (worker,) = group["containers"]
    given = {variable["name"]: variable["value"] for variable in worker.get("env", [])}
    cache = given.get("PIPELINE_CACHE") or read_variable("PIPELINE_CACHE", image)
    monkeypatch.setenv("PIPELINE_CACHE", cache)

    places = {mount["name"]: mount["mountPath"] for mount in worker["volumeMounts"]}
    assert places["engines"] == str(default_root())
    (volume,) = [volume for volume in group["volumes"] if volume["name"] == "engines"]
    assert "hostPath" in volume

    # the folders between a volume and a mount point inside it are created for root
    (owner,) = group["initContainers"]
    assert owner["volumeMounts"] == worker["volumeMounts"]
    assert owner["securityContext"]["runAsUser"] == 0
    *command, first, second = owner["command"]
    assert command == ["install", "-d", "-o", "1000", "-m", "0700"]
    assert [first, second] == [cache, places["engines"]]
    assert "useradd --create-home --uid 1000 ray" in image.read_text()


def test_the_jobs_entrypoint_is_a_run() -> None:
    import shlex

    from pipeline.cli.submit import check_arguments

    document = load(JOBS / "kuberay" / "rayjob.yaml")
    words = shlex.split(document["spec"]["entrypoint"])
    assert words[:4] == ["python", "-m", "pipeline", "run"]
    check_arguments(tuple(words[4:]))


def test_the_cluster_launcher_accepts_its_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = load(JOBS / "cluster.yaml")
    assert any("RAY_AUTH_MODE=token" in option for option in config["docker"]["run_options"])
    assert not any("TOKEN=" in o and "$" not in o for o in config["docker"]["run_options"])
    prepared = prepare_config(config)
    validate_config(prepared)
    assert prepared["available_node_types"]["gpu"]["resources"]["GPU"] == 1


@pytest.mark.parametrize("path", DOCKER, ids=lambda path: path.stem)
def test_dockerfiles_copy_existing_files_and_end_as_a_user(path: Path) -> None:
    text = re.sub(r"\\\n\s*", "", path.read_text())
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and line[0] != "#"]
    known = {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "CMD"}
    assert {step[0] for step in steps} <= known
    assert steps[0][0] == "FROM"
    assert re.fullmatch(r"[\w./]+:[\w.-]+", steps[0][1])
    for _, arguments in [step for step in steps if step[0] == "COPY"]:
        for source in arguments.split()[:-1]:
            assert (ROOT / source).exists(), source
    users = [arguments for word, arguments in steps if word == "USER"]
    assert users == ["ray"]
    installs = [arguments for word, arguments in steps if "pip install" in arguments]
    assert all("-c constraints.txt" in line for line in installs)
    assert not re.search(r"(TOKEN|SECRET|PASSWORD)\s*=", text)
    extras = re.search(r"'\.\[([\w,]+)\]'", text)
    assert extras is not None
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert all(f"\n{name} = [" in pyproject for name in extras[1].split(","))


def test_the_dashboard_queries_existing_metrics() -> None:
    from pipeline.execution.cluster.metrics import ACTOR, DRIVER, GAUGES

    panels = json.loads((JOBS / "grafana.json").read_text())["panels"]
    text = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    short = {name.removeprefix("pipeline_") for name in (*ACTOR, *DRIVER, *GAUGES)}
    assert all(name in text for name in short)
    queried = set(re.findall(r"ray_pipeline_([a-z_]+)", text)) - {""}
    assert {name.removesuffix("_total") for name in queried} <= short
    assert len({panel["id"] for panel in panels}) == len(panels)
