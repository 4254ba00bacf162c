"""Every set of values renders to objects that Kubernetes accepts and that fit each other."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from frontend.settings import Settings
from tests.chart import custom_resources
from tests.chart.conftest import VALUE_SETS, rendered
from tests.chart.helm import CHART, NAMESPACE, RELEASE, HelmRefused, helm, render
from tests.chart.objects import Object, of_kind, pods
from tests.chart.rules import RULES, Rule

OLDEST, NEWEST = 27, int(kubernetes_validate.latest_version().split(".")[1])
VERSIONS = [f"1.{minor}" for minor in range(OLDEST, NEWEST + 1)]


def test_the_newest_schemas_are_new_enough() -> None:
    assert NEWEST >= 37


@pytest.mark.parametrize("values", VALUE_SETS, ids=lambda path: path.stem)
def test_helm_lint_passes(values: Path) -> None:
    assert "1 chart(s) linted, 0 chart(s) failed" in helm("lint", "--strict", str(CHART), f"--values={values}")


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_accepts_every_object(version: str) -> None:
    # The sets of values have most objects in common: each is checked once.
    different = {json.dumps(entry): entry for values in VALUE_SETS for entry in rendered(values)}
    checked = [entry for entry in different.values() if entry["kind"] not in custom_resources.KINDS]
    assert len(checked) > 40
    for entry in checked:
        kubernetes_validate.validate(entry, version, strict=True)


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_schemas_reject_an_unknown_field(minimal: list[Object], version: str) -> None:
    broken = copy.deepcopy(minimal)
    for entry in of_kind(broken, "Deployment"):
        entry["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(entry, version, strict=True)


def test_custom_resources_match_their_schemas(objects: list[Object]) -> None:
    for entry in objects:
        if entry["kind"] in custom_resources.KINDS:
            assert custom_resources.problems(entry) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_objects_fit_each_other(objects: list[Object], rule: Rule) -> None:
    assert list(rule(objects)) == []


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_rendering_is_the_same_for_every_version(values: Path, objects: list[Object], version: str) -> None:
    assert render(values, kube_version=f"{version}.0") == objects


def test_older_kubernetes_is_refused() -> None:
    with pytest.raises(HelmRefused, match="incompatible with Kubernetes"):
        render(kube_version="1.26.0")


def test_every_object_has_the_standard_labels(objects: list[Object]) -> None:
    for entry in objects:
        labels = entry["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == RELEASE
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert all(len(value) <= 63 for value in labels.values())


def test_the_value_sets_turn_on_every_kind_of_object() -> None:
    kinds = {entry["kind"] for values in VALUE_SETS for entry in rendered(values)}
    templates = "\n".join(path.read_text() for path in (CHART / "templates").rglob("*.yaml"))
    assert kinds == {line.removeprefix("kind: ") for line in templates.splitlines() if line.startswith("kind: ")}


def test_long_names_stay_valid() -> None:
    long = "a-release-with-a-name-of-53-characters-that-helm-take"
    text = helm("template", long, str(CHART), f"--namespace={NAMESPACE}", "--set=triton.autoscaling.by=adapter")
    for entry in yaml.safe_load_all(text):
        if entry:
            assert len(entry["metadata"]["name"]) <= 63
            assert all(len(value) <= 63 for value in entry["metadata"]["labels"].values())


def test_changed_api_keys_replace_the_pods() -> None:
    def checksum(*settings: str) -> str:
        (frontend,) = [pod for pod in pods(render(None, *settings)) if pod.name == "Deployment birds-frontend"]
        found: str = frontend.owner["spec"]["template"]["metadata"]["annotations"]["checksum/api-keys"]
        return found

    assert checksum("apiKeys.file=one") == checksum("apiKeys.file=one")
    checksums = [checksum(), checksum("apiKeys.file=one"), checksum("apiKeys.file=two")]
    checksums += [checksum("apiKeys.existingSecret=a"), checksum("apiKeys.existingSecret=a", "apiKeys.revision=b")]
    assert len(set(checksums)) == len(checksums)


def test_another_test_key_replaces_no_pods() -> None:
    def frontend(*settings: str) -> Object:
        (found,) = [pod for pod in pods(render(None, *settings)) if pod.name == "Deployment birds-frontend"]
        return found.owner

    keys = "apiKeys.existingSecret=keys"
    tested = [frontend(keys, "apiKeys.testKey.secret=t", f"apiKeys.testKey.key={key}") for key in ("one", "two")]
    assert tested == [frontend(keys)] * 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ((), "no API keys are set"),
        (("apiKeys.file=x",), "helm test has no API key"),
        (("apiKeys.file=x", "apiKeys.testKey.secret=t", "apiKeys.testKey.key=k"), "key from the Secret t"),
    ],
)
def test_notes_explain_the_key_of_the_test(settings: tuple[str, ...], words: str) -> None:
    options = [f"--set={setting}" for setting in settings]
    assert words in helm("install", RELEASE, str(CHART), "--dry-run=client", f"--namespace={NAMESPACE}", *options)


def test_test_pod_is_deleted_after_every_test(minimal: list[Object]) -> None:
    (test,) = of_kind(minimal, "Pod")
    policies = test["metadata"]["annotations"]["helm.sh/hook-delete-policy"].split(",")
    assert {"hook-succeeded", "hook-failed"} <= set(policies)


def test_open_control_apis_reach_triton() -> None:
    objects = render(None, "triton.settings.triton_open_apis={trace,shared-memory}")
    (triton,) = [pod for pod in pods(objects) if pod.name == "Deployment birds-triton"]
    environment = {entry["name"]: entry["value"] for entry in triton.spec["containers"][0]["env"]}
    assert environment["BIRDS_TRITON_OPEN_APIS"] == "trace,shared-memory"


def test_number_of_workers_can_follow_the_cores() -> None:
    rendered = render(None, "frontend.settings.workers=auto")
    (frontend,) = [pod for pod in pods(rendered) if pod.name == "Deployment birds-frontend"]
    assert {"name": "BIRDS_WORKERS", "value": "auto"} in frontend.containers[0]["env"]


def test_image_limits_of_the_frontend_hold_for_triton() -> None:
    limits = {"max_pixels": "200000000", "download_max_bytes": "60000000"}
    rendered = render(None, *(f"frontend.settings.{name}={value}" for name, value in limits.items()))
    (triton,) = [pod for pod in pods(rendered) if pod.name == "Deployment birds-triton"]
    (model,) = [
        container
        for container in triton.owner["spec"]["template"]["spec"]["initContainers"]
        if container["name"] == "model"
    ]
    environment = {entry["name"]: entry["value"] for entry in model["env"]}
    assert {f"BIRDS_{name.upper()}": value for name, value in limits.items()}.items() <= environment.items()


def test_values_and_keys_reach_the_settings(everything: list[Object], tmp_path: Path) -> None:
    (frontend,) = [pod for pod in pods(everything) if pod.name == "Deployment vogels-frontend"]
    environment = {entry["name"]: entry["value"] for entry in frontend.containers[0]["env"]}
    assert environment["BIRDS_DOWNLOAD_MAX_BYTES_IN_FLIGHT"] == "512000000"
    assert environment["BIRDS_DOWNLOAD_PORTS"] == "80,443,8443"
    assert environment["BIRDS_DOWNLOAD_ALLOW_NETWORKS"] == "10.20.0.0/16,fd00:20::/48"
    assert environment["BIRDS_CANARY_PERCENT"] == "2.5"
    (secret,) = of_kind(everything, "Secret")
    (tmp_path / "keys").write_text(secret["stringData"]["keys"])
    assert environment["BIRDS_API_KEYS_FILE"].endswith("/keys")
    environment["BIRDS_API_KEYS_FILE"] = str(tmp_path / "keys")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        settings = Settings()
    assert settings.download_ports == (80, 443, 8443)
    assert [key.get_secret_value() for key in settings.all_api_keys] == ["key-of-a-caller"]
    assert settings.triton_url == "dns:///vogels-triton-headless.prod.svc.cluster.local.:8011"


def test_the_frontend_finds_the_files_that_its_settings_name() -> None:
    objects = render(
        None,
        "frontend.extraVolumes[0].name=species",
        "frontend.extraVolumes[0].configMap.name=species-lists",
        "frontend.extraVolumeMounts[0].name=species",
        "frontend.extraVolumeMounts[0].mountPath=/etc/birds/species",
    )
    (frontend,) = [pod for pod in pods(objects) if pod.name == "Deployment birds-frontend"]
    mounts = {mount["mountPath"]: mount["name"] for mount in frontend.spec["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in frontend.spec["volumes"]}
    assert volumes[mounts["/etc/birds/species"]]["configMap"] == {"name": "species-lists"}


def test_gpu_values_request_a_gpu() -> None:
    objects = render(Path(__file__).with_name("values") / "gpu.yaml")
    (triton,) = [pod for pod in pods(objects) if pod.name == "Deployment birds-triton"]
    assert triton.spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in triton.spec["tolerations"]
    assert triton.spec["runtimeClassName"] == "nvidia"
    prepared = {entry["name"]: entry["value"] for entry in triton.spec["initContainers"][0]["env"]}
    assert prepared["BIRDS_DEVICE"] == "gpu"
    assert of_kind(objects, "Deployment")
